"""Attention whose queries may be fewer than its keys, with relative positions and segments (Dai et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.attention import AttentionPart
from llmkit.nn.context import Context
from llmkit.nn.linear import Linear
from llmkit.nn.masks import AttentionMask

# What a query has to do with a key, beside their distance.
OTHER, SAME, EXEMPT, HIDDEN = range(4)
MILLION = 1e6


@dataclass(frozen=True)
class Relation:
    """How the queries of a layer stand to its keys; made once per pass for all layers at one resolution.

    distances: (n, d_model), a vector for every distance there may be. which: its row for each pair, and kind: OTHER or
    SAME segment, EXEMPT from scores of both sorts, or HIDDEN from the query; both (batch or 1, 1, queries, keys).
    lost: (batch or 1, 1, queries, 1), true for queries that all keys should be hidden from and that therefore see them
    all; None where that is of no consequence.
    """

    distances: Tensor
    which: Tensor
    kind: Tensor
    lost: Tensor | None = None


@dataclass
class PooledContext(Context):
    """keys: (batch, keys, d_model), what the queries look at, themselves or the longer text they were pooled from."""

    keys: Tensor | None = None
    relation: Relation | None = None


class PooledAttention(AttentionPart):
    """Scores are the sum of three products: with a key, with its distance, with whether its segment is the same.

    Each of them adds a bias of its own to the query first. drawn: the vectors beside the projections begin between 0
    and this.

    Shapes: x (batch, queries, d_model) -> the same; ctx is a `PooledContext`. `kv` holds the rows of all key heads,
    then all value heads; queries have no bias.
    """

    def __init__(self, d_model: int, n_heads: int, head_dim: int, *, dropout: float = 0.0, drawn: float = 0.1) -> None:
        super().__init__(scale=head_dim**-0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = head_dim
        self.drawn = drawn
        self.q = Linear(d_model, n_heads * head_dim, bias=False)
        self.kv = Linear(d_model, 2 * n_heads * head_dim)
        self.out = Linear(n_heads * head_dim, d_model)
        self.content_bias = nn.Parameter(torch.empty(n_heads, head_dim))
        self.position_bias = nn.Parameter(torch.empty(n_heads, head_dim))
        self.segment_bias = nn.Parameter(torch.empty(n_heads, head_dim))
        self.position_kernel = nn.Parameter(torch.empty(d_model, n_heads, head_dim))
        self.segment_keys = nn.Parameter(torch.empty(2, n_heads, head_dim))  # of another segment, of the same

    def draw(self, std: float) -> None:
        for vectors in self.parameters(recurse=False):
            nn.init.uniform_(vectors, 0.0, self.drawn)

    def forward(self, x: Tensor, ctx: PooledContext) -> Tensor:
        assert ctx.keys is not None, "pooled attention needs the context of its stack"
        assert ctx.relation is not None, "pooled attention needs the context of its stack"
        batch, queries, _ = x.shape
        q = self.q(x).view(batch, queries, self.n_heads, self.head_dim)
        heads = self.kv(ctx.keys).view(batch, -1, 2 * self.n_heads, self.head_dim).transpose(1, 2)
        k, v = heads.chunk(2, dim=1)
        bias = self._relative_scores(q, ctx.relation)
        q = (q + self.content_bias).transpose(1, 2)
        if ctx.relation.lost is not None:
            bias = torch.where(ctx.relation.lost, self._coarse(q, k, bias), bias)
        y = self.attend(q, k, v, AttentionMask(bias))
        return self.out(y.transpose(1, 2).reshape(batch, queries, -1))

    def _relative_scores(self, q: Tensor, relation: Relation) -> Tensor:
        """What positions and segments add to the scores, (batch, heads, queries, keys), scaled like them."""
        shape = (q.shape[0], self.n_heads, *relation.which.shape[2:])
        # (rows, d_model) times (d_model, heads * head_dim), then (heads, head_dim, rows).
        kernels = (relation.distances @ self.position_kernel.flatten(1)).view(-1, self.n_heads, self.head_dim)
        by_distance = ((q + self.position_bias) * self.scale).transpose(1, 2) @ kernels.permute(1, 2, 0)
        by_segment = ((q + self.segment_bias) * self.scale).transpose(1, 2) @ self.segment_keys.permute(1, 2, 0)
        # Columns in the order of the kinds. Exempt pairs have a distance of zeros.
        by_kind = F.pad(F.pad(by_segment, (0, 1)), (0, 1), value=float("-inf"))
        return by_distance.gather(-1, relation.which.expand(shape)) + by_kind.gather(-1, relation.kind.expand(shape))

    def _coarse(self, q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
        """The bias that makes all scores multiples of 1/16.

        The published models hide a key by taking a million from its score, in float32. With every key hidden, that is
        what is left of the scores, and through pooled tokens it reaches tokens that count.
        """
        content = (q @ k.transpose(-2, -1)).float() * self.scale
        coarse = (content + bias.float() - MILLION) + MILLION
        return (coarse - content).to(bias.dtype)

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}"
