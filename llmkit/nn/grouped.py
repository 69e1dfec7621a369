"""Linear layers that keep groups of channels apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupedLinear(nn.Module):
    """Each group of inputs makes a group of outputs: a linear layer with 1/n_groups of the weights (Jiang et al. 2020).

    Shapes: x (batch, seq, d_in) -> (batch, seq, d_out); weight (n_groups, d_in / n_groups, d_out / n_groups).
    """

    def __init__(self, d_in: int, d_out: int, n_groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_groups, d_in // n_groups, d_out // n_groups))
        self.bias = nn.Parameter(torch.empty(d_out))

    def draw(self, std: float) -> None:
        nn.init.normal_(self.weight, std=std)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        groups = x.flatten(0, 1).unflatten(-1, self.weight.shape[:2]).transpose(0, 1)
        y = torch.bmm(groups, self.weight).transpose(0, 1).flatten(1)
        return (y + self.bias).unflatten(0, x.shape[:2])

    def extra_repr(self) -> str:
        groups, d_in, d_out = self.weight.shape
        return f"in={groups * d_in}, out={groups * d_out}, groups={groups}"
