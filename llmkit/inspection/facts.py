"""What config.json says about a model, in neutral words, for families that llmkit knows and for any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_new": "geglu", "gelu_pytorch_tanh": "geglu",
          "relu": "reglu"}  # fmt: skip
_TOKEN_HEADS = ("LMHeadModel", "ForCausalLM", "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration")


@dataclass(frozen=True)
class Facts:
    """Sizes and habits of a model; None or empty where the configuration is silent."""

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
    family = _text(config.get("model_type"))
    classes = config.get("architectures")
    architecture = _text(classes[0]) if isinstance(classes, list) and classes else ""
    gated = any(".gate_proj." in n or ".feed_forward.w3." in n or ".mlp.gate." in n for n in names)
    activation = _text(_first(config, "hidden_act", "activation_function", "hidden_activation", "activation"))
    return Facts(
        family=family,
        title=_title(family),
        architecture=architecture,
        layers=_number(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"),
        heads=_number(config, "num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads"),
        kv_heads=_number(config, "num_key_value_heads", "num_kv_heads", "n_head_kv"),
        context=_number(config, "max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"),
        vocab=_number(config, "vocab_size"),
        positions=_positions(config, names),
        activation=_GATED.get(activation, activation) if gated else activation,
        tied=_tied(config, family),
        has_token_head=architecture.endswith(_TOKEN_HEADS),
    )


def _title(family: str) -> str:
    from llmkit.errors import LlmkitError
    from llmkit.models.registry import family_names, load_family

    try:
        return load_family(family).title if family in family_names() else family
    except (LlmkitError, ImportError):
        return family


def _tied(config: Mapping[str, object], family: str) -> bool:
    """Whether output and input embedding are one; where the key is absent, what the family takes for granted."""
    stated = config.get("tie_word_embeddings")
    if isinstance(stated, bool):
        return stated
    from llmkit.errors import LlmkitError
    from llmkit.models.registry import family_names, load_family

    try:
        if family in family_names():
            return load_family(family).config_from_hf(config).tie_embeddings
    except (LlmkitError, ImportError, KeyError, TypeError, ValueError):
        pass  # an odd configuration is no reason to refuse a look at the tensors
    return family not in ("llama", "mistral", "mixtral", "falcon", "gptj", "gpt_neox", "phi", "opt_untied", "qwen2")


def _positions(config: Mapping[str, object], names: list[str]) -> str:
    if config.get("alibi") is True or config.get("model_type") == "bloom":
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
