"""Stacks that shorten the text between their blocks, and may lengthen it again at the end (Dai et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.context import Context
from llmkit.nn.masks import causal_pattern
from llmkit.nn.pooled_attention import EXEMPT, HIDDEN, PooledContext, Relation
from llmkit.nn.pooling import Pairs, Resolution
from llmkit.nn.wiring import Stack

# The segment of the first token ([CLS]), which belongs to every other segment as well.
FIRST_SEGMENT = 2


class PooledStack(Stack):
    """Blocks of several layers, each block but the first on a text half as long.

    sizes: layers of each block. pool_all: keys and values of a block's first layer are pooled like its queries; else
    pooled tokens look at the longer text, so that pooling itself attends. dropout: of single sines, in training.

    Shapes: x (batch, seq, d_model) -> (batch, pooled, d_model).
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        *,
        sizes: Sequence[int],
        pairs: Pairs,
        pool_all: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(blocks)
        self.ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
        self.pairs = pairs
        self.pool_all = pool_all
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        resolution = _whole(ctx, x.shape[1])
        sines = self._sines(resolution, x)
        return self._shorten(x, _layer_context(ctx), resolution, sines)[0]

    def _shorten(
        self, x: Tensor, ctx: PooledContext, resolution: Resolution, sines: Tensor, keep: int = 0
    ) -> tuple[Tensor, Tensor]:
        """What comes out of all blocks, and what came out of the first `keep` layers."""
        kept, relation = x, self._relation(sines, resolution, resolution)
        for start, end in zip([0, *self.ends], self.ends, strict=False):
            keys, first = x, relation
            if start > 0 and x.shape[1] > self.pairs.least:
                x, queries = self.pairs.pool(x), self.pairs.pool_queries(resolution)
                between, resolution = self._relation(sines, queries, resolution), self.pairs.pool_keys(queries)
                relation = self._relation(sines, resolution, resolution)
                keys, first = (x, relation) if self.pool_all else (keys, between)
            for layer, block in enumerate(self.blocks[start:end], start):
                ctx.layer, ctx.keys, ctx.relation = layer, keys, first
                x = block(x, ctx)
                keys, first = x, relation
                kept = x if layer + 1 == keep else kept
        return x, kept

    def _sines(self, whole: Resolution, x: Tensor) -> Tensor:
        """Sines and cosines of all distances between tokens of the text, at every resolution: (2 n + 1, d_model)."""
        half = x.shape[2] // 2
        n = whole.seq + 2 ** len(self.ends)
        # In float32 and in this order, which is how the published weights were trained.
        frequencies = 1 / 10000 ** (torch.arange(half, device=x.device).float() / half)
        angles = torch.arange(-n, n + 1, device=x.device).float()[:, None] * frequencies
        return self.dropout(torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype))

    def _relation(self, sines: Tensor, queries: Resolution, keys: Resolution) -> Relation:
        """Distances go by the steps of the keys: positions in between count as the one before."""
        stride, middle = keys.stride, len(sines) // 2
        steps = middle // stride
        place, key_place = queries.positions // stride, keys.positions // stride
        which = (place[:, :, None] - key_place[:, None, :]).clamp(-steps, steps) + steps
        mine, theirs = queries.segments[:, :, None], keys.segments[:, None, :]
        kind = ((mine == theirs) | (mine == FIRST_SEGMENT) | (theirs == FIRST_SEGMENT)).long()
        exempt = self.pairs.exempt(which.shape[1], which.shape[2], which.device)
        kind = kind.masked_fill(exempt, EXEMPT)
        lost = None
        if queries.allowed is not None:
            lost = ~queries.allowed.any(-1, keepdim=True)
            kind = torch.where(queries.allowed | lost, kind, HIDDEN)
        rows = sines[middle - steps * stride : middle + steps * stride + 1 : stride]
        return Relation(
            distances=F.pad(rows, (0, 0, 0, 1)),  # the last row is the distance of exempt pairs
            which=which.masked_fill(exempt, len(rows))[:, None],
            kind=kind[:, None],
            # Whole tokens that see nothing are padding themselves; pooled ones may stand for a token that counts.
            lost=None if lost is None or keys.stride == 1 else lost[:, None],
        )


class ResumedStack(PooledStack):
    """The same, then lengthened again: the layers left over run on the whole text, on the sum of what came out of the
    last block, repeated, and of what came out of layer number `keep`.

    Shapes: x (batch, seq, d_model) -> the same.
    """

    def __init__(self, blocks: Sequence[nn.Module], *, keep: int, **settings: Any) -> None:
        super().__init__(blocks, **settings)
        self.keep = keep

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        shared, whole = _layer_context(ctx), _whole(ctx, x.shape[1])
        pooled, kept = self._shorten(x, shared, whole, self._sines(whole, x), self.keep)
        x = kept + self.pairs.lengthen(pooled, 2 ** (len(self.ends) - 1), whole.seq)
        shared.relation = self._relation(self._sines(whole, x), whole, whole)
        for layer, block in enumerate(self.blocks[self.ends[-1] :], self.ends[-1]):
            shared.layer, shared.keys = layer, x
            x = block(x, shared)
        return x


def _layer_context(ctx: Context) -> PooledContext:
    return PooledContext(ctx.mask, ctx.rotation, ctx.cache)


def _whole(ctx: Context, seq: int) -> Resolution:
    """The text as it came."""
    assert ctx.positions is not None, "pooled stacks go by positions"
    allowed = None
    if ctx.mask.causal:
        allowed = causal_pattern(seq, seq, ctx.positions.device)[None]
    elif ctx.mask.bias is not None:
        allowed = (ctx.mask.bias[:, 0] == 0).expand(-1, seq, -1)
    segments = torch.zeros_like(ctx.positions) if ctx.segments is None else ctx.segments
    return Resolution(ctx.positions, segments, allowed)
