"""Funnel-Transformer (Dai et al. 2020, arXiv:2006.03236): an encoder that shortens the text as it goes up.

Peculiar: the stack is cut into blocks, and the first layer of each but the first one pools its queries by two while
its keys stay; scores add up content, relative position and "same segment or not"; a small decoder, on the upsampled
result plus what left the first block, gives every token a vector again. Classifiers of texts do without the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.funnel_names import KEYS, layer_rules, more_from_hf, more_to_hf
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "replaced_token": "FunnelForPreTraining",
    "masked_lm": "FunnelForMaskedLM",
    "classification": "FunnelForSequenceClassification",
    "token_classification": "FunnelForTokenClassification",
    "span": "FunnelForQuestionAnswering",
    "backbone": "FunnelModel",
    "base": "FunnelBaseModel",
}


@dataclass(frozen=True, kw_only=True)
class FunnelConfig(ModelConfig):
    """Sizes of a Funnel-Transformer; n_layers counts the layers of all blocks, each repeated one once."""

    max_seq_len: int = setting(512, low=1, high=2**24, help="longest sequence it is trained with, in tokens")
    activation: str = setting("gelu_new", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    norm_eps: float = setting(1e-9, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings, residual branches and positions")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    ffn_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout of hidden units in the feed-forward layer")
    block_sizes: tuple[int, ...] = setting((), help="layers of each block; none: three blocks, as far as they go")
    block_repeats: tuple[int, ...] = setting((), help="how often each layer of a block runs; none: once")
    n_decoder_layers: int = setting(2, low=0, high=1024, help="layers on the upsampled text")
    pooling: str = setting("mean", choices=("mean", "max"), help="what two neighbouring tokens become")
    pool_all: bool = setting(False, help="pool keys and values like queries, not queries alone")
    separate_first: bool = setting(True, help="keep the first token ([CLS]) out of pooling and relative scores")
    cut_last: bool = setting(True, help="with separate_first, leave the last token out of each pooling")
    attention_type: str = setting(
        "relative_shift", choices=("relative_shift", "factorized"), help="which formula files name; the numbers are one"
    )
    relative_init: float = setting(0.1, low=0.0, high=1.0, help="fresh vectors of relative scores lie below this")
    init_std: float = setting(0.0, low=0.0, high=1.0, help="deviation of fresh weights; 0: by their shapes")
    head: str = setting("replaced_token", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    FREE: ClassVar[tuple[str, ...]] = ("head_dim",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % 2:
            raise UsageError(f"d_model is {self.d_model}; half of it are sines, half cosines, so it must be even")
        size = max(2, -(-self.n_layers // 3))
        usual = tuple(min(size, self.n_layers - first) for first in range(0, self.n_layers, size))
        for name, default in (("block_sizes", usual), ("block_repeats", (1,) * len(self.block_sizes or usual))):
            object.__setattr__(self, name, tuple(getattr(self, name)) or default)
            if not all(type(n) is int and 1 <= n <= 1024 for n in getattr(self, name)):
                raise UsageError(f"{name} is {getattr(self, name)}; it must hold whole numbers between 1 and 1024")
        if sum(self.block_sizes) != self.n_layers:
            raise UsageError(f"block_sizes is {self.block_sizes}; it must add up to n_layers, which is {self.n_layers}")
        if len(self.block_repeats) != len(self.block_sizes):
            raise UsageError(f"block_repeats is {self.block_repeats}; it needs a number for each block in block_sizes")

    @property
    def is_resumed(self) -> bool:
        """Whether layers on the whole text follow; heads that look at the first token alone do without."""
        return self.head not in ("classification", "base")


def build(c: FunnelConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, LMHead, Pooler, Transform
    from llmkit.nn.init_by_shape import init_by_shape
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.pooled_attention import PooledAttention
    from llmkit.nn.pooled_stack import PooledStack, ResumedStack
    from llmkit.nn.pooling import Pairs, PairsAfterFirst
    from llmkit.nn.wiring import Block, Residual

    act = FUNCTIONS[c.activation]

    def residual(body: Any) -> Residual:
        return Residual(body, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout)

    def block() -> Block:
        attention = PooledAttention(
            c.d_model, c.n_heads, c.head_dim, dropout=c.attention_dropout, drawn=c.relative_init
        )
        return Block(attn=residual(attention), ffn=residual(FeedForward(c.d_model, c.d_ff, act, dropout=c.ffn_dropout)))

    blocks = []
    for size, repeats in zip(c.block_sizes, c.block_repeats, strict=True):
        blocks += [layer for layer in [block() for _ in range(size)] for _ in range(repeats)]
    blocks += [block() for _ in range(c.n_decoder_layers if c.is_resumed else 0)]
    maximum = c.pooling == "max"
    shape: dict[str, Any] = {
        "sizes": [size * repeats for size, repeats in zip(c.block_sizes, c.block_repeats, strict=True)],
        "pairs": PairsAfterFirst(maximum=maximum, cut=c.cut_last) if c.separate_first else Pairs(maximum=maximum),
        "pool_all": c.pool_all,
        "dropout": c.dropout,
    }
    # Layers to keep are counted without repeats, whatever has run by then.
    stack = ResumedStack(blocks, keep=c.block_sizes[0], **shape) if c.is_resumed else PooledStack(blocks, **shape)
    embeddings = Embeddings(c.vocab_size, c.d_model, norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout)
    tied = embeddings.token.weight if c.tie_embeddings else None
    heads = {
        "replaced_token": lambda: Decision(c.d_model, 1, pool=Transform(c.d_model, act)),
        "masked_lm": lambda: LMHead(c.d_model, c.vocab_size, tied=tied, bias=True),
        "classification": lambda: Decision(c.d_model, len(c.labels), pool=Pooler(c.d_model), dropout=c.dropout),
        "token_classification": lambda: Decision(c.d_model, len(c.labels), dropout=c.dropout),
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
        "base": lambda: None,
    }
    model = EncoderModel(c, embeddings, stack, heads[c.head]())
    init_by_shape(model, c.init_std or None)
    return model


def weight_rules(c: FunnelConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, Rename, under

    base: list[Rule | Ignore] = [
        Rename("embeddings.word_embeddings", "embeddings.token"),
        Rename("embeddings.layer_norm", "embeddings.norm"),
    ]
    place = 0
    for n, (size, repeats) in enumerate(zip(c.block_sizes, c.block_repeats, strict=True)):
        for i in range(size):
            base += layer_rules(c, f"encoder.blocks.{n}.{i}", f"stack.blocks.{place}")
            place += repeats
    for i in range(c.n_decoder_layers):
        rules = layer_rules(c, f"decoder.layers.{i}", f"stack.blocks.{place + i}")
        stems = [stem for rule in rules if not isinstance(rule, Ignore) for stem in rule.stems()]
        base += (
            rules if c.is_resumed else [Ignore(f"{stem}{leaf}") for stem in stems for leaf in ("", ".weight", ".bias")]
        )
    tied = Alias("lm_head.weight", "embeddings.token.weight")
    heads: dict[str, list[Rule | Ignore]] = {
        "replaced_token": [
            Rename("discriminator_predictions.dense", "head.pool.dense"),
            Rename("discriminator_predictions.dense_prediction", "head.linear"),
        ],
        "masked_lm": [
            tied if c.tie_embeddings else Rename("lm_head.weight", "head.decoder.weight"),
            Rename("lm_head.bias", "head.decoder.bias"),
        ],
        "classification": [
            Rename("classifier.linear_hidden", "head.pool.dense"),
            Rename("classifier.linear_out", "head.linear"),
        ],
        "token_classification": [Rename("classifier", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
    }
    return [*under("funnel.", base, write=c.head not in ("backbone", "base")), *heads.get(c.head, [])]


def resumed_layers(c: FunnelConfig) -> float:
    return c.n_decoder_layers * c.d_model * (5 * c.n_heads * c.head_dim + 2 * c.d_ff)


FAMILY = Family(
    name="funnel",
    kind=Kind.ENCODER,
    title="Funnel-Transformer",
    paper="Dai et al. 2020, arXiv:2006.03236",
    peculiar="encoder that pools the text between its blocks and upsamples it at the end, with relative scores",
    objective="replaced tokens",
    positions="relative",
    sizing=Sizing(norm_after=True, extra_attention=1, more=resumed_layers),
    config_class=FunnelConfig,
    heads=HEADS,
    keys=KEYS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
