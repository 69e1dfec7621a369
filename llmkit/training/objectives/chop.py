"""Where examples begin and end in a text of sentences, for texts of any size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmkit.data.mapped import stowed

Ints = NDArray[np.integer]
_BLOCK = 1 << 17
"""Sentences looked at together."""


def chop(
    sentences: NDArray[np.int64],
    documents: NDArray[np.int64],
    room: int,
    *,
    within_documents: bool,
    least: int = 1,
    least_sentences: int = 1,
    place: Path | None = None,
) -> tuple[Ints, Ints, Ints, Ints]:
    """First and last (exclusive) sentence, begin and length in tokens of each window, (n,) each.

    Greedily as many whole sentences as fit into `room` tokens; a longer sentence is cut into its parts. Windows of
    fewer than `least` tokens or `least_sentences` sentences are left out. sentences: (n_sentences + 1,) offsets of
    tokens; documents: (n_documents + 1,) offsets of sentences. place: the directory whose files hold what is found,
    None for memory.
    """
    dtype = "int32" if max(int(sentences[-1]), room) < 2**31 else "int64"
    found = (
        [column[(block[3] >= least) & (block[1] - block[0] >= least_sentences)] for column in block]
        for block in _blocks(sentences, documents, room, within_documents)
    )
    first, last, begin, length = stowed(found, [dtype] * 4, place)
    return first, last, begin, length


def _blocks(
    sentences: NDArray[np.int64], documents: NDArray[np.int64], room: int, within_documents: bool
) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    at, stop = int(documents[0]), int(documents[-1])
    while at < stop:
        here = np.arange(at, min(at + _BLOCK, stop))
        # A sentence has a token at least, so a window ends at most `room` sentences on.
        ahead = np.asarray(sentences[at : at + len(here) + room + 1])
        after = at + np.searchsorted(ahead, ahead[: len(here)] + room, side="right") - 1
        if within_documents:
            after = np.minimum(after, documents[np.searchsorted(documents, here, side="right")])
        after = np.minimum(after, stop)
        firsts = _followed(after, at)
        lasts = np.maximum(after[firsts - at], firsts + 1)
        begins, ends = sentences[firsts], sentences[lasts]
        parts = np.maximum(1, -(-(ends - begins) // room))  # more than one: a single sentence longer than the room
        part = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        begin = np.repeat(begins, parts) + part * room
        yield (
            np.repeat(firsts, parts),
            np.repeat(lasts, parts),
            begin,
            np.minimum(np.repeat(ends, parts) - begin, room),
        )
        at = int(lasts[-1])


def _followed(after: NDArray[np.int64], at: int) -> NDArray[np.int64]:
    """The sentences that windows begin with, from the first on: each begins where the one before ends."""
    nexts = np.maximum(after - at, np.arange(len(after)) + 1).tolist()
    found = []
    place = 0
    while place < len(nexts):
        found.append(place)
        place = nexts[place]
    return at + np.array(found, dtype=np.int64)
