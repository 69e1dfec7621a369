"""Rules for projections that checkpoints keep as three-dimensional tensors, head by head (XLNet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from llmkit.weights.rules import Rule


@dataclass(frozen=True)
class JoinHeads(Rule):
    """Tensors (d_model, heads, head_dim), one after the other, to a linear weight (parts * heads * head_dim, d_model).

    Patterns name whole tensors; parts: what follows `theirs`.
    """

    heads: int = field(kw_only=True)
    parts: tuple[str, ...] = field(default=("",), kw_only=True)

    def stems(self) -> Sequence[str]:
        return [f"{self.theirs}{part}" for part in self.parts]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([t.flatten(1).t() for t in tensors])

    def split(self, value: Tensor) -> list[Tensor]:
        return [part.t().unflatten(1, (self.heads, -1)).contiguous() for part in value.chunk(len(self.parts))]
