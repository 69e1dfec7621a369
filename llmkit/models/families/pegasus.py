"""PEGASUS (Zhang et al. 2019, arXiv:1912.08777): the Transformer that learns to summarise by writing missing sentences.

Peculiar: sinusoidal positions, norms before each branch and one at the top of either tower, token vectors multiplied
by the square root of d_model (where the file says so), and outputs that begin with the padding token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.bart_names import (
    KEYS,
    BartLikeConfig,
    lm_head_rules,
    other_names,
    sinusoid_rules,
    table_rules,
    tower_rules,
)
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Key

if TYPE_CHECKING:
    from llmkit.models.shells import Tower
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {"seq2seq": "PegasusForConditionalGeneration", "backbone": "PegasusModel"}


@dataclass(frozen=True, kw_only=True)
class PegasusConfig(BartLikeConfig):
    """Sizes of a PEGASUS."""

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


def build(c: PegasusConfig) -> EncoderDecoderModel:
    from llmkit.models.shells import Tower
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention, CrossAttention
    from llmkit.nn.embeddings import Embeddings, Scale, SinusoidalPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import LMHead
    from llmkit.nn.init import init_normal
    from llmkit.nn.linear import Embedding
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def residual(body: Any) -> Residual:
        return Residual(body, pre_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout)

    def feed_forward(d_ff: int) -> Residual:
        return residual(FeedForward(c.d_model, d_ff, ACTIVATIONS[c.activation], dropout=c.ffn_dropout))

    def encoder_block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), ffn=feed_forward(c.d_ff))

    def decoder_block() -> Block:
        attention = Attention(c.d_model, c.n_decoder_heads, dropout=c.attention_dropout)
        cross = CrossAttention(c.d_model, c.n_decoder_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), cross=residual(cross), ffn=feed_forward(c.d_decoder_ff))

    def tower(table: Embedding | None, blocks: list[Block], layer_drop: float, *, is_causal: bool) -> Tower:
        embeddings = Embeddings(
            c.vocab_size,
            c.d_model,
            table=table,
            token_project=Scale(c.d_model**0.5) if c.scale_embedding else None,
            added={"position": SinusoidalPositions(c.d_model, limit=c.max_seq_len)},
            dropout=c.dropout,
        )
        stack = Stack(blocks, LayerNorm(c.d_model, c.norm_eps), layer_drop=layer_drop)
        return Tower(embeddings, stack, is_causal=is_causal)

    encoder = tower(None, [encoder_block() for _ in range(c.n_layers)], c.layer_drop, is_causal=False)
    table = encoder.embeddings.token if c.tie_embeddings else None
    blocks = [decoder_block() for _ in range(c.n_decoder_layers)]
    decoder = tower(table, blocks, c.decoder_layer_drop, is_causal=True)
    tied = None if table is None else table.weight
    head = LMHead(c.d_model, c.vocab_size, tied=tied, bias=True) if c.head == "seq2seq" else None
    model = EncoderDecoderModel(c, encoder, decoder, head)
    init_normal(model, c.init_std)
    return model


def weight_rules(c: PegasusConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Rename, under

    base: list[Rule | Ignore] = [*table_rules(c, shared=c.tie_embeddings)]
    for tower in ("encoder.", "decoder."):
        base += [
            *tower_rules(c, tower, tower, "pre_norm"),
            Rename(tower + "layer_norm", tower + "stack.norm"),
            *sinusoid_rules(c, tower, written=True),
        ]
    on_top = lm_head_rules(c) if c.head == "seq2seq" else []
    return [*under("model.", base, write=c.head != "backbone"), *on_top]


FAMILY = Family(
    name="pegasus",
    kind=Kind.ENCODER_DECODER,
    title="PEGASUS",
    paper="Zhang et al. 2019, arXiv:1912.08777",
    peculiar="pre-norm encoder and decoder with sinusoidal positions",
    objective="missing sentences",
    positions="sinusoidal",
    config_class=PegasusConfig,
    heads=HEADS,
    keys=KEYS
    | {
        "vocab_size": Key("vocab_size", 50265),
        "decoder_start_id": Key("decoder_start_token_id", 0),
        "forced_eos_id": Key("forced_eos_token_id", 1, kept=True),
    },
    token_ids={"pad_token_id": 0, "eos_token_id": 1},
    more_from_hf=other_names,
    build=build,
    weight_rules=weight_rules,
)
