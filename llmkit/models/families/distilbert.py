"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT with half the layers, taught by a whole one.

Peculiar: no segments and no pooler, classifiers having a dense layer with ReLU instead; nothing is dropped between
attention and its residual sum; norms always with an epsilon of 1e-12; names of its own for everything in the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "masked_lm": "DistilBertForMaskedLM",
    "classification": "DistilBertForSequenceClassification",
    "token_classification": "DistilBertForTokenClassification",
    "span": "DistilBertForQuestionAnswering",
    "backbone": "DistilBertModel",
}


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(ModelConfig):
    """Sizes of a DistilBERT; defaults are the published models' rates and limits."""

    max_seq_len: int = setting(512, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    activation: str = setting("gelu", choices=ACTIVATIONS, help="activation of feed-forward and output layer")
    # Files have no key for it.
    norm_eps: float = setting(1e-12, low=1e-12, high=1e-12, help="added to the variance inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and feed-forward layers")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    classifier_dropout: float = setting(0.2, low=0.0, high=1.0, help="dropout before the classifier of texts")
    span_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout before the scores of starts and ends")
    sines_at_first: bool = setting(False, help="positions begin as sinusoids, and are learned from there")
    head: str = setting("masked_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


KEYS = {
    "vocab_size": Key("vocab_size", 30522),
    "d_model": Key("dim", 768, also=("hidden_size",)),
    "n_layers": Key("n_layers", 6, also=("num_hidden_layers",)),
    "n_heads": Key("n_heads", 12, also=("num_attention_heads",)),
    "d_ff": Key("hidden_dim", 3072),
    "max_seq_len": Key("max_position_embeddings", 512),
    "activation": Key("activation", "gelu"),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.1),
    "classifier_dropout": Key("seq_classif_dropout", 0.2),
    "span_dropout": Key("qa_dropout", 0.1),
    "sines_at_first": Key("sinusoidal_pos_embds", False),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def build(c: DistilBertConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, FirstToken, LMHead, Transform
    from llmkit.nn.init import fill_with_sines, init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    act = FUNCTIONS[c.activation]

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(
            attn=Residual(attention, post_norm=norm()),
            ffn=Residual(FeedForward(c.d_model, c.d_ff, act), post_norm=norm(), dropout=c.dropout),
        )

    positions = LearnedPositions(c.max_seq_len, c.d_model)
    embeddings = Embeddings(c.vocab_size, c.d_model, added={"position": positions}, norm=norm(), dropout=c.dropout)
    stack = Stack([block() for _ in range(c.n_layers)])

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        return LMHead(c.d_model, c.vocab_size, tied=tied, bias=True, transform=Transform(c.d_model, act, norm()))

    def decision() -> Decision:
        pool = FirstToken(c.d_model, FUNCTIONS["relu"])
        return Decision(c.d_model, len(c.labels), pool=pool, dropout=c.classifier_dropout)

    heads = {
        "masked_lm": words,
        "classification": decision,
        "token_classification": lambda: Decision(c.d_model, len(c.labels), dropout=c.dropout),
        "span": lambda: Decision(c.d_model, 2, dropout=c.span_dropout),
        "backbone": lambda: None,
    }
    model = EncoderModel(c, embeddings, stack, heads[c.head]())
    init_normal(model, c.init_std)
    if c.sines_at_first:
        fill_with_sines(positions)
    return model


def weight_rules(c: DistilBertConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, JoinRows, Rename, under

    layer, block = "transformer.layer.{i}.", "stack.blocks.{i}."
    base: list[Rule | Ignore] = [
        Rename("embeddings.word_embeddings", "embeddings.token"),
        Rename("embeddings.position_embeddings", "embeddings.added.position"),
        Rename("embeddings.LayerNorm", "embeddings.norm"),
        Ignore("embeddings.position_ids"),
        JoinRows(
            layer + "attention.",
            block + "attn.body.qkv",
            parts=("q_lin", "k_lin", "v_lin"),
            rows=(c.d_model, c.d_model, c.d_model),
        ),
        Rename(layer + "attention.out_lin", block + "attn.body.out"),
        Rename(layer + "sa_layer_norm", block + "attn.post_norm"),
        Rename(layer + "ffn.lin1", block + "ffn.body.up"),
        Rename(layer + "ffn.lin2", block + "ffn.body.down"),
        Rename(layer + "output_layer_norm", block + "ffn.post_norm"),
    ]
    tied = Alias("vocab_projector.weight", "embeddings.token.weight")
    heads: dict[str, list[Rule | Ignore]] = {
        "masked_lm": [
            Rename("vocab_transform", "head.transform.dense"),
            Rename("vocab_layer_norm", "head.transform.norm"),
            Rename("vocab_projector.bias", "head.decoder.bias"),
            tied if c.tie_embeddings else Rename("vocab_projector.weight", "head.decoder.weight"),
        ],
        "classification": [Rename("pre_classifier", "head.pool.dense"), Rename("classifier", "head.linear")],
        "token_classification": [Rename("classifier", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
    }
    return [*under("distilbert.", base, write=c.head != "backbone"), *heads[c.head]]


FAMILY = Family(
    name="distilbert",
    kind=Kind.ENCODER,
    title="DistilBERT",
    paper="Sanh et al. 2019, arXiv:1910.01108",
    peculiar="half a BERT without segments or pooler, distilled from a whole one",
    objective="masked tokens, the teacher's scores and hidden states",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=DistilBertConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"pad_token_id": 0},
    build=build,
    weight_rules=weight_rules,
)
