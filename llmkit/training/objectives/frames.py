"""Texts in the frame that encoders read them in: `[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.training.objectives.hiding import MaskTokens
from llmkit.training.objectives.objective import padded_width

Ids = NDArray[np.integer]


@dataclass(frozen=True)
class Frames:
    """Rows of equal width. ids, segments: (batch, width), segment 1 being B and the [SEP] after it; lengths: (batch,)
    tokens that are not padding."""

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """(batch, width) what is not padding."""
        return np.arange(self.ids.shape[1]) < self.lengths[:, None]

    def is_text(self, tokens: MaskTokens) -> NDArray[np.bool_]:
        """(batch, width) what is neither padding nor frame."""
        return self.is_real & (self.ids != tokens.cls) & (self.ids != tokens.sep)

    def attention_mask(self) -> Tensor | None:
        """(batch, width) ones where a token may be attended; None when nothing is padding."""
        real = self.is_real
        return None if real.all() else torch.from_numpy(real.astype(np.int64))


def framed(rows: Sequence[tuple[Ids, Ids | None]], tokens: MaskTokens, most: int) -> Frames:
    """Rows of one text (A, None) or two (A, B), padded to a round width of at most `most`."""
    lengths = np.array([len(a) + (2 if b is None else len(b) + 3) for a, b in rows], dtype=np.int64)
    ids = np.full((len(rows), padded_width(int(lengths.max()), most)), tokens.pad, dtype=np.int64)
    segments = np.zeros_like(ids)
    for row, (a, b) in enumerate(rows):
        middle = len(a) + 2
        ids[row, 0], ids[row, middle - 1] = tokens.cls, tokens.sep
        ids[row, 1 : middle - 1] = a
        if b is not None:
            ids[row, middle : middle + len(b)] = b
            ids[row, middle + len(b)] = tokens.sep
            segments[row, middle : middle + len(b) + 1] = 1
    return Frames(ids, segments, lengths)
