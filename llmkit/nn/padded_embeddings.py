"""Embeddings of texts that must be as long as whole chunks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.nn.embeddings import Embeddings


class PaddedEmbeddings(Embeddings):
    """The text is filled up to a multiple of so many tokens with `fill_id`, if it is longer than `least`.

    Shapes: ids (batch, seq) -> (batch, filled, d_model).
    """

    def __init__(self, *sizes: int, multiple: int, least: int, fill_id: int, **parts: Any) -> None:
        super().__init__(*sizes, **parts)
        self.multiple = multiple
        self.least = least
        self.fill_id = fill_id

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor | None) -> Tensor:
        if fill := -ids.shape[1] % self.multiple if ids.shape[1] > self.least else 0:
            ids = F.pad(ids, (0, fill), value=self.fill_id)
            further = positions[:, -1:] + torch.arange(1, fill + 1, device=ids.device)
            positions = torch.cat([positions, further.clamp(max=self.limit - 1)], 1)
        return super().forward(ids, positions, None)
