"""Mistral (Jiang et al. 2023, arXiv:2310.06825): LLaMA in which a token sees only the window before it.

Peculiar: attention within a sliding window, so that keys and values older than it can be forgotten while the layers
above still hear of them; as in LLaMA, RMSNorm before each branch, rotary positions, a gated SiLU feed-forward layer
and several query heads per key and value head. Later checkpoints switch the window off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models import llama_names
from llmkit.models.config import setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.llama_names import LlamaLikeConfig, more_to_hf
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "MistralForCausalLM",
    "classification": "MistralForSequenceClassification",
    "token_classification": "MistralForTokenClassification",
    "span": "MistralForQuestionAnswering",
    "backbone": "MistralModel",
}


@dataclass(frozen=True, kw_only=True)
class MistralConfig(LlamaLikeConfig):
    """Sizes of a Mistral; defaults are those of the first release."""

    max_seq_len: int = setting(32768, low=1, high=2**24, help="longest sequence, in tokens")
    window: int | None = setting(4096, low=1, high=2**24, help="tokens that a token sees, itself included; none: all")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


KEYS = llama_names.KEYS | {
    "n_kv_heads": Key("num_key_value_heads", 8, null=0),
    "d_ff": Key("intermediate_size", 14336),
    "max_seq_len": Key("max_position_embeddings", 131072),
    "window": Key("sliding_window", 4096, null=None),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    # A list of layer kinds makes it another architecture, unless it says of every layer what the window says of all.
    window = r.read(KEYS["window"], "int")
    kinds = r.get("layer_types", default=[])
    if any(kind != ("full_attention" if window is None else "sliding_attention") for kind in kinds):
        raise r.wrong("layer_types", kinds, "the same kind for all layers of a Mistral, the one sliding_window implies")
    return llama_names.more_from_hf(r)


def build(c: MistralConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import GatedFeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import RMSNorm
    from llmkit.nn.positions import Rotary
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> RMSNorm:
        return RMSNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(
            c.d_model,
            c.n_heads,
            n_kv_heads=c.n_kv_heads,
            head_dim=c.head_dim,
            bias=False,
            dropout=c.attention_dropout,
        )
        feed_forward = GatedFeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation])
        return Block(
            attn=Residual(attention, pre_norm=norm(), dropout=c.dropout),
            ffn=Residual(feed_forward, pre_norm=norm(), dropout=c.dropout),
        )

    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, dropout=c.dropout),
        Stack([block() for _ in range(c.n_layers)], norm()),
        head_dropout=c.head_dropout,
        rotary=Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
        window=c.window,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: MistralConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import under

    base = [*llama_names.base_rules(c), *llama_names.gated_rules()]
    return [*under("model.", base, write=c.head != "backbone"), *decoder_head_rules(c)]


FAMILY = Family(
    name="mistral",
    kind=Kind.DECODER,
    title="Mistral",
    paper="Jiang et al. 2023, arXiv:2310.06825",
    peculiar="LLaMA with attention in a sliding window",
    objective="next token",
    positions="rotary",
    sizing=Sizing(has_gate=True),
    config_class=MistralConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=llama_names.FIXED,
    token_ids={"bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
