"""BERT (Devlin et al. 2018, arXiv:1810.04805): the encoder that learns by filling in masked words.

Peculiar: norms after each residual sum, segment embeddings for sentence pairs, a norm after the embeddings, a
"pooler" on the first token for pair and sentence decisions, and an output layer (dense, activation, norm) before the
decoder, which shares the embedding matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.models.bert_names import FIXED, KEYS, BertLikeConfig, block_rules, embedding_rules, output_layer_rules
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.sizing import Sizing

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
class BertConfig(BertLikeConfig):
    """Sizes of a BERT; defaults are the paper's rates and the published models' limits."""

    head: str = setting("pretraining", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


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

    heads = {
        "pretraining": lambda: EncoderModel(c, embeddings, stack, words(), pair_head=decision(2, 0.0)),
        "masked_lm": lambda: EncoderModel(c, embeddings, stack, words()),
        "next_sentence": lambda: EncoderModel(c, embeddings, stack, decision(2, 0.0)),
        "classification": lambda: EncoderModel(c, embeddings, stack, decision(len(c.labels), c.head_dropout)),
        "token_classification": lambda: EncoderModel(
            c, embeddings, stack, Decision(c.d_model, len(c.labels), dropout=c.head_dropout)
        ),
        "span": lambda: EncoderModel(c, embeddings, stack, Decision(c.d_model, 2)),
        "backbone": lambda: EncoderModel(c, embeddings, stack, pooler=Pooler(c.d_model)),
    }
    model = heads[c.head]()
    init_normal(model, c.init_std, truncated=True)
    return model


def weight_rules(c: BertConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, Rename, under

    words: list[Rule | Ignore] = [
        Rename("cls.predictions.transform.dense", "head.transform.dense"),
        Rename("cls.predictions.transform.LayerNorm", "head.transform.norm"),
        *output_layer_rules(c, "cls.predictions."),
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
    return [*under("bert.", [*embedding_rules(), *block_rules(c), *in_base], write=c.head != "backbone"), *on_top]


FAMILY = Family(
    name="bert",
    kind=Kind.ENCODER,
    title="BERT",
    paper="Devlin et al. 2018, arXiv:1810.04805",
    peculiar="post-norm encoder with segment embeddings, masked words and next-sentence prediction",
    objective="masked tokens, next sentence",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=BertConfig,
    heads=HEADS,
    head_if_silent="masked_lm",
    keys=KEYS,
    fixed=FIXED,
    token_ids={"pad_token_id": 0},
    build=build,
    weight_rules=weight_rules,
)
