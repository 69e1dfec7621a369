"""Attention within chunks of neighbouring tokens, or of tokens that are alike (Kitaev et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.nn.attention import AttentionPart
from llmkit.nn.chunks import ChunkedContext, Window, WindowMask, to_map
from llmkit.nn.hashing import Hashing
from llmkit.nn.linear import Linear
from llmkit.nn.masks import FREE, AttentionMask


def self_bias(dtype: torch.dtype) -> float:
    """Added where a token would look at itself: more than any score, and less than what hides a key.

    float16 ends before -1e5; where a token sees itself alone, infinity would leave it nothing at all.
    """
    return max(-1e5, torch.finfo(dtype).min / 4)


class ChunkAttention(AttentionPart):
    """Every token looks at those of its own chunk and of the neighbouring ones.

    Shapes: x (batch, seq, d_model) -> the same; ctx is a `ChunkedContext`. `qkv` holds the rows of all queries, keys
    and values, in this order; there are no biases.
    """

    def __init__(self, d_model: int, n_heads: int, head_dim: int, window: Window, *, dropout: float = 0.0) -> None:
        super().__init__(scale=head_dim**-0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = head_dim
        self.window = window
        self.qkv = Linear(d_model, 3 * n_heads * head_dim, bias=False)
        self.out = Linear(n_heads * head_dim, d_model, bias=False)
        self._shown: tuple[Tensor, int] | None = None

    def forward(self, x: Tensor, ctx: ChunkedContext) -> Tensor:
        batch, seq, _ = x.shape
        chunks, length = self.window.cut(seq)
        heads = self.qkv(x).view(batch, chunks, length, 3 * self.n_heads, self.head_dim)
        q = heads[..., : self.n_heads, :].flatten(0, 1).transpose(1, 2)
        kv = self.window.around(heads[..., self.n_heads :, :], 1).flatten(0, 1).transpose(1, 2)
        k, v = kv.chunk(2, dim=1)
        places = torch.arange(seq, device=x.device).view(1, chunks, length)
        mask, lost = ctx.window_mask(self.window, lambda: self._mask(places, ctx, x))
        if lost is not None:
            q = q.masked_fill(lost, 0.0)
        self._shown = self.window.around(places, 1), ctx.length
        y = self.attend(q, k, v, mask)
        self._shown = None
        if lost is not None:
            # The sum of the window, not its mean: with every key hidden, the published models' weights are all 1.
            y = torch.where(lost, y * k.shape[2], y)
        return self.out(y.transpose(1, 2).reshape(batch, seq, -1))

    def as_map(self, weights: Tensor) -> Tensor:
        assert self._shown is not None
        places, length = self._shown
        chunks = places.shape[1]
        weights = weights.unflatten(0, (-1, chunks)).transpose(1, 2)
        whole = to_map(weights, places[:, None].expand(*weights.shape[:3], -1), chunks * weights.shape[3])
        # What queries of padding see of the filling is left out.
        return F.normalize(whole[:, :, :length, :length], p=1, dim=-1)

    def _mask(self, places: Tensor, ctx: ChunkedContext, x: Tensor) -> WindowMask:
        """Bias (batch * chunks, 1, tokens, window), and which queries see nothing, (batch * chunks, 1, tokens, 1)."""
        if ctx.seen is None and not ctx.mask.causal:
            return FREE, None
        keys = self.window.around(places, 1)[:, :, None, :]
        queries = places[..., None]
        allowed, lost = (keys <= queries) if ctx.mask.causal else torch.ones_like(keys <= queries), None
        if ctx.seen is not None:
            seen = ctx.seen.view(-1, *places.shape[1:])
            allowed = allowed & self.window.around(seen, 1)[:, :, None, :]
            # It sees its whole window instead, all of it alike: classifiers may read a token of padding.
            lost = ~allowed.any(-1, keepdim=True)
            allowed = allowed | lost
            lost = lost.expand(len(x), -1, -1, -1).flatten(0, 1)[:, None]
        allowed = allowed.expand(len(x), -1, -1, -1).flatten(0, 1)[:, None]
        return AttentionMask(x.new_zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))), lost

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}, {self.window}"


class HashedAttention(AttentionPart):
    """Tokens are sorted by a hash of their queries, which brings those that are alike together, then cut into chunks.

    Queries and keys are the same vectors, keys being brought to one length; so that a token does not look at itself
    above all, it does so only when there is nothing else to see. Several rounds of hashing are several sorted texts:
    what a token gathers in each is weighed by how much it found there, as if all were one softmax. A text of one chunk
    is not sorted.

    Shapes: x (batch, seq, d_model) -> the same; ctx is a `ChunkedContext`. `qk_v` holds the rows of all queries (which
    are keys), then of all values; there are no biases.
    """

    def __init__(
        self, d_model: int, n_heads: int, head_dim: int, window: Window, hashing: Hashing, *, dropout: float = 0.0
    ) -> None:
        super().__init__(scale=head_dim**-0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = head_dim
        self.window = window
        self.hashing = hashing
        self.qk_v = Linear(d_model, 2 * n_heads * head_dim, bias=False)
        self.out = Linear(n_heads * head_dim, d_model, bias=False)
        self._shown: tuple[Tensor, Tensor, Tensor, int] | None = None

    def forward(self, x: Tensor, ctx: ChunkedContext) -> Tensor:
        batch, seq, _ = x.shape
        chunks, length = self.window.cut(seq)
        heads = self.qk_v(x).view(batch, seq, 2, self.n_heads, self.head_dim).permute(0, 3, 1, 2, 4).flatten(3)
        order = self._order(heads[..., : self.head_dim], chunks, ctx)
        rounds, places = order.shape[2] // seq, order % seq
        back = torch.empty_like(order).scatter_(
            2, order, torch.arange(order.shape[2], device=x.device).expand_as(order)
        )

        sorted_heads = heads.gather(2, places[..., None].expand(-1, -1, -1, heads.shape[3]))
        q, v = sorted_heads.unflatten(2, (-1, length)).chunk(2, dim=-1)
        k = F.rms_norm(q, (self.head_dim,), eps=1e-6)
        k, v = self.window.around(torch.cat([k, v], -1), 2).flatten(1, 2).chunk(2, dim=-1)
        queries = places.unflatten(2, (-1, length))
        keys = self.window.around(queries, 2)
        own = queries[..., None] == keys[..., None, :]
        q = q.flatten(1, 2)
        bias = self._bias(queries, keys, own, ctx, q)
        shares = self._shares(q, k, bias, own, back, rounds)
        self._shown = keys, back, shares, ctx.length
        y = self.attend(q, k, v, AttentionMask(bias))
        self._shown = None
        y = y.view(batch, self.n_heads, -1, self.head_dim).gather(2, back[..., None].expand(-1, -1, -1, self.head_dim))
        y = (y.unflatten(2, (rounds, seq)) * shares).sum(2)
        return self.out(y.transpose(1, 2).reshape(batch, seq, -1))

    def as_map(self, weights: Tensor) -> Tensor:
        assert self._shown is not None
        keys, back, shares, length = self._shown
        seq = shares.shape[3]
        whole = to_map(weights.view(*keys.shape[:3], *weights.shape[2:]), keys, seq)
        whole = whole.gather(2, back[..., None].expand(-1, -1, -1, seq)).unflatten(2, (-1, seq))
        return (whole * F.normalize(shares, p=1, dim=2)).sum(2)[:, :, :length, :length]

    def _order(self, qk: Tensor, chunks: int, ctx: ChunkedContext) -> Tensor:
        """Which token stands where once sorted, round after round: (batch, heads, rounds * seq)."""
        if chunks == 1:
            return torch.arange(qk.shape[2], device=qk.device).expand(qk.shape[:3])
        buckets = self.hashing(qk.detach(), ctx.seen, self.window.chunk, training=self.training)
        return buckets.argsort(dim=-1, stable=True)

    def _bias(self, queries: Tensor, keys: Tensor, own: Tensor, ctx: ChunkedContext, q: Tensor) -> Tensor:
        """(batch, heads * chunks, tokens, window), in the dtype of q: under autocast, x may have another."""
        bias = q.new_zeros(own.shape)
        if ctx.mask.causal:
            bias = bias.masked_fill(keys[..., None, :] > queries[..., None], float("-inf"))
        if ctx.seen is not None:
            seen = ctx.seen[:, None].expand(*keys.shape[:2], -1).gather(2, keys.flatten(2)).view_as(keys)
            bias = bias.masked_fill(~seen[..., None, :], float("-inf"))
        return bias.masked_fill(own, self_bias(bias.dtype)).flatten(1, 2)

    def _shares(self, q: Tensor, k: Tensor, bias: Tensor, own: Tensor, back: Tensor, rounds: int) -> Tensor:
        """What part of a token's output comes from each round, (batch, heads, rounds, seq, 1)."""
        batch, heads, sorted_seq = back.shape
        if rounds == 1 and not self.window.repeats(own.shape[2]):
            return q.new_ones(batch, heads, 1, sorted_seq, 1)
        scores = (q @ k.transpose(-2, -1)).float() * self.scale + bias
        scores = scores.masked_fill(own.flatten(1, 2), self_bias(bias.dtype))
        found = scores.logsumexp(-1, keepdim=True)
        # Next to numbers as large as -1e5, float32 has no room for a logarithm. Weights and shares of a token that sees
        # itself alone, but more than once, then add up to 0.998, and the published models are run so.
        sums = (scores - found).detach().exp().sum(-1).view(batch, heads, -1).gather(2, back)
        found = found.view(batch, heads, -1).gather(2, back).unflatten(2, (rounds, -1))
        shares = (found - found.logsumexp(2, keepdim=True)).exp() * sums.unflatten(2, (rounds, -1))
        return shares.to(q.dtype)[..., None]

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}, {self.window}, {self.hashing}"
