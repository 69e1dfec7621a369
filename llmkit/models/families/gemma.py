"""Gemma (Gemma team 2024, arXiv:2403.08295): LLaMA's wiring with wide heads, GeGLU and a scaled embedding.

Peculiar: heads whose width does not follow from the model's, all of them sharing one key and value head in the small
model; norms that store their weights as the difference from one; token vectors multiplied by sqrt(d_model), rounded
to the weights' dtype; a feed-forward layer gated by tanh-approximated GELU; output layer tied to the embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models import llama_names
from llmkit.models.config import ACTIVATIONS, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, HfConfig, Key
from llmkit.models.llama_names import LlamaLikeConfig, more_to_hf
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "GemmaForCausalLM",
    "classification": "GemmaForSequenceClassification",
    "token_classification": "GemmaForTokenClassification",
    "backbone": "GemmaModel",
}


@dataclass(frozen=True, kw_only=True)
class GemmaConfig(LlamaLikeConfig):
    """Sizes of a Gemma. An activation of "gelu" means the tanh approximation, as the released checkpoints mean it."""

    max_seq_len: int = setting(8192, low=1, high=2**24, help="longest sequence, in tokens")
    activation: str = setting("gelu_pytorch_tanh", choices=ACTIVATIONS, help="activation of the feed-forward gate")
    tie_embeddings: bool = setting(True, help="the output layer shares the embedding matrix")
    attention_bias: bool = setting(False, help="biases in the attention projections")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "activation", _meant(self.activation))

    def usual_d_ff(self) -> int:
        return 8 * self.d_model


KEYS = llama_names.KEYS | {
    "vocab_size": Key("vocab_size", 256000),
    "d_model": Key("hidden_size", 3072),
    "n_layers": Key("num_hidden_layers", 28),
    "n_heads": Key("num_attention_heads", 16),
    "n_kv_heads": Key("num_key_value_heads", 16),
    "head_dim": Key("head_dim", 256),
    "d_ff": Key("intermediate_size", 24576),
    "max_seq_len": Key("max_position_embeddings", 8192),
    "activation": Key("hidden_act", "gelu_pytorch_tanh"),
    "attention_bias": Key("attention_bias", False),
    "tie_embeddings": Key("tie_word_embeddings", True),
}
FIXED = (
    *llama_names.FIXED,
    Fixed("use_bidirectional_attention", False, because="it lets tokens see those after them"),
)


def _meant(activation: str) -> str:
    return "gelu_pytorch_tanh" if activation == "gelu" else activation


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    # For a while transformers obeyed hidden_activation and no longer does: a file in which they differ is ambiguous.
    used = _meant(r.read(KEYS["activation"], "str"))
    once = r.text("hidden_activation", default=None)
    if once is not None and _meant(once) != used:
        raise r.wrong("hidden_activation", once, f"what hidden_act says, {used!r}")
    return llama_names.more_from_hf(r)


def build(c: GemmaConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, RoundedScale
    from llmkit.nn.feedforward import GatedFeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import OffsetRMSNorm
    from llmkit.nn.positions import Rotary
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> OffsetRMSNorm:
        return OffsetRMSNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(
            c.d_model,
            c.n_heads,
            n_kv_heads=c.n_kv_heads,
            head_dim=c.head_dim,
            bias=c.attention_bias,
            dropout=c.attention_dropout,
        )
        feed_forward = GatedFeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation])
        return Block(
            attn=Residual(attention, pre_norm=norm(), dropout=c.dropout),
            ffn=Residual(feed_forward, pre_norm=norm(), dropout=c.dropout),
        )

    scale = RoundedScale(math.sqrt(c.d_model))
    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, token_project=scale, dropout=c.dropout),
        Stack([block() for _ in range(c.n_layers)], norm()),
        head_dropout=c.head_dropout,
        rotary=Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: GemmaConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import under

    base = [*llama_names.base_rules(c), *llama_names.gated_rules()]
    return [*under("model.", base, write=c.head != "backbone"), *decoder_head_rules(c)]


FAMILY = Family(
    name="gemma",
    kind=Kind.DECODER,
    title="Gemma",
    paper="Gemma team 2024, arXiv:2403.08295",
    peculiar="LLaMA's wiring with wide heads, a gated GELU and a scaled, tied embedding",
    objective="next token",
    positions="rotary",
    sizing=Sizing(has_gate=True),
    config_class=GemmaConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=FIXED,
    token_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
