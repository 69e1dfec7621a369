"""ProphetNet (Qi et al. 2020, arXiv:2001.04063): a sequence-to-sequence model that foretells the next n tokens at once.

Peculiar: beside the stream that reads the output so far, the decoder runs n streams that predict the next token, the
one after it and so on, all with the same weights; only the first of them is needed to write. Relative positions,
whose scores each layer computes from the hidden states, come on top of learned ones, which start behind the padding
token's row. Norms after each residual sum and after the embeddings; the output layer is the embedding, without a bias.

transformers 5 makes the scores of the foretelling streams from the right hidden states only when it writes token by
token, as Microsoft's code always does; given several tokens at once, it mixes them up. We do as the former.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.bart_names import NORM_EPS, table_rules
from llmkit.models.config import EncoderDecoderConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, HfConfig
from llmkit.models.prophetnet_names import KEYS, tower_rules
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.ngram_shells import NgramModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {"seq2seq": "ProphetNetForConditionalGeneration", "backbone": "ProphetNetModel"}
POSITIONS = 512


@dataclass(frozen=True, kw_only=True)
class ProphetNetConfig(EncoderDecoderConfig):
    """Sizes of a ProphetNet; defaults are the published models'."""

    max_seq_len: int = setting(POSITIONS - 2, low=1, high=2**20, help="longest output, in tokens")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    ffn_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout inside the feed-forward layers")
    ngram: int = setting(2, low=1, high=64, help="tokens foretold at once")
    n_buckets: int = setting(32, low=2, high=2**16, help="kinds of distances between tokens of the output")
    max_distance: int = setting(128, low=1, high=2**24, help="distance from which on all are of one kind")
    next_token_only: bool = setting(False, help="transformers trains on the next token alone; kept for it")
    label_smoothing: float = setting(
        0.0, low=0.0, high=1.0, help="share of the loss spread over all tokens; kept for transformers"
    )
    use_cache: bool = setting(True, help="transformers keeps keys and values in every pass, not only to generate")
    head: str = setting("seq2seq", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    BEGINS_WITH: ClassVar[str] = "eos_id"  # in the published models, [SEP] on both sides

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive("pad_id", 0)  # positions are counted from it
        if self.n_decoder_layers > self.n_layers:
            # transformers makes a cache for as many layers as the encoder has, and fails when the decoder has more.
            object.__setattr__(self, "use_cache", False)
        if self.norm_eps != NORM_EPS:
            raise UsageError(f"norm_eps is {self.norm_eps}; checkpoints of this family know {NORM_EPS} only")

    @property
    def unused_positions(self) -> int:
        """Rows of the position tables up to the padding token's."""
        return (self.pad_id or 0) + 1


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    rows = r.whole("max_position_embeddings", default=POSITIONS)
    pad = r.raw.get("pad_token_id", 0)
    vocab_size = r.whole("vocab_size", default=KEYS["vocab_size"].default)
    if not isinstance(pad, int) or not 0 <= pad < vocab_size:
        raise r.wrong("pad_token_id", pad, "a token id: ProphetNet counts positions from it")
    # The streams that foretell stand one place further on than the last token.
    sizes = {"max_seq_len": rows - pad - 2}
    if r.raw.get("num_attention_heads") is not None:  # transformers lets it win
        sizes["n_heads"] = r.whole("num_attention_heads")
    return sizes


def more_to_hf(c: ProphetNetConfig) -> dict[str, object]:
    return {"max_position_embeddings": c.max_seq_len + 1 + c.unused_positions}


def build(c: ProphetNetConfig) -> NgramModel:
    from llmkit.models.ngram_shells import NgramModel, NgramTower
    from llmkit.models.shells import Tower
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention, CrossAttention
    from llmkit.nn.embeddings import ClampedPositions, Embeddings, LearnedPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import LMHead
    from llmkit.nn.init import init_normal
    from llmkit.nn.ngram_attention import NgramAttention, StreamEmbeddings, StreamReach
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def residual(body: Any) -> Residual:
        return Residual(body, post_norm=norm(), dropout=c.dropout)

    def feed_forward(d_ff: int) -> Residual:
        return residual(FeedForward(c.d_model, d_ff, ACTIVATIONS[c.activation], dropout=c.ffn_dropout))

    def encoder_block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), ffn=feed_forward(c.d_ff))

    def decoder_block() -> Block:
        attention = NgramAttention(c.d_model, c.n_decoder_heads, n_buckets=c.n_buckets, dropout=c.attention_dropout)
        cross = CrossAttention(c.d_model, c.n_decoder_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), cross=residual(cross), ffn=feed_forward(c.d_decoder_ff))

    places = {"offset": c.unused_positions}
    read = Embeddings(
        c.vocab_size,
        c.d_model,
        added={"position": ClampedPositions(c.max_seq_len + 1, c.d_model, **places)},
        norm=norm(),
        dropout=c.dropout,
    )
    written = StreamEmbeddings(
        c.vocab_size,
        c.d_model,
        table=read.token if c.tie_embeddings else None,
        ngram=c.ngram,
        added={"position": LearnedPositions(c.max_seq_len + 1, c.d_model, **places)},
        norm=norm(),
        dropout=c.dropout,
    )
    decoder = NgramTower(
        written,
        Stack([decoder_block() for _ in range(c.n_decoder_layers)]),
        distances=StreamReach(c.n_buckets, c.max_distance),
        shown=1 if c.head == "seq2seq" else 0,
    )
    tied = read.token.weight if c.tie_embeddings else None
    model = NgramModel(
        c,
        Tower(read, Stack([encoder_block() for _ in range(c.n_layers)])),
        decoder,
        LMHead(c.d_model, c.vocab_size, tied=tied) if c.head == "seq2seq" else None,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: ProphetNetConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Rename, under

    base: list[Rule | Ignore] = [
        *table_rules(c, shared=c.tie_embeddings, table="word_embeddings", each="word_embeddings"),
        Rename("decoder.ngram_embeddings", "decoder.embeddings.stream"),
        *tower_rules(c, "encoder.", c.n_buckets),
        *tower_rules(c, "decoder.", c.n_buckets),
    ]
    on_top: list[Rule | Ignore] = []
    if c.head == "seq2seq":
        tied = Alias("lm_head.weight", "encoder.embeddings.token.weight")
        on_top = [tied if c.tie_embeddings else Rename("lm_head", "head.decoder")]
    return [*under("prophetnet.", base, write=c.head != "backbone"), *on_top]


def scores_by_distance(c: ProphetNetConfig) -> float:
    return c.n_decoder_layers * c.n_buckets * c.n_decoder_heads * c.d_model


FAMILY = Family(
    name="prophetnet",
    kind=Kind.ENCODER_DECODER,
    title="ProphetNet",
    paper="Qi et al. 2020, arXiv:2001.04063",
    peculiar="post-norm encoder and decoder that foretells the next n tokens in streams of their own",
    objective="next n tokens",
    positions="learned and relative",
    sizing=Sizing(norm_after=True, more=scores_by_distance),
    config_class=ProphetNetConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=(
        Fixed("add_cross_attention", True, because="the decoder could not read the input"),
        Fixed("num_hidden_layers", because="each tower has its own number of layers"),
    ),
    token_ids={"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
