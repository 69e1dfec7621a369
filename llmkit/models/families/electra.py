"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): an encoder that learns which words another model put in.

Peculiar: two models of one architecture, a small generator that fills in masked words and a discriminator that says of
every token whether it was replaced; embeddings narrower than the blocks, with a projection between; no pooler, but a
dense layer with GELU in the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.models.bert_names import FIXED, KEYS, BertLikeConfig, block_rules, embedding_rules, label_rules
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "replaced_token": "ElectraForPreTraining",
    "masked_lm": "ElectraForMaskedLM",
    "classification": "ElectraForSequenceClassification",
    "token_classification": "ElectraForTokenClassification",
    "span": "ElectraForQuestionAnswering",
    "backbone": "ElectraModel",
}


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(BertLikeConfig):
    """Sizes of a generator or a discriminator; defaults are BERT's rates and limits."""

    d_embed: int = setting(0, low=0, high=65536, help="width of the embeddings; 0: as d_model")
    head: str = setting("replaced_token", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive("d_embed", self.d_model)


def build(c: ElectraConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS, gelu
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions, Segments
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, FirstToken, LMHead, Transform
    from llmkit.nn.init import init_normal
    from llmkit.nn.linear import Linear
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
        c.d_embed,
        added={"segment": Segments(c.n_segments, c.d_embed), "position": LearnedPositions(c.max_seq_len, c.d_embed)},
        norm=LayerNorm(c.d_embed, c.norm_eps),
        dropout=c.dropout,
        project=Linear(c.d_embed, c.d_model) if c.d_embed != c.d_model else None,
    )
    stack = Stack([block() for _ in range(c.n_layers)])

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        transform = Transform(c.d_model, gelu, LayerNorm(c.d_embed, c.norm_eps), d_out=c.d_embed)
        return LMHead(c.d_embed, c.vocab_size, tied=tied, bias=True, transform=transform)

    def decision() -> Decision:
        pool = FirstToken(c.d_model, gelu, dropout=c.head_dropout)
        return Decision(c.d_model, len(c.labels), pool=pool, dropout=c.head_dropout)

    heads = {
        "replaced_token": lambda: Decision(c.d_model, 1, pool=Transform(c.d_model, act)),
        "masked_lm": words,
        "classification": decision,
        "token_classification": lambda: Decision(c.d_model, len(c.labels), dropout=c.head_dropout),
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    model = EncoderModel(c, embeddings, stack, heads[c.head]())
    init_normal(model, c.init_std, truncated=True)
    return model


def weight_rules(c: ElectraConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Rename, under

    tied = Alias("generator_lm_head.weight", "embeddings.token.weight")
    heads: dict[str, list[Rule | Ignore]] = {
        "replaced_token": [
            Rename("discriminator_predictions.dense", "head.pool.dense"),
            Rename("discriminator_predictions.dense_prediction", "head.linear"),
        ],
        "masked_lm": [
            Rename("generator_predictions.dense", "head.transform.dense"),
            Rename("generator_predictions.LayerNorm", "head.transform.norm"),
            Rename("generator_lm_head.bias", "head.decoder.bias"),
            tied if c.tie_embeddings else Rename("generator_lm_head.weight", "head.decoder.weight"),
        ],
        **label_rules(),
    }
    base = [*embedding_rules(), Rename("embeddings_project", "embeddings.project"), *block_rules(c)]
    return [*under("electra.", base, write=c.head != "backbone"), *heads[c.head]]


FAMILY = Family(
    name="electra",
    kind=Kind.ENCODER,
    title="ELECTRA",
    paper="Clark et al. 2020, arXiv:2003.10555",
    peculiar="a discriminator that tells replaced tokens from original ones, and the generator that replaces them",
    objective="replaced tokens; masked tokens for the generator",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=ElectraConfig,
    heads=HEADS,
    keys=KEYS
    | {
        "d_embed": Key("embedding_size", 128),
        "d_model": Key("hidden_size", 256),
        "n_heads": Key("num_attention_heads", 4),
        "d_ff": Key("intermediate_size", 1024),
    },
    fixed=FIXED,
    token_ids={"pad_token_id": 0},
    build=build,
    weight_rules=weight_rules,
)
