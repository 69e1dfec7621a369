"""ConvBERT (Jiang et al. 2020, arXiv:2008.02496): BERT with half of its attention replaced by dynamic convolutions.

Peculiar: each head attends with one half and convolves with the other, with kernels made from the span around each
token; fewer heads than BERT by the `head_ratio`; feed-forward layers may keep groups of channels apart; embeddings may
be narrower than the model, and the output layer goes back to their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.bert_names import FIXED, KEYS, BertLikeConfig, block_rules, embedding_rules, label_rules
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "masked_lm": "ConvBertForMaskedLM",
    "classification": "ConvBertForSequenceClassification",
    "token_classification": "ConvBertForTokenClassification",
    "span": "ConvBertForQuestionAnswering",
    "backbone": "ConvBertModel",
}


@dataclass(frozen=True, kw_only=True)
class ConvBertConfig(BertLikeConfig):
    """Sizes of a ConvBERT. n_heads counts the heads there are, n_heads * head_ratio those that BERT would have."""

    d_embed: int = setting(0, low=0, high=65536, help="width of the embeddings; 0: as d_model")
    head_ratio: int = setting(2, low=1, high=1024, help="how many times fewer heads there are than config.json says")
    kernel_size: int = setting(9, low=1, high=65535, help="tokens that a convolution spans, an odd number")
    n_groups: int = setting(1, low=1, high=65536, help="groups that the feed-forward layers keep apart")
    head: str = setting("masked_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive("d_embed", self.d_model)
        if self.head_dim % 2:
            raise UsageError(f"d_model / n_heads is {self.head_dim}; it must be even: half attends, half convolves")
        if self.kernel_size % 2 == 0:
            raise UsageError(f"kernel_size is {self.kernel_size}; it must be odd, to have a token in its middle")
        for name in ("d_model", "d_ff"):
            if getattr(self, name) % self.n_groups:
                raise UsageError(f"n_groups is {self.n_groups}; it must divide {name}, which is {getattr(self, name)}")


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    n_heads, ratio = r.whole("num_attention_heads", default=12), r.whole("head_ratio", default=2)
    return {"n_heads": max(1, n_heads // max(1, ratio))}


def more_to_hf(c: ConvBertConfig) -> dict[str, object]:
    return {"num_attention_heads": c.n_heads * c.head_ratio}


def build(c: ConvBertConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS, gelu
    from llmkit.nn.embeddings import Embeddings, LearnedPositions, Segments
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.grouped import GroupedLinear
    from llmkit.nn.heads import Decision, FirstToken, LMHead, Transform
    from llmkit.nn.init import init_normal
    from llmkit.nn.linear import Linear
    from llmkit.nn.mixed_convolution import MixedAttention
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    act = ACTIVATIONS[c.activation]

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def feed_forward() -> FeedForward:
        body = FeedForward(c.d_model, c.d_ff, act)
        if c.n_groups > 1:
            body.register_module("up", GroupedLinear(c.d_model, c.d_ff, c.n_groups))
            body.register_module("down", GroupedLinear(c.d_ff, c.d_model, c.n_groups))
        return body

    def block() -> Block:
        attention = MixedAttention(c.d_model, c.n_heads, kernel_size=c.kernel_size, dropout=c.attention_dropout)
        return Block(
            attn=Residual(attention, post_norm=norm(), dropout=c.dropout),
            ffn=Residual(feed_forward(), post_norm=norm(), dropout=c.dropout),
        )

    embeddings = Embeddings(
        c.vocab_size,
        c.d_embed,
        added={"segment": Segments(c.n_segments, c.d_embed), "position": LearnedPositions(c.max_seq_len, c.d_embed)},
        norm=LayerNorm(c.d_embed, c.norm_eps),
        dropout=c.dropout,
        project=None if c.d_embed == c.d_model else Linear(c.d_embed, c.d_model),
    )
    stack = Stack([block() for _ in range(c.n_layers)])

    def words() -> LMHead:
        back = Transform(c.d_model, gelu, LayerNorm(c.d_embed, c.norm_eps), d_out=c.d_embed)
        tied = embeddings.token.weight if c.tie_embeddings else None
        return LMHead(c.d_embed, c.vocab_size, tied=tied, bias=True, transform=back)

    def decision() -> Decision:
        pool = FirstToken(c.d_model, act, dropout=c.head_dropout)
        return Decision(c.d_model, len(c.labels), pool=pool, dropout=c.head_dropout)

    heads = {
        "masked_lm": words,
        "classification": decision,
        "token_classification": lambda: Decision(c.d_model, len(c.labels), dropout=c.head_dropout),
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    model = EncoderModel(c, embeddings, stack, heads[c.head]())
    init_normal(model, c.init_std)
    return model


def weight_rules(c: ConvBertConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, JoinRows, Rename, Reshape, under

    theirs, ours = "encoder.layer.{i}.attention.self.", "stack.blocks.{i}.attn.body."
    width, span = c.d_model // 2, theirs + "key_conv_attn_layer."
    base: list[Rule | Ignore] = [
        *embedding_rules(),
        Rename("embeddings_project", "embeddings.project"),
        JoinRows(theirs, ours + "project", parts=("query", "key", "value", "conv_out_layer"), rows=(width,) * 4),
        Rename(span + "depthwise", ours + "depthwise"),
        Reshape(
            span + "pointwise.weight",
            ours + "pointwise.weight",
            their_shape=(width, c.d_model, 1),
            our_shape=(width, c.d_model),
        ),
        Reshape(span + "bias", ours + "pointwise.bias", their_shape=(width, 1), our_shape=(width,)),
        Rename(theirs + "conv_kernel_layer", ours + "weigh"),
        *block_rules(c),
    ]
    tied = Alias("generator_lm_head.weight", "embeddings.token.weight")
    on_top: dict[str, list[Rule | Ignore]] = {
        "masked_lm": [
            Rename("generator_predictions.dense", "head.transform.dense"),
            Rename("generator_predictions.LayerNorm", "head.transform.norm"),
            Rename("generator_lm_head", "head.decoder"),
            *([tied] if c.tie_embeddings else []),
        ],
        **label_rules(),
    }
    return [*under("convbert.", base, write=c.head != "backbone"), *on_top[c.head]]


def saved_by_groups(c: ConvBertConfig) -> float:
    return c.n_layers * 2 * c.d_model * c.d_ff * (1 / c.n_groups - 1)


FAMILY = Family(
    name="convbert",
    kind=Kind.ENCODER,
    title="ConvBERT",
    paper="Jiang et al. 2020, arXiv:2008.02496",
    peculiar="BERT whose heads attend with one half and convolve with the other, kernels made from spans of tokens",
    objective="masked tokens, replaced tokens",
    positions="learned",
    sizing=Sizing(norm_after=True, extra_attention=-0.5, more=saved_by_groups),
    config_class=ConvBertConfig,
    heads=HEADS,
    keys=KEYS
    | {
        "d_embed": Key("embedding_size", 768),
        "head_ratio": Key("head_ratio", 2),
        "kernel_size": Key("conv_kernel_size", 9),
        "n_groups": Key("num_groups", 1),
    },
    fixed=FIXED,
    token_ids={"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
