"""Positions as a grid, so that long texts need small tables (Ho et al. 2019, Kitaev et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.embeddings import LearnedPositions


class AxialPositions(nn.Module):
    """Half of the vector by the row of the position, the other half by its column.

    shape: rows and columns, which are the positions next to each other. widths: of the two halves. limit: the longest
    sequence. dropout: of whole columns, in training. std: deviation of fresh vectors.

    Shapes: positions (batch or 1, seq) -> (batch or 1, seq, d_model).
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        *,
        limit: int,
        dropout: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        self.limit = min(limit, shape[0] * shape[1])
        self.std = std
        self.dropout = nn.Dropout(dropout)
        self.rows = nn.Parameter(torch.empty(shape[0], widths[0]))
        self.columns = nn.Parameter(torch.empty(shape[1], widths[1]))

    def draw(self, std: float) -> None:
        nn.init.normal_(self.rows, std=self.std)
        nn.init.normal_(self.columns, std=self.std)

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        columns = len(self.columns)
        row, column = positions // columns, positions % columns
        kept = self.dropout(self.columns.new_ones(len(positions), columns)).gather(1, column)
        return torch.cat([F.embedding(row, self.rows), F.embedding(column, self.columns)], -1) * kept[..., None]


class DroppedPositions(LearnedPositions):
    """Learned positions with a dropout of their own."""

    def __init__(self, max_seq_len: int, d_model: int, *, dropout: float = 0.0) -> None:
        super().__init__(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        return self.dropout(super().forward(positions, segments))
