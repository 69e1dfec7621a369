"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017, arXiv:1706.03762), in Marian's checkpoints.

Peculiar: two stacks, the second attending to the first's output between its own attention and its feed-forward layer;
norms after each residual sum and none at the top; sinusoidal positions; one table for input tokens, output tokens and
the output layer. Marian (Junczys-Dowmunt et al. 2018) adds a bias to the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.bart_names import (
    KEYS,
    BartLikeConfig,
    lm_head_rules,
    other_names,
    sinusoid_rules,
    table_rules,
    tower_rules,
)
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {"seq2seq": "MarianMTModel", "backbone": "MarianModel"}


@dataclass(frozen=True, kw_only=True)
class MarianConfig(BartLikeConfig):
    """Sizes of a Transformer for translation."""

    decoder_vocab_size: int = setting(0, low=0, high=2**24, help="output vocabulary, if not shared; 0: as vocab_size")
    share_embeddings: bool = setting(True, help="input and output tokens share one table")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive("decoder_vocab_size", self.vocab_size)
        if self.one_table and self.decoder_vocab_size != self.vocab_size:
            raise UsageError(
                f"decoder_vocab_size is {self.decoder_vocab_size}, but input and output share a table of "
                f"{self.vocab_size} tokens",
                "set share_embeddings to false, or leave decoder_vocab_size out",
            )

    @property
    def one_table(self) -> bool:
        """Whether both towers read tokens from one table; without tying, transformers keeps them apart."""
        return self.share_embeddings and self.tie_embeddings

    @property
    def scored_tokens(self) -> int:
        """Width of the output layer."""
        return self.vocab_size if self.share_embeddings else self.decoder_vocab_size


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    shared = r.flag("share_encoder_decoder_embeddings", default=True) and r.flag("tie_word_embeddings", default=True)
    # Where one table serves both, transformers takes its size, whatever the key says.
    return other_names(r) | ({"decoder_vocab_size": 0} if shared else {})


def build(c: MarianConfig) -> EncoderDecoderModel:
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
        return Residual(body, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout)

    def feed_forward(d_ff: int) -> Residual:
        return residual(FeedForward(c.d_model, d_ff, ACTIVATIONS[c.activation], dropout=c.ffn_dropout))

    def encoder_block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), ffn=feed_forward(c.d_ff))

    def decoder_block() -> Block:
        attention = Attention(c.d_model, c.n_decoder_heads, dropout=c.attention_dropout)
        cross = CrossAttention(c.d_model, c.n_decoder_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), cross=residual(cross), ffn=feed_forward(c.d_decoder_ff))

    def embeddings(vocab_size: int, table: Embedding | None = None) -> Embeddings:
        return Embeddings(
            vocab_size,
            c.d_model,
            table=table,
            token_project=Scale(c.d_model**0.5) if c.scale_embedding else None,
            added={"position": SinusoidalPositions(c.d_model, limit=c.max_seq_len)},
            dropout=c.dropout,
        )

    read = embeddings(c.vocab_size)
    written = embeddings(c.decoder_vocab_size, read.token if c.one_table else None)
    blocks = [encoder_block() for _ in range(c.n_layers)]
    decoder_blocks = [decoder_block() for _ in range(c.n_decoder_layers)]
    tied = written.token.weight if c.tie_embeddings else None
    model = EncoderDecoderModel(
        c,
        encoder=Tower(read, Stack(blocks, layer_drop=c.layer_drop)),
        decoder=Tower(written, Stack(decoder_blocks, layer_drop=c.decoder_layer_drop), is_causal=True),
        head=LMHead(c.d_model, c.scored_tokens, tied=tied, bias=True) if c.head == "seq2seq" else None,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: MarianConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import under

    base: list[Rule | Ignore] = [
        *tower_rules(c, "encoder.", "encoder.", "post_norm"),
        *tower_rules(c, "decoder.", "decoder.", "post_norm"),
        *table_rules(c, shared=c.one_table, third=c.share_embeddings),
        *sinusoid_rules(c, "encoder.", written=c.head == "backbone"),
        *sinusoid_rules(c, "decoder.", written=c.head == "backbone"),
    ]
    table = f"{'encoder' if c.one_table else 'decoder'}.embeddings.token.weight"
    return [
        *under("model.", base, write=c.head != "backbone"),
        *(lm_head_rules(c, table=table) if c.head == "seq2seq" else []),
    ]


FAMILY = Family(
    name="marian",
    kind=Kind.ENCODER_DECODER,
    title="Transformer",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
    peculiar="post-norm encoder and decoder with cross-attention, sinusoidal positions and shared embeddings",
    objective="translation",
    positions="sinusoidal",
    sizing=Sizing(norm_after=True),
    config_class=MarianConfig,
    heads=HEADS,
    keys=KEYS
    | {
        "vocab_size": Key("vocab_size", 58101),
        "decoder_vocab_size": Key("decoder_vocab_size", 0),
        "share_embeddings": Key("share_encoder_decoder_embeddings", True),
        "decoder_start_id": Key("decoder_start_token_id", 58100),
        "forced_eos_id": Key("forced_eos_token_id", 0, kept=True),
    },
    token_ids={"pad_token_id": 58100, "eos_token_id": 0},
    more_from_hf=more_from_hf,
    build=build,
    weight_rules=weight_rules,
)
