"""Reformer (Kitaev et al. 2020, arXiv:2001.04451): attention and memory that grow with the text, not with its square.

Peculiar: layers that look at neighbouring chunks take turns with layers that sort tokens by a hash first, whose
queries are their keys; two residual streams, each computable from the other, side by side at the end; positions as a
grid. Reads both ways, or from the left: then, too, the whole text at once, since one more token sorts it differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.reformer_names import KEYS, block_rules, head_rules, more_from_hf, more_to_hf
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "ReformerModelWithLMHead",
    "masked_lm": "ReformerForMaskedLM",
    "classification": "ReformerForSequenceClassification",
    "span": "ReformerForQuestionAnswering",
    "backbone": "ReformerModel",
}


@dataclass(frozen=True, kw_only=True)
class ReformerConfig(ModelConfig):
    """Sizes of a Reformer. Windows count chunks: `before` and `after` the one that looks."""

    max_seq_len: int = setting(4096, low=1, high=2**24, help="longest sequence, in tokens (learned positions)")
    activation: str = setting("relu", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    norm_eps: float = setting(1e-12, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.05, low=0.0, high=1.0, help="dropout of embeddings, branches and hidden units")
    attention_dropout: float = setting(0.05, low=0.0, high=1.0, help="dropout of attention weights in local layers")
    hashed_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout of attention weights in hashed layers")
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout of the classifier; none: dropout")
    tie_embeddings: bool = setting(False, help="impossible here: hidden states are twice as wide as embeddings")
    is_causal: bool | None = setting(None, help="tokens see none after them; none: as the head needs it")
    layers: tuple[str, ...] = setting((), help="local or lsh (hashed), layer by layer; none: in turns")
    local_chunk: int = setting(64, low=1, high=2**20, help="tokens per chunk in local layers")
    local_before: int = setting(1, low=0, high=1024, help="chunks before its own that a token sees in local layers")
    local_after: int = setting(0, low=0, high=1024, help="chunks after its own that a token sees in local layers")
    hashed_chunk: int = setting(64, low=1, high=2**20, help="tokens per chunk in hashed layers")
    hashed_before: int = setting(1, low=0, high=1024, help="chunks before its own that a token sees in hashed layers")
    hashed_after: int = setting(0, low=0, high=1024, help="chunks after its own that a token sees in hashed layers")
    n_hashes: int = setting(1, low=1, high=64, help="rounds of hashing")
    n_buckets: tuple[int, ...] = setting((), help="buckets of a hash, or their factors; none: by the text's length")
    hash_seed: int | None = setting(None, low=0, high=2**63 - 1, help="of the hashes; none: new ones at each step")
    axial: bool = setting(True, help="positions as a grid, else one vector each")
    axial_shape: tuple[int, ...] = setting((), help="rows and columns of the grid; none: as square as can be")
    axial_widths: tuple[int, ...] = setting((), help="widths of its vectors; none: a quarter and three of d_model")
    axial_std: float = setting(1.0, low=0.0, high=1e3, help="standard deviation of the grid's fresh vectors")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    FREE: ClassVar[tuple[str, ...]] = ("head_dim",)

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = next(n for n in range(math.isqrt(self.max_seq_len), 0, -1) if self.max_seq_len % n == 0)
        defaults: dict[str, tuple[Any, ...]] = {
            "layers": tuple("local" if i % 2 == 0 else "lsh" for i in range(self.n_layers)),
            "axial_shape": (rows, self.max_seq_len // rows),
            "axial_widths": (self.d_model // 4, self.d_model - self.d_model // 4),
            "n_buckets": (),
        }
        for name, default in defaults.items():
            object.__setattr__(self, name, tuple(getattr(self, name)) or default)
        if self.is_causal is None:
            object.__setattr__(self, "is_causal", self.head == "causal_lm")
        self._check_structure()

    def usual_d_ff(self) -> int:
        """Twice the width, as published."""
        return 2 * self.d_model

    def _check_structure(self) -> None:
        if len(self.layers) != self.n_layers or not set(self.layers) <= {"local", "lsh"}:
            raise UsageError(f"layers is {self.layers}; it must say local or lsh for each of {self.n_layers} layers")
        for name in ("n_buckets", "axial_shape", "axial_widths"):
            if not all(type(n) is int and 0 <= n <= 2**24 for n in getattr(self, name)):
                raise UsageError(f"{name} is {getattr(self, name)}; it must hold whole numbers from 0 to {2**24}")
        if any(n % 2 or n == 0 for n in self.n_buckets):
            raise UsageError(f"n_buckets is {self.n_buckets}; each number must be even: a bucket has an opposite")
        if len(self.axial_shape) != 2 or 0 in self.axial_shape:
            raise UsageError(f"axial_shape is {self.axial_shape}; it must be two numbers, rows and columns")
        if self.axial and (len(self.axial_widths) != 2 or sum(self.axial_widths) != self.d_model):
            raise UsageError(f"axial_widths is {self.axial_widths}; two numbers must add up to d_model, {self.d_model}")
        if self.tie_embeddings:
            raise UsageError("tie_embeddings is true; hidden states are twice as wide as the embeddings of this family")
        needed = {"causal_lm": True, "masked_lm": False}.get(self.head, self.is_causal)
        if self.is_causal != needed:
            raise UsageError(f"is_causal is {self.is_causal}; the head {self.head!r} needs the opposite")
        if self.head == "causal_lm" and any(
            after for kind, after in (("local", self.local_after), ("lsh", self.hashed_after)) if kind in self.layers
        ):
            raise UsageError("local_after and hashed_after must be 0 with the head 'causal_lm': nothing ahead is seen")


def build(c: ReformerConfig) -> EncoderModel:
    from torch import nn

    from llmkit.models.chunked_shells import ChunkedModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.axial_positions import AxialPositions, DroppedPositions
    from llmkit.nn.chunked_attention import ChunkAttention, HashedAttention
    from llmkit.nn.chunks import Window
    from llmkit.nn.feedforward import EarlyDropFeedForward
    from llmkit.nn.hashing import Hashing
    from llmkit.nn.heads import Decision, FirstToken, LMHead
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.padded_embeddings import PaddedEmbeddings
    from llmkit.nn.reversible import ReversibleStack
    from llmkit.nn.wiring import Block, Normed

    chunks = {c.local_chunk if kind == "local" else c.hashed_chunk for kind in c.layers}
    local = Window(c.local_chunk, c.local_before, c.local_after)
    hashed = Window(c.hashed_chunk, c.hashed_before, c.hashed_after)
    hashing = Hashing(c.n_hashes, c.n_buckets, c.hash_seed, c.max_seq_len)

    def branch(body: nn.Module) -> Normed:
        return Normed(LayerNorm(c.d_model, c.norm_eps), body, dropout=c.dropout)

    def block(kind: str) -> Block:
        if kind == "local":
            attention: nn.Module = ChunkAttention(c.d_model, c.n_heads, c.head_dim, local, dropout=c.attention_dropout)
        else:
            attention = HashedAttention(c.d_model, c.n_heads, c.head_dim, hashed, hashing, dropout=c.hashed_dropout)
        feed_forward = EarlyDropFeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation], dropout=c.dropout)
        return Block(attn=branch(attention), ffn=branch(feed_forward))

    position = (
        AxialPositions(c.axial_shape, c.axial_widths, limit=c.max_seq_len, dropout=c.dropout, std=c.axial_std)
        if c.axial
        else DroppedPositions(c.max_seq_len, c.d_model, dropout=c.dropout)
    )
    embeddings = PaddedEmbeddings(
        c.vocab_size,
        c.d_model,
        added={"position": position},
        token_project=nn.Dropout(c.dropout),
        multiple=math.lcm(*chunks),
        least=min(chunks),
        fill_id=c.pad_id or 0,
    )
    stack = ReversibleStack(
        [block(kind) for kind in c.layers],
        LayerNorm(2 * c.d_model, c.norm_eps),
        dropout=c.dropout,
    )
    rate = c.dropout if c.classifier_dropout is None else c.classifier_dropout

    def decision() -> Decision:
        pool = FirstToken(2 * c.d_model, dropout=rate, d_out=c.d_model)
        return Decision(c.d_model, len(c.labels), pool=pool, dropout=rate)

    heads = {
        "causal_lm": lambda: LMHead(2 * c.d_model, c.vocab_size),
        "masked_lm": lambda: LMHead(2 * c.d_model, c.vocab_size),
        "classification": decision,
        "span": lambda: Decision(2 * c.d_model, 2),
        "backbone": lambda: None,
    }
    model = ChunkedModel(c, embeddings, stack, heads[c.head](), is_causal=c.is_causal)
    init_normal(model, c.init_std)
    return model


def weight_rules(c: ReformerConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import under

    return [*under("reformer.", block_rules(c), write=c.head != "backbone"), *head_rules(c)]


def grid_and_wide_output(c: ReformerConfig) -> float:
    """The output layer reads both streams, so it is twice as wide as the embeddings."""
    rows, columns = c.axial_shape
    grid = rows * c.axial_widths[0] + columns * c.axial_widths[1] if c.axial else c.max_seq_len * c.d_model
    return c.vocab_size * c.d_model + grid


FAMILY = Family(
    name="reformer",
    kind=Kind.ENCODER,
    title="Reformer",
    paper="Kitaev et al. 2020, arXiv:2001.04451",
    peculiar="attention among neighbours and among tokens of one hash, reversible residual streams, axial positions",
    objective="next token",
    positions="axial",
    sizing=Sizing(extra_attention=-0.5, has_transform=False, more=grid_and_wide_output, layer_step=2),
    config_class=ReformerConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"pad_token_id": 0, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
