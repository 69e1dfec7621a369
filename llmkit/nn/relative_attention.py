"""Attention by content and by distance (Transformer-XL, Dai et al. 2019, arXiv:1901.02860).

score(i, j) = (q_i + u) . k_j + (q_i + v) . W s(i - j), with learned u and v, and s a sinusoid of the distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from llmkit.nn.attention import AttentionPart
from llmkit.nn.context import Context
from llmkit.nn.linear import Linear
from llmkit.nn.masks import AttentionMask
from llmkit.nn.streams import Streams


class Distances(Protocol):
    """Distances in one pass. sinusoids: (directions, n, d_model); a second direction is for the batch's second half."""

    @property
    def sinusoids(self) -> Tensor: ...

    def lay(self, terms: Tensor) -> Tensor:
        """A score for each of the n distances, (batch, heads, queries, n) -> for each key, (..., queries, keys)."""
        ...


@dataclass(frozen=True)
class Counted:
    """Between tokens in a row, of which the queries are the last: n distances from keys - 1 downwards.

    Where a distance was left out (a causal mask hides those below 0), `lay` leaves other distances' scores.
    """

    sinusoids: Tensor
    keys: int

    def lay(self, terms: Tensor) -> Tensor:
        queries, n = terms.shape[-2:]
        # Query i finds key j in column queries - 1 - i + j: in one long row, a constant step, so no number moves.
        shifted = terms.flatten(-2)[..., queries - 1 : -1].unflatten(-1, (queries, n - 1))
        return shifted[..., : self.keys]


@dataclass(frozen=True)
class Placed:
    """Between tokens at any positions. column: (batch or 1, queries, keys), the distance's place among the n."""

    sinusoids: Tensor
    column: Tensor

    def lay(self, terms: Tensor) -> Tensor:
        return terms.gather(-1, self.column[:, None].expand(*terms.shape[:3], -1))


class DistanceSinusoids(nn.Module):
    """Sines, then cosines, of distances (query's position minus key's), made once for all layers.

    clamp: distances beyond it count as it; 0: all are told apart. mirrored: the second half of the batch is read
    backwards (XLNet's `bi_data`), so its distances have the other sign.
    """

    def __init__(self, d_model: int, *, clamp: int = 0, mirrored: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.clamp = clamp or math.inf
        # No buffer: it must survive .half() and the meta device. In float32, as the published models were trained.
        self.frequencies = 1 / torch.pow(10000, torch.arange(0, d_model, 2, device="cpu").float() / d_model)
        self.signs = torch.tensor([1.0, -1.0] if mirrored else [1.0], device="cpu")
        self.dropout = nn.Dropout(dropout)

    @property
    def directions(self) -> int:
        """Equal parts of a batch that are read in directions of their own."""
        return len(self.signs)

    def counted(self, queries: int, keys: int, *, causal: bool, like: Tensor) -> Counted:
        """Of the last `queries` of `keys` tokens; like: gives dtype and device."""
        # One distance more than there are: `lay` needs the room.
        return Counted(self._sinusoids(keys - 1, -1 if causal else -queries, like), keys)

    def between(self, positions: Tensor, key_positions: Tensor, *, causal: bool, like: Tensor) -> Placed:
        """Of tokens at `positions` from keys at `key_positions`, (batch or 1, seq) each. Waits for the device."""
        distance = positions[:, :, None] - key_positions[:, None, :]
        queries, keys = distance.shape[1:]
        visible = distance.tril(keys - queries) if causal else distance
        first, last = int(visible.max()), int(visible.min()) - 1
        return Placed(self._sinusoids(first, last, like), (first - distance).clamp(0, first - last))

    def _sinusoids(self, first: int, last: int, like: Tensor) -> Tensor:
        distances = torch.arange(first, last - 1, -1, device=like.device).float().clamp(-self.clamp, self.clamp)
        angles = (self.signs.to(like.device)[:, None] * distances)[..., None] * self.frequencies.to(like.device)
        sinusoids: Tensor = self.dropout(torch.cat([angles.sin(), angles.cos()], -1).to(like.dtype))
        return sinusoids

    def extra_repr(self) -> str:
        return f"clamp={self.clamp}, directions={self.directions}"


class OneSegment:
    """All tokens lie in the same segment."""

    def add(self, scores: Tensor, weight: Tensor) -> Tensor:
        return scores


@dataclass(frozen=True)
class SegmentPairs:
    """differs: (batch, 1, queries, keys), 1 where query and key lie in different segments, else 0."""

    differs: Tensor

    def add(self, scores: Tensor, weight: Tensor) -> Tensor:
        """weight (batch, heads, queries, 1) on top of the scores (batch, heads, queries, keys) of such pairs."""
        return torch.addcmul(scores, self.differs, weight)


ONE_SEGMENT = OneSegment()


@dataclass(kw_only=True)
class RelativeContext(Context):
    """distances: between queries and keys. streams: which queries there are, with their masks (`mask` is not read).

    pairs: which queries and keys lie in the same segment.
    """

    distances: Distances
    streams: Streams
    pairs: OneSegment | SegmentPairs = ONE_SEGMENT


class RelativeAttention(AttentionPart):
    """Every token gathers values from others, and from the memory of earlier segments, by content and by distance.

    biases: the parameters u and v (heads, head_dim) of another layer, to share; None: its own.

    Shapes: x (batch, tokens, d_model) -> the same. `kv` holds the rows of all key heads, then all value heads.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        head_dim: int | None = None,
        biases: tuple[nn.Parameter, nn.Parameter] | None = None,
        dropout: float = 0.0,
    ) -> None:
        self_dim = head_dim or d_model // n_heads
        super().__init__(scale=self_dim**-0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = self_dim
        self.q = Linear(d_model, n_heads * self_dim, bias=False)
        self.kv = Linear(d_model, 2 * n_heads * self_dim, bias=False)
        self.distance = Linear(d_model, n_heads * self_dim, bias=False)
        self.out = Linear(n_heads * self_dim, d_model, bias=False)
        fresh = (nn.Parameter(torch.empty(n_heads, self_dim)) for _ in range(2))
        self.content_bias, self.position_bias = biases or fresh

    def draw(self, std: float) -> None:
        nn.init.normal_(self.content_bias, std=std)
        nn.init.normal_(self.position_bias, std=std)

    def forward(self, x: Tensor, ctx: RelativeContext) -> Tensor:
        streams, heads = ctx.streams, (-1, self.head_dim)
        read = ctx.cache.recall(ctx.layer, streams.content(x))
        k, v = self.kv(read).unflatten(-1, heads).transpose(1, 2).chunk(2, 1)
        k, v = ctx.cache.extend(ctx.layer, k, v)
        q = streams.queries(self.q(x)).unflatten(-1, heads).transpose(1, 2)
        n = len(streams.masks)
        terms = self._position_terms(q, ctx.distances.sinusoids)
        # A capture keeps the map of the last call: the content stream's.
        gathered = []
        for part, term, mask, blind in zip(q.chunk(n, 2), terms.chunk(n, 2), streams.masks, streams.blind, strict=True):
            content, scores = part + self.content_bias[:, None], self._scores(part, term, mask, ctx)
            if blind is not None:
                content, scores = content.masked_fill(blind, 0.0), scores.masked_fill(blind, 0.0)
            gathered.append(self.attend(content, k, v, AttentionMask(scores)))
        return self.out(streams.join([y.transpose(1, 2).flatten(2) for y in gathered]))

    def _position_terms(self, q: Tensor, sinusoids: Tensor) -> Tensor:
        """scale * (q + v) . W s for every distance: (batch, heads, queries, n)."""
        q = ((q + self.position_bias[:, None]) * self.scale).unflatten(0, (sinusoids.shape[0], -1))
        if q.shape[3] < self.head_dim:
            # Few queries (a decoding step): projecting them back to d_model costs less than projecting all distances.
            back = torch.einsum("cbhqe,hed->cbhqd", q, self.distance.weight.unflatten(0, (self.n_heads, -1)))
            return torch.einsum("cbhqd,cnd->cbhqn", back, sinusoids).flatten(0, 1)
        keys = self.distance(sinusoids).unflatten(-1, (self.n_heads, -1))
        return torch.einsum("cbhqe,cnhe->cbhqn", q, keys).flatten(0, 1)

    def _scores(self, q: Tensor, terms: Tensor, mask: Tensor, ctx: RelativeContext) -> Tensor:
        """All that is added to the content scores of a stream."""
        return ctx.distances.lay(terms) + mask

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}"


class SegmentRelativeAttention(RelativeAttention):
    """Scores also say whether query and key lie in the same segment, whichever it is (XLNet, Yang et al. 2019).

    segment_bias: (heads, head_dim), added to the query. segments: (2, heads, head_dim), keys of "the same" and of
    "another".
    """

    def __init__(self, d_model: int, n_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__(d_model, n_heads, dropout=dropout)
        self.segment_bias = nn.Parameter(torch.empty(n_heads, self.head_dim))
        self.segments = nn.Parameter(torch.empty(2, n_heads, self.head_dim))

    def draw(self, std: float) -> None:
        super().draw(std)
        nn.init.normal_(self.segment_bias, std=std)
        nn.init.normal_(self.segments, std=std)

    def _scores(self, q: Tensor, terms: Tensor, mask: Tensor, ctx: RelativeContext) -> Tensor:
        scores = super()._scores(q, terms, mask, ctx)
        # Only the difference matters: a number that all keys of a query share does not change its weights.
        other = (self.segments[1] - self.segments[0])[:, None] * self.scale
        return ctx.pairs.add(scores, ((q + self.segment_bias[:, None]) * other).sum(-1, keepdim=True))
