"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): BERT trained longer, on more text, without sentence pairs.

Peculiar: positions count the tokens that are not padding and begin after the row of the padding id, so the table has
pad_id + 1 rows more than a text may have tokens; one kind of segment; no pooler, but a dense layer of its own in the
classifier; GELU in the output layer whatever the blocks use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.bert_names import (
    FIXED,
    KEYS,
    BertLikeConfig,
    block_rules,
    embedding_rules,
    label_rules,
    output_layer_rules,
)
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "masked_lm": "RobertaForMaskedLM",
    "classification": "RobertaForSequenceClassification",
    "token_classification": "RobertaForTokenClassification",
    "span": "RobertaForQuestionAnswering",
    "backbone": "RobertaModel",
}
TOKEN_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


@dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertLikeConfig):
    """Sizes of a RoBERTa; defaults are those of the published models. pad_id is never None: positions need it."""

    norm_eps: float = setting(1e-5, low=0.0, high=1.0, help="added to the variance inside norms")
    n_segments: int = setting(1, low=1, high=1024, help="kinds of segments")
    pad_id: int | None = setting(1, low=0, high=2**24, help="id of the padding token, which takes no position")
    bos_id: int | None = setting(0, low=0, high=2**24, help="id of the token that begins a text")
    eos_id: int | None = setting(2, low=0, high=2**24, help="id of the token that ends a text")
    head: str = setting("masked_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad_id is None or self.pad_id >= self.vocab_size:
            raise UsageError(
                f"pad_id is {self.pad_id}; this family counts positions by it, so it must be one of the "
                f"{self.vocab_size} token ids",
                "use a tokenizer with a padding token",
            )

    @property
    def first_position(self) -> int:
        """The row of the position table that the first token of a text has."""
        assert self.pad_id is not None
        return self.pad_id + 1


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    pad = r.raw.get("pad_token_id", TOKEN_IDS["pad_token_id"])
    if not isinstance(pad, int) or isinstance(pad, bool) or pad < 0:
        raise r.wrong("pad_token_id", pad, "a token id, because positions are counted by it")
    rows = r.whole("max_position_embeddings", default=512)
    if rows < pad + 2:
        raise r.wrong("max_position_embeddings", rows, f"more than {pad + 1}, the rows before the first position")
    return {"max_seq_len": rows - pad - 1}


def more_to_hf(c: RobertaConfig) -> dict[str, object]:
    return {"max_position_embeddings": c.max_seq_len + c.first_position}


def build(c: RobertaConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS, gelu
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import CountedByPadding, Embeddings, LearnedPositions, Segments
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, FirstToken, LMHead, Pooler, Transform
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
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
    stack = Stack([block() for _ in range(c.n_layers)])

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        return LMHead(c.d_model, c.vocab_size, tied=tied, bias=True, transform=Transform(c.d_model, gelu, norm()))

    def decision() -> Decision:
        pool = FirstToken(c.d_model, dropout=c.head_dropout)
        return Decision(c.d_model, len(c.labels), pool=pool, dropout=c.head_dropout)

    heads = {
        "masked_lm": lambda: EncoderModel(c, embeddings, stack, words()),
        "classification": lambda: EncoderModel(c, embeddings, stack, decision()),
        "token_classification": lambda: EncoderModel(
            c, embeddings, stack, Decision(c.d_model, len(c.labels), dropout=c.head_dropout)
        ),
        "span": lambda: EncoderModel(c, embeddings, stack, Decision(c.d_model, 2)),
        "backbone": lambda: EncoderModel(c, embeddings, stack, pooler=Pooler(c.d_model)),
    }
    model = heads[c.head]()
    init_normal(model, c.init_std)
    return model


def weight_rules(c: RobertaConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, Rename, under

    # The published models hold a pooler that was never trained.
    no_pooler: list[Rule | Ignore] = [Ignore("pooler.dense.weight"), Ignore("pooler.dense.bias")]
    on_top: dict[str, list[Rule | Ignore]] = {
        "masked_lm": [
            Rename("lm_head.dense", "head.transform.dense"),
            Rename("lm_head.layer_norm", "head.transform.norm"),
            *output_layer_rules(c, "lm_head."),
        ],
        **label_rules(),
    }
    pooler = [Rename("pooler.dense", "pooler.dense")] if c.head == "backbone" else no_pooler
    base = [*embedding_rules(), *block_rules(c), *pooler]
    return [*under("roberta.", base, write=c.head != "backbone"), *on_top[c.head]]


FAMILY = Family(
    name="roberta",
    kind=Kind.ENCODER,
    title="RoBERTa",
    paper="Liu et al. 2019, arXiv:1907.11692",
    peculiar="BERT without sentence pairs, with masks drawn anew at every pass and positions that skip padding",
    objective="masked tokens",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=RobertaConfig,
    heads=HEADS,
    keys=KEYS | {"vocab_size": Key("vocab_size", 50265)},
    fixed=FIXED,
    token_ids=TOKEN_IDS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
