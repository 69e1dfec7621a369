"""Longformer (Beltagy et al. 2020, arXiv:2004.05150): RoBERTa for long documents.

Peculiar: a token sees a window around itself, whose width may differ from layer to layer, so that memory grows with
the length of the text and not its square; a few global tokens see everything and are seen by all, through projections
of their own: the first token for classifying texts, the question's tokens for spans, otherwise those the caller names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.bert_names import KEYS, block_rules, embedding_rules, label_rules, output_layer_rules
from llmkit.models.config import setting
from llmkit.models.families.roberta import TOKEN_IDS, RobertaConfig
from llmkit.models.families.roberta import more_from_hf as positions_from_hf
from llmkit.models.families.roberta import more_to_hf as positions_to_hf
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.local_shells import Globals, LocalEncoder
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "masked_lm": "LongformerForMaskedLM",
    "classification": "LongformerForSequenceClassification",
    "token_classification": "LongformerForTokenClassification",
    "span": "LongformerForQuestionAnswering",
    "backbone": "LongformerModel",
}


@dataclass(frozen=True, kw_only=True)
class LongformerConfig(RobertaConfig):
    """Sizes of a Longformer; pad_id is never None, as in RoBERTa."""

    max_seq_len: int = setting(4096, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    attention_window: int | tuple[int, ...] = setting(
        512, low=2, high=2**20, help="tokens around a token that it sees, an even number; or one for each layer"
    )
    sep_id: int = setting(2, low=0, high=2**24, help="id that ends a question and its text")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.attention_window
        wide = tuple(given) if isinstance(given, (tuple, list)) else (given,) * self.n_layers
        if not all(type(w) is int and 2 <= w <= 2**20 and w % 2 == 0 for w in wide):
            raise UsageError(f"attention_window is {given}; windows must be even numbers, from 2 to {2**20}")
        if len(wide) < self.n_layers:
            raise UsageError(f"attention_window names {len(wide)} layers; there are {self.n_layers}")
        wide = wide[: self.n_layers]
        object.__setattr__(self, "attention_window", wide[0] if len(set(wide)) == 1 else wide)

    @property
    def windows(self) -> tuple[int, ...]:
        """The window of each layer."""
        given = self.attention_window
        return (given,) * self.n_layers if isinstance(given, int) else given


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    stored, n_layers = r.get("attention_window", default=512), r.whole("num_hidden_layers", default=12)
    if isinstance(stored, list) and len(stored) != n_layers:
        raise r.wrong("attention_window", stored, f"one window for each of the {n_layers} layers")
    windows = tuple(stored) if isinstance(stored, list) else stored
    return {"attention_window": windows, **positions_from_hf(r)}


def more_to_hf(c: LongformerConfig) -> dict[str, object]:
    return {"attention_window": list(c.windows), **positions_to_hf(c)}


def build(c: LongformerConfig) -> LocalEncoder:
    from llmkit.models.local_shells import LocalEncoder, QuestionGlobal, first_global, none_global
    from llmkit.nn.activations import ACTIVATIONS, gelu
    from llmkit.nn.embeddings import CountedByPadding, Embeddings, LearnedPositions, Segments
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, FirstToken, LMHead, Pooler, Transform
    from llmkit.nn.init import init_normal
    from llmkit.nn.local_attention import LocalAttention
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block(window: int) -> Block:
        attention = LocalAttention(c.d_model, c.n_heads, window=window, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation])
        return Block(
            attn=Residual(attention, post_norm=norm(), dropout=c.dropout),
            ffn=Residual(feed_forward, post_norm=norm(), dropout=c.dropout),
        )

    embeddings = Embeddings(
        c.vocab_size,
        c.d_model,
        added={
            "segment": Segments(c.n_segments, c.d_model),
            "position": LearnedPositions(c.max_seq_len, c.d_model, offset=c.first_position),
        },
        norm=norm(),
        dropout=c.dropout,
        places=CountedByPadding(c.first_position - 1),
    )
    stack = Stack([block(window) for window in c.windows])

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        return LMHead(c.d_model, c.vocab_size, tied=tied, bias=True, transform=Transform(c.d_model, gelu, norm()))

    def decision() -> Decision:
        pool = FirstToken(c.d_model, dropout=c.head_dropout)
        return Decision(c.d_model, len(c.labels), pool=pool, dropout=c.head_dropout)

    heads = {
        "masked_lm": words,
        "classification": decision,
        "token_classification": lambda: Decision(c.d_model, len(c.labels), dropout=c.head_dropout),
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    defaults: dict[str, Globals] = {"classification": first_global, "span": QuestionGlobal(c.sep_id)}
    pooler = Pooler(c.d_model) if c.head == "backbone" else None
    default = defaults.get(c.head, none_global)
    model = LocalEncoder(c, embeddings, stack, heads[c.head](), pooler=pooler, default_global=default)
    init_normal(model, c.init_std)
    return model


def weight_rules(c: LongformerConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, JoinRows, Rename, under

    theirs, ours = "encoder.layer.{i}.attention.self.", "stack.blocks.{i}.attn.body."
    pooler: list[Rule | Ignore] = [Ignore("pooler.dense.weight"), Ignore("pooler.dense.bias")]
    base: list[Rule | Ignore] = [
        *embedding_rules(),
        *block_rules(c),
        Rename(theirs + "query_global", ours + "global_q"),
        JoinRows(theirs, ours + "global_kv", parts=("key_global", "value_global"), rows=(c.d_model, c.d_model)),
        *([Rename("pooler.dense", "pooler.dense")] if c.head == "backbone" else pooler),
    ]
    on_top: dict[str, list[Rule | Ignore]] = {
        "masked_lm": [
            Rename("lm_head.dense", "head.transform.dense"),
            Rename("lm_head.layer_norm", "head.transform.norm"),
            *output_layer_rules(c, "lm_head."),
        ],
        **label_rules(),
    }
    return [*under("longformer.", base, write=c.head != "backbone"), *on_top[c.head]]


FAMILY = Family(
    name="longformer",
    kind=Kind.ENCODER,
    title="Longformer",
    paper="Beltagy et al. 2020, arXiv:2004.05150",
    peculiar="RoBERTa whose tokens see a window around themselves, and a few global tokens everything",
    objective="masked tokens",
    positions="learned",
    sizing=Sizing(norm_after=True, extra_attention=3),
    config_class=LongformerConfig,
    heads=HEADS,
    keys=KEYS | {"sep_id": Key("sep_token_id", 2)},
    token_ids=TOKEN_IDS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
