"""The per-token half of a block: widen, bend, narrow."""

from __future__ import annotations

from torch import Tensor, nn

from llmkit.nn.activations import Activation
from llmkit.nn.context import Context
from llmkit.nn.linear import Linear


class FeedForward(nn.Module):
    """down(act(up(x))) (Vaswani et al. 2017).

    Shapes: x (batch, seq, d_model) -> (batch, seq, d_model); hidden width is d_ff. dropout: of the hidden units.
    """

    def __init__(self, d_model: int, d_ff: int, act: Activation, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = Linear(d_model, d_ff, bias=bias)
        self.down = Linear(d_ff, d_model, bias=bias)
        self.act = act
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return self.down(self.dropout(self.act(self.up(x))))


class EarlyDropFeedForward(FeedForward):
    """The same with dropout before the activation, which is not the same unless that is a ReLU (Reformer)."""

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return self.down(self.act(self.dropout(self.up(x))))


class GatedFeedForward(nn.Module):
    """Feed-forward layer whose hidden units are scaled by a learned gate (SwiGLU; Shazeer 2020).

    Shapes: x (batch, seq, d_model) -> (batch, seq, d_model); hidden width is d_ff. dropout: of the hidden units.
    """

    def __init__(self, d_model: int, d_ff: int, act: Activation, *, bias: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate = Linear(d_model, d_ff, bias=bias)
        self.up = Linear(d_model, d_ff, bias=bias)
        self.down = Linear(d_ff, d_model, bias=bias)
        self.act = act
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return self.down(self.dropout(self.act(self.gate(x)) * self.up(x)))
