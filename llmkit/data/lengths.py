"""How long the parts of a large text are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmkit.data.mapped import let_go

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 1 << 18


def in_pieces(starts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """(n + 1,) offsets a piece at a time; each piece begins with the number that the one before ended with."""
    for at in range(0, max(len(starts) - 1, 0), _CHUNK):
        yield starts[at : at + _CHUNK + 1]
        let_go()


def count_longer(starts: NDArray[np.int64], most: int) -> int:
    """How many parts have more than `most` tokens. starts: (n + 1,) offsets, however many."""
    import numpy as np

    return sum(int((np.diff(piece) > most).sum()) for piece in in_pieces(starts))
