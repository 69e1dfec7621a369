"""How long the parts of a large text are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 1 << 20


def count_longer(starts: NDArray[np.int64], most: int) -> int:
    """How many parts have more than `most` tokens. starts: (n + 1,) offsets, of any number, read a piece at a time."""
    import numpy as np

    return sum(
        int((np.diff(starts[at : at + _CHUNK + 1]) > most).sum()) for at in range(0, max(len(starts) - 1, 0), _CHUNK)
    )
