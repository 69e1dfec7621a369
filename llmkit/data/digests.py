"""Digests of documents, sorted on disk: which occur twice, and which in two corpora, in memory that stays flat."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

HELD = 1 << 20
"""Digests in memory at a time, about."""


def digest_of(data: bytes = b"") -> hashlib.blake2b:
    """A digest to be fed with a document. In 64 bits, two of a billion different documents agree with chance 0.03."""
    return hashlib.blake2b(data, digest_size=8)


def sort_digests(path: Path) -> int:
    """Replace a file of uint64 digests by the sorted different ones; returns how many these are."""
    import numpy as np

    size = path.stat().st_size // 8
    if not size:
        return 0
    # Digests are evenly spread: each round takes a range of them that fits, whatever the size of the file.
    rounds = -(-size // HELD)
    bounds = [i * 2**64 // rounds for i in range(rounds + 1)]
    aside = path.with_suffix(".sorted")
    unique = 0
    with open(aside, "wb") as out:
        for low, high in pairwise(bounds):
            last = np.uint64(high - 1)
            found = [d[(d >= np.uint64(low)) & (d <= last)] for d in _chunks(path)]
            distinct = np.unique(np.concatenate(found))
            unique += len(distinct)
            out.write(distinct.tobytes())
    os.replace(aside, path)
    return unique


def count_common(path: Path, other: Path) -> int:
    """How many digests two sorted files share."""
    import numpy as np

    if not path.stat().st_size or not other.stat().st_size:
        return 0
    there = np.memmap(other, dtype=np.uint64, mode="r")
    common = 0
    for digests in _chunks(path):
        low = np.searchsorted(there, digests[0])
        within = there[low : np.searchsorted(there, digests[-1], side="right")]
        if len(within):
            at = np.minimum(np.searchsorted(within, digests), len(within) - 1)
            common += int((within[at] == digests).sum())
    return common


def _chunks(path: Path) -> Iterator[NDArray[np.uint64]]:
    import numpy as np

    with open(path, "rb") as file:
        while len(chunk := np.fromfile(file, dtype=np.uint64, count=HELD)):
            yield chunk
