"""LLaMA 1, 2 and 3 (Touvron et al. 2023, arXiv:2302.13971 and 2307.09288; Grattafiori et al. 2024, arXiv:2407.21783).

Peculiar: RMSNorm before each branch, rotary positions (with every way to stretch them that checkpoints use), a gated
SiLU feed-forward layer, several query heads per key and value head, no biases, untied output layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Key
from llmkit.models.llama_names import FIXED, LlamaLikeConfig, base_rules, gated_rules, more_from_hf, more_to_hf
from llmkit.models.llama_names import KEYS as SHARED_KEYS
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "LlamaForCausalLM",
    "classification": "LlamaForSequenceClassification",
    "token_classification": "LlamaForTokenClassification",
    "span": "LlamaForQuestionAnswering",
    "backbone": "LlamaModel",
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(LlamaLikeConfig):
    """Sizes of a LLaMA, and whether its projections have biases."""

    attention_bias: bool = setting(False, help="biases in the attention projections")
    ffn_bias: bool = setting(False, help="biases in the feed-forward projections")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.n_heads:
            # Our parts would not mind when head_dim is given, but transformers refuses to open such a checkpoint.
            raise UsageError(f"d_model is {self.d_model}; it must be a multiple of n_heads, which is {self.n_heads}")


KEYS = SHARED_KEYS | {
    "attention_bias": Key("attention_bias", False),
    "ffn_bias": Key("mlp_bias", False),
}


def build(c: LlamaConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import GatedFeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import RMSNorm
    from llmkit.nn.positions import Rotary
    from llmkit.nn.wiring import Block, Residual, Stack

    def block() -> Block:
        attention = Attention(
            c.d_model,
            c.n_heads,
            n_kv_heads=c.n_kv_heads,
            head_dim=c.head_dim,
            bias=c.attention_bias,
            dropout=c.attention_dropout,
        )
        feed_forward = GatedFeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation], bias=c.ffn_bias)
        return Block(
            attn=Residual(attention, pre_norm=RMSNorm(c.d_model, c.norm_eps), dropout=c.dropout),
            ffn=Residual(feed_forward, pre_norm=RMSNorm(c.d_model, c.norm_eps), dropout=c.dropout),
        )

    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, dropout=c.dropout),
        Stack([block() for _ in range(c.n_layers)], RMSNorm(c.d_model, c.norm_eps)),
        head_dropout=c.head_dropout,
        rotary=Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: LlamaConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import under

    base = [*base_rules(c), *gated_rules()]
    # The class for spans has a name of its own for the base model.
    prefix, other = ("transformer.", "model.") if c.head == "span" else ("model.", "transformer.")
    return [*under(prefix, base, write=c.head != "backbone", also=(other,)), *decoder_head_rules(c)]


FAMILY = Family(
    name="llama",
    kind=Kind.DECODER,
    title="LLaMA",
    paper="Touvron et al. 2023, arXiv:2302.13971",
    peculiar="pre-norm decoder with RMSNorm, rotary positions, gated feed-forward and grouped queries",
    objective="next token",
    positions="rotary",
    sizing=Sizing(has_gate=True),
    config_class=LlamaConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=FIXED,
    token_ids={"bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
