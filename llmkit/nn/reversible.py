"""Residual branches between two streams, each computable from the other (Gomez et al. 2017, Kitaev et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.chunks import ChunkedContext
from llmkit.nn.context import Context
from llmkit.nn.wiring import Stack


class ReversibleStack(Stack):
    """Blocks of two branches, `attn` and `ffn`: y1 = x1 + attn(x2), y2 = x2 + ffn(y1); then a norm of both streams.

    Shapes: x (batch, filled, d_model) -> (batch, seq, 2 d_model), where what fills up the text (see
    `PaddedEmbeddings`) is seen by no token of it.
    """

    def __init__(self, blocks: Sequence[nn.Module], norm: nn.Module, *, dropout: float = 0.0) -> None:
        super().__init__(blocks, norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        assert ctx.positions is not None, "reversible stacks count the tokens by their positions"
        seq = ctx.positions.shape[1]
        shared = self._share(x, ctx, seq)
        first = second = x
        for layer, block in enumerate(self.blocks):
            shared.layer = layer
            attn, ffn = block.children()
            first = first + attn(second, shared)
            second = second + ffn(first, shared)
        return self.dropout(self.norm(torch.cat([first, second], -1)[:, :seq]))

    @staticmethod
    def _share(x: Tensor, ctx: Context, seq: int) -> ChunkedContext:
        seen = None if ctx.key_mask is None else ctx.key_mask != 0
        if fill := x.shape[1] - seq:
            seen = F.pad(torch.ones_like(x[:1, :seq, 0], dtype=torch.bool) if seen is None else seen, (0, fill))
        return ChunkedContext(ctx.mask, ctx.rotation, ctx.cache, seen=seen, length=seq, masks={})
