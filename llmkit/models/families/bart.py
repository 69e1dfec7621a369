"""BART (Lewis et al. 2019, arXiv:1910.13461): the Transformer that learns by repairing damaged text.

Peculiar: an encoder and a decoder wired as in the original Transformer (norms after each residual sum, none at the
top), but with GELU, learned positions for each (the first two rows of their tables stay unused) and a norm after the
embeddings. Classifiers read the same text on both sides and decide by what the decoder makes of its last end token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.bart_names import KEYS, BartLikeConfig, lm_head_rules, other_names, table_rules, tower_rules
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "seq2seq": "BartForConditionalGeneration",
    "classification": "BartForSequenceClassification",
    "span": "BartForQuestionAnswering",
    "backbone": "BartModel",
}
TWICE = ("classification", "span")  # heads over a decoder that reads the input again
OFFSET = 2  # rows of the position tables before that of position 0


@dataclass(frozen=True, kw_only=True)
class BartConfig(BartLikeConfig):
    """Sizes of a BART."""

    classifier_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout around the classifier's hidden layer")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    BEGINS_WITH: ClassVar[str] = "eos_id"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == "classification" and self.eos_id is None:
            raise UsageError("eos_id is not set; BART classifies a text by its last end token")
        if self.decoder_start_id is None:
            object.__setattr__(self, "decoder_start_id", self.eos_id)
        if self.head in TWICE and self.decoder_start_id is None:
            raise UsageError("decoder_start_id is not set; BART's decoder reads the text behind it")


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    unnamed = r.head(HEADS, default="seq2seq") == "classification" and not {"id2label", "num_labels"} & r.raw.keys()
    labels = {"labels": ("LABEL_0", "LABEL_1", "LABEL_2")} if unnamed else {}  # all others: two
    return other_names(r) | labels


def build(c: BartConfig) -> EncoderDecoderModel:
    from llmkit.models.shells import Tower
    from llmkit.models.two_towers import EncoderDecoderModel, shifted_right
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention, CrossAttention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions, Scale
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, HiddenLayer, LastEnd, LMHead, every_token
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

    def embeddings(table: Embedding | None = None) -> Embeddings:
        return Embeddings(
            c.vocab_size,
            c.d_model,
            table=table,
            token_project=Scale(c.d_model**0.5) if c.scale_embedding else None,
            added={"position": LearnedPositions(c.max_seq_len, c.d_model, offset=OFFSET)},
            norm=LayerNorm(c.d_model, c.norm_eps),
            dropout=c.dropout,
        )

    read = embeddings()
    written = embeddings(read.token if c.tie_embeddings else None)
    blocks = [encoder_block() for _ in range(c.n_layers)]
    decoder_blocks = [decoder_block() for _ in range(c.n_decoder_layers)]
    encoder = Tower(read, Stack(blocks, layer_drop=c.layer_drop))
    decoder = Tower(written, Stack(decoder_blocks, layer_drop=c.decoder_layer_drop), is_causal=True)

    def classifier() -> Decision:
        hidden = HiddenLayer(c.d_model, dropout=c.classifier_dropout)
        return Decision(c.d_model, len(c.labels), pool=hidden, dropout=c.classifier_dropout)

    tied = read.token.weight if c.tie_embeddings else None
    heads = {
        "seq2seq": lambda: LMHead(c.d_model, c.vocab_size, tied=tied, bias=True),
        "classification": classifier,
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    model = EncoderDecoderModel(
        c,
        encoder=encoder,
        decoder=decoder,
        head=heads[c.head](),
        select=LastEnd(c.eos_id) if c.head == "classification" else every_token,
        starts=shifted_right(c.decoder_start_id, c.pad_id)
        if c.head in TWICE and c.decoder_start_id is not None
        else None,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: BartConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Rename, under

    base: list[Rule | Ignore] = [
        *tower_rules(c, "encoder.", "encoder.", "post_norm"),
        *tower_rules(c, "decoder.", "decoder.", "post_norm"),
        *table_rules(c, shared=c.tie_embeddings),
    ]
    for tower in ("encoder", "decoder"):
        base += [
            Rename(f"{tower}.embed_positions", f"{tower}.embeddings.added.position"),
            Rename(f"{tower}.layernorm_embedding", f"{tower}.embeddings.norm"),
        ]
    on_top: dict[str, list[Rule | Ignore]] = {
        "seq2seq": lm_head_rules(c),
        "classification": [
            Rename("classification_head.dense", "head.pool.dense"),
            Rename("classification_head.out_proj", "head.linear"),
        ],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
    }
    return [*under("model.", base, write=c.head != "backbone"), *on_top[c.head]]


FAMILY = Family(
    name="bart",
    kind=Kind.ENCODER_DECODER,
    title="BART",
    paper="Lewis et al. 2019, arXiv:1910.13461",
    peculiar="post-norm encoder and decoder with learned positions and a norm after the embeddings",
    objective="denoising",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=BartConfig,
    heads=HEADS,
    keys=KEYS
    | {
        "vocab_size": Key("vocab_size", 50265),
        "decoder_start_id": Key("decoder_start_token_id", 2),
        "forced_bos_id": Key("forced_bos_token_id", None),
        "forced_eos_id": Key("forced_eos_token_id", 2, kept=True),
        "classifier_dropout": Key("classifier_dropout", 0.0),
    },
    token_ids={"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    build=build,
    weight_rules=weight_rules,
)
