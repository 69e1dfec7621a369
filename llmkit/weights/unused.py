"""Tensors that checkpoints hold although nothing is computed with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from llmkit.weights.rules import Rule


@dataclass(frozen=True)
class WithUnused(Rule):
    """Same tensor under another name; beside it stands `unused`, a number for each of its rows, written as zeros."""

    unused: str = field(kw_only=True)

    def match(self, name: str) -> list[str] | None:
        found = super().match(name)
        return None if found is None else [*found, self.unused]

    def split(self, value: Tensor) -> list[Tensor]:
        return [value, value.new_zeros(len(value))]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0]
