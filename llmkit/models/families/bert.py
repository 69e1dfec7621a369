"""BERT (Devlin et al. 2018, arXiv:1810.04805): the encoder that learns by filling in masked words.

Peculiar: norms after each residual sum, segment embeddings for sentence pairs, a norm after the embeddings, a
"pooler" on the first token for pair and sentence decisions, and an output layer (dense, activation, norm) before the
decoder, which shares the embedding matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, common_to_hf

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "pretraining": "BertForPreTraining",
    "masked_lm": "BertForMaskedLM",
    "classification": "BertForSequenceClassification",
    "backbone": "BertModel",
}


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """Sizes of a BERT; defaults are the paper's rates and the published models' limits."""

    max_seq_len: int = setting(512, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    norm_eps: float = setting(1e-12, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    n_segments: int = setting(2, low=1, high=1024, help="kinds of segments (sentence A, sentence B)")
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout before the classifier")
    head: str = setting("pretraining", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_kv_heads != self.n_heads or self.head_dim * self.n_heads != self.d_model:
            raise UsageError(
                "BERT has one key and value head per query head, each d_model / n_heads wide; "
                f"n_kv_heads is {self.n_kv_heads}, head_dim is {self.head_dim}",
                "leave n_kv_heads and head_dim out",
            )


def config_from_hf(raw: Mapping[str, object]) -> BertConfig:
    r = HfConfig(raw, "BERT")
    r.refuse("is_decoder", False, because="it turns the encoder into a left-to-right decoder")
    r.refuse("add_cross_attention", False, because="it adds cross-attention layers")
    r.refuse("position_embedding_type", "absolute", because="it replaces the learned positions")
    r.refuse("pruned_heads", {}, because="it removes single attention heads")
    r.refuse("quantization_config", {}, because="the weights are quantized")
    vocab_size = r.whole("vocab_size", default=30522)
    head = r.head(HEADS, default="masked_lm")
    return r.make(
        BertConfig,
        vocab_size=vocab_size,
        d_model=r.whole("hidden_size", default=768),
        n_layers=r.whole("num_hidden_layers", default=12),
        n_heads=r.whole("num_attention_heads", default=12),
        d_ff=r.whole("intermediate_size", default=3072),
        max_seq_len=r.whole("max_position_embeddings", default=512),
        n_segments=r.whole("type_vocab_size", default=2),
        activation=r.text("hidden_act", default="gelu"),
        norm_eps=r.number("layer_norm_eps", default=1e-12),
        dropout=r.number("hidden_dropout_prob", default=0.1),
        attention_dropout=r.number("attention_probs_dropout_prob", default=0.1),
        classifier_dropout=r.number("classifier_dropout", default=None),
        init_std=r.number("initializer_range", default=0.02),
        tie_embeddings=r.flag("tie_word_embeddings", default=True),
        head=head,
        labels=r.labels(head),
        **r.token_ids(vocab_size, pad_token_id=0),
    )


def config_to_hf(c: BertConfig) -> dict[str, object]:
    return common_to_hf(c, "bert", HEADS) | {
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "intermediate_size": c.d_ff,
        "max_position_embeddings": c.max_seq_len,
        "type_vocab_size": c.n_segments,
        "hidden_act": c.activation,
        "layer_norm_eps": c.norm_eps,
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": c.attention_dropout,
        "classifier_dropout": c.classifier_dropout,
    }


def build(c: BertConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions, Segments
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, LMHead, Pooler, Transform
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    act = ACTIVATIONS[c.activation]

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(
            attn=Residual(attention, post_norm=norm(), dropout=c.dropout),
            ffn=Residual(FeedForward(c.d_model, c.d_ff, act), post_norm=norm(), dropout=c.dropout),
        )

    embeddings = Embeddings(
        c.vocab_size,
        c.d_model,
        added={"segment": Segments(c.n_segments, c.d_model), "position": LearnedPositions(c.max_seq_len, c.d_model)},
        norm=norm(),
        dropout=c.dropout,
    )

    stack = Stack([block() for _ in range(c.n_layers)])

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        return LMHead(c.d_model, c.vocab_size, tied=tied, bias=True, transform=Transform(c.d_model, act, norm()))

    def decision(n: int, dropout: float) -> Decision:
        return Decision(c.d_model, n, pool=Pooler(c.d_model), dropout=dropout)

    rate = c.dropout if c.classifier_dropout is None else c.classifier_dropout
    heads = {
        "pretraining": lambda: EncoderModel(c, embeddings, stack, words(), pair_head=decision(2, 0.0)),
        "masked_lm": lambda: EncoderModel(c, embeddings, stack, words()),
        "classification": lambda: EncoderModel(c, embeddings, stack, decision(len(c.labels), rate)),
        "backbone": lambda: EncoderModel(c, embeddings, stack, pooler=Pooler(c.d_model)),
    }
    model = heads[c.head]()
    init_normal(model, c.init_std, truncated=True)
    return model


def weight_rules(c: BertConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, JoinRows, Rename, under

    layer, block = "encoder.layer.{i}.", "stack.blocks.{i}."
    base: list[Rule | Ignore] = [
        Rename("embeddings.word_embeddings", "embeddings.token"),
        Rename("embeddings.position_embeddings", "embeddings.added.position"),
        Rename("embeddings.token_type_embeddings", "embeddings.added.segment"),
        Rename("embeddings.LayerNorm", "embeddings.norm"),
        JoinRows(
            layer + "attention.self.",
            block + "attn.body.qkv",
            parts=("query", "key", "value"),
            rows=(c.d_model, c.d_model, c.d_model),
        ),
        Rename(layer + "attention.output.dense", block + "attn.body.out"),
        Rename(layer + "attention.output.LayerNorm", block + "attn.post_norm"),
        Rename(layer + "intermediate.dense", block + "ffn.body.up"),
        Rename(layer + "output.dense", block + "ffn.body.down"),
        Rename(layer + "output.LayerNorm", block + "ffn.post_norm"),
        Ignore("embeddings.position_ids"),
        Ignore("embeddings.token_type_ids"),
    ]
    words: list[Rule | Ignore] = [
        Rename("cls.predictions.transform.dense", "head.transform.dense"),
        Rename("cls.predictions.transform.LayerNorm", "head.transform.norm"),
    ]
    if c.tie_embeddings:
        words += [
            Rename("cls.predictions.bias", "head.decoder.bias"),
            Alias("cls.predictions.decoder.weight", "embeddings.token.weight"),
            Alias("cls.predictions.decoder.bias", "head.decoder.bias"),
        ]
    else:
        # Untied, transformers keeps a second bias that it stores but never adds.
        words += [
            Rename("cls.predictions.decoder", "head.decoder"),
            Alias("cls.predictions.bias", "head.decoder.bias", may_differ=True, written=True),
        ]
    pooler = "pooler.dense"
    heads: dict[str, tuple[list[Rule | Ignore], list[Rule | Ignore]]] = {
        "pretraining": (
            [Rename(pooler, "pair_head.pool.dense")],
            [*words, Rename("cls.seq_relationship", "pair_head.linear")],
        ),
        # The published checkpoints say BertForMaskedLM and still hold the pair head's weights.
        "masked_lm": (
            [Ignore(f"{pooler}.weight"), Ignore(f"{pooler}.bias")],
            [*words, Ignore("cls.seq_relationship.weight"), Ignore("cls.seq_relationship.bias")],
        ),
        "classification": ([Rename(pooler, "head.pool.dense")], [Rename("classifier", "head.linear")]),
        "backbone": ([Rename(pooler, "pooler.dense")], []),
    }
    in_base, on_top = heads[c.head]
    return [*under("bert.", [*base, *in_base], write=c.head != "backbone"), *on_top]


FAMILY = Family(
    name="bert",
    kind=Kind.ENCODER,
    title="BERT",
    paper="Devlin et al. 2018, arXiv:1810.04805",
    peculiar="post-norm encoder with segment embeddings, masked words and next-sentence prediction",
    config_class=BertConfig,
    heads=HEADS,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    build=build,
    weight_rules=weight_rules,
)
