"""What config.json says about a model, in neutral words, for families that llmkit knows and for any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family

_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_new": "geglu", "gelu_pytorch_tanh": "geglu",
          "relu": "reglu"}  # fmt: skip
_TOKEN_HEADS = ("LMHeadModel", "ForCausalLM", "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration", "MTModel")
_OUR_TOKEN_HEADS = ("causal_lm", "masked_lm", "pretraining", "permutation_lm", "seq2seq")
# Positions that enter attention, in the tree's words; tables of positions are lines of the tree themselves.
_IN_ATTENTION = {"rotary": "rope", "ALiBi": "alibi", "relative bias": "relative bias", "relative": "relative"}


@dataclass(frozen=True)
class Facts:
    """Sizes and habits of a model; None or empty where the configuration is silent.

    layers, decoder_layers: blocks that run, shared ones as often as they do; an encoder-decoder has both.
    experts, active_experts: feed-forward layers to choose from, and how many a token goes through.
    """

    family: str
    title: str
    architecture: str
    layers: int | None
    heads: int | None
    kv_heads: int | None
    context: int | None
    vocab: int | None
    positions: str
    activation: str
    tied: bool
    has_token_head: bool
    decoder_layers: int | None = None
    experts: int | None = None
    active_experts: int | None = None

    @property
    def attention_words(self) -> str:
        """For the attention line of the tree: `8 heads, 2 kv, rope`."""
        words = [f"{self.heads} heads"] if self.heads else []
        if self.kv_heads and self.kv_heads != self.heads:
            words.append(f"{self.kv_heads} kv")
        if self.positions:
            words.append(self.positions)
        return ", ".join(words)


def read_facts(config: Mapping[str, object], tensor_names: Iterable[str]) -> Facts:
    """Collect the facts from a Hugging Face configuration and the names of the stored tensors."""
    names = list(tensor_names)
    name = _text(config.get("model_type"))
    family, ours = _known(config, name)
    classes = config.get("architectures")
    architecture = _text(classes[0]) if isinstance(classes, list) and classes else ""
    gated = any(".gate_proj." in n or ".feed_forward.w3." in n or ".mlp.gate." in n or ".wi_0." in n for n in names)
    activation = ours.activation if ours else _text(_first(config, *_ACTIVATION))
    decoder_layers = getattr(ours, "n_decoder_layers", None) or _number(config, "decoder_layers", "num_decoder_layers")
    if not any("decoder." in n for n in names):  # an encoder by itself
        decoder_layers = None
    return Facts(
        family=name,
        title=family.title if family else name,
        architecture=architecture,
        layers=ours.n_layers if ours else _number(config, *_LAYERS),
        heads=ours.n_heads if ours else _number(config, *_HEADS),
        kv_heads=ours.n_kv_heads if ours else _number(config, "num_key_value_heads", "num_kv_heads", "n_head_kv"),
        context=ours.max_seq_len if ours else _number(config, *_CONTEXT),
        vocab=_number(config, "vocab_size"),
        positions=_positions(config, names) or _IN_ATTENTION.get(family.positions if family else "", ""),
        activation=_GATED.get(activation, activation) if gated else activation,
        # Where nothing is stated and the family is unknown, tying is what transformers assumes.
        tied=ours.tie_embeddings if ours else config.get("tie_word_embeddings") is not False,
        has_token_head=ours.head in _OUR_TOKEN_HEADS if ours else architecture.endswith(_TOKEN_HEADS),
        decoder_layers=decoder_layers,
        experts=getattr(ours, "n_experts", None) or _number(config, "num_local_experts", "num_experts"),
        active_experts=getattr(ours, "experts_per_token", None) or _number(config, "num_experts_per_tok"),
    )


_ACTIVATION = ("hidden_act", "activation_function", "hidden_activation", "activation")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads")
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")


def _known(config: Mapping[str, object], name: str) -> tuple[Family | None, ModelConfig | None]:
    """Our family of that model_type, and the configuration in our words; None for what we do not have or refuse."""
    from llmkit.errors import LlmkitError
    from llmkit.models.registry import family_names, load_family

    if name.replace("-", "_") not in family_names():
        return None, None
    try:
        family = load_family(name)
    except (LlmkitError, ImportError):
        return None, None
    try:
        return family, family.config_from_hf(config)
    except (LlmkitError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return family, None  # an odd configuration is no reason to refuse a look at the tensors


def _positions(config: Mapping[str, object], names: list[str]) -> str:
    if config.get("alibi") is True:
        return "alibi"
    if any(key in config for key in ("rope_theta", "rope_parameters", "rope_scaling", "rotary_dim", "rotary_pct")):
        return "rope"
    if any("relative_attention_bias" in n for n in names):
        return "relative bias"
    return ""


def _first(config: Mapping[str, object], *keys: str) -> object:
    return next((config[k] for k in keys if config.get(k) is not None), None)


def _number(config: Mapping[str, object], *keys: str) -> int | None:
    value = _first(config, *keys)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
