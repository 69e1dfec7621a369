"""BERT (Devlin et al. 2018, arXiv:1810.04805): the encoder that learns by filling in masked words.

Peculiar: norms after each residual sum, segment embeddings for sentence pairs, a norm after the embeddings, a
"pooler" on the first token for pair and sentence decisions, and an output layer (dense, activation, norm) before the
decoder, which shares the embedding matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.models.config import ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, Key

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "pretraining": "BertForPreTraining",
    "masked_lm": "BertForMaskedLM",
    "next_sentence": "BertForNextSentencePrediction",
    "classification": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "span": "BertForQuestionAnswering",
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


KEYS = {
    "vocab_size": Key("vocab_size", 30522),
    "d_model": Key("hidden_size", 768),
    "n_layers": Key("num_hidden_layers", 12),
    "n_heads": Key("num_attention_heads", 12),
    "d_ff": Key("intermediate_size", 3072),
    "max_seq_len": Key("max_position_embeddings", 512),
    "n_segments": Key("type_vocab_size", 2),
    "activation": Key("hidden_act", "gelu"),
    "norm_eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("hidden_dropout_prob", 0.1),
    "attention_dropout": Key("attention_probs_dropout_prob", 0.1),
    "classifier_dropout": Key("classifier_dropout", None),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}
FIXED = (
    Fixed("is_decoder", False, because="it turns the encoder into a left-to-right decoder"),
    Fixed("add_cross_attention", False, because="it adds cross-attention layers"),
    Fixed("position_embedding_type", "absolute", because="it replaces the learned positions"),
)


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
        "next_sentence": lambda: EncoderModel(c, embeddings, stack, decision(2, 0.0)),
        "classification": lambda: EncoderModel(c, embeddings, stack, decision(len(c.labels), rate)),
        "token_classification": lambda: EncoderModel(
            c, embeddings, stack, Decision(c.d_model, len(c.labels), dropout=rate)
        ),
        "span": lambda: EncoderModel(c, embeddings, stack, Decision(c.d_model, 2)),
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
    no_pooler: list[Rule | Ignore] = [Ignore(f"{pooler}.weight"), Ignore(f"{pooler}.bias")]
    heads: dict[str, tuple[list[Rule | Ignore], list[Rule | Ignore]]] = {
        "pretraining": (
            [Rename(pooler, "pair_head.pool.dense")],
            [*words, Rename("cls.seq_relationship", "pair_head.linear")],
        ),
        # The published checkpoints say BertForMaskedLM and still hold the pair head's weights.
        "masked_lm": (
            no_pooler,
            [*words, Ignore("cls.seq_relationship.weight"), Ignore("cls.seq_relationship.bias")],
        ),
        "next_sentence": ([Rename(pooler, "head.pool.dense")], [Rename("cls.seq_relationship", "head.linear")]),
        "classification": ([Rename(pooler, "head.pool.dense")], [Rename("classifier", "head.linear")]),
        "token_classification": (no_pooler, [Rename("classifier", "head.linear")]),
        "span": (no_pooler, [Rename("qa_outputs", "head.linear")]),
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
    objective="masked tokens, next sentence",
    positions="learned",
    config_class=BertConfig,
    heads=HEADS,
    head_if_silent="masked_lm",
    keys=KEYS,
    fixed=FIXED,
    token_ids={"pad_token_id": 0},
    build=build,
    weight_rules=weight_rules,
)
