"""Texts and their translations: how they are cut, where their positions begin, who sees whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from llmkit.data.corpus import TokenCorpus
from llmkit.data.lengths import in_pieces
from llmkit.data.mapped import stowed
from llmkit.errors import InputRefused
from llmkit.training.objectives.frames import Ids
from llmkit.training.objectives.masked_batch import MaskedBatch


@dataclass(frozen=True, kw_only=True)
class TranslatedBatch(MaskedBatch):
    """A masked batch, with position_ids and languages (batch, seq): 0 for the text, 1 for its translation.

    told: the languages as the model is told, -1 where it is not.
    """

    position_ids: Tensor
    languages: Tensor
    told: Tensor


class TwoSides:
    """Documents and their translations, cut to fit into `room` tokens together. end: an id that closes documents."""

    def __init__(self, corpus: TokenCorpus, room: int, end: int | None) -> None:
        if corpus.target is None:
            raise InputRefused("the text has no translations beside it", "set data.pair, or data.target to a file")
        self.sides, self.room, self.end = (corpus, corpus.target), room, end
        pieces = zip(*(in_pieces(side.document_starts) for side in self.sides), strict=True)
        lengths = ([np.minimum(np.diff(a) + np.diff(b), room)] for a, b in pieces)
        (self.lengths,) = stowed(lengths, ["int32"], corpus.place)

    def __getitem__(self, i: int) -> tuple[Ids, Ids]:
        a, b = (self._open(side.document(i)) for side in self.sides)
        if len(a) + len(b) > self.room:
            kept = min(max(1, self.room * len(a) // (len(a) + len(b))), self.room - 1)
            return a[:kept], b[: self.room - kept]
        return a, b

    def _open(self, ids: Ids) -> Ids:
        return ids[:-1] if self.end is not None and len(ids) > 1 and ids[-1] == self.end else ids


def places(segments: NDArray[np.int64]) -> NDArray[np.int64]:
    """(batch, seq) positions, from 0 on in each segment; padding goes on counting."""
    columns = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    second = np.maximum.accumulate(segments, axis=1)
    start = np.where(second.any(1), second.argmax(1), 0)[:, None]
    return columns - start * second


def one_side(batch: TranslatedBatch, language: int) -> Tensor:
    """(batch, seq) what may be attended when the other language is hidden; the first token always."""
    mask = (batch.languages == language).long()
    mask[:, 0] = 1
    return mask if batch.attention_mask is None else mask * batch.attention_mask
