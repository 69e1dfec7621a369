"""The order of training examples as a pure function: no state, no shuffled list, nothing to save for a resume.

`permuted(seed, epoch, index, n)` is a bijection of range(n) for each (seed, epoch). It is a Feistel network over
Z_a x Z_b with a*b just above n; results outside range(n) are walked on until they fall inside (Black and Rogaway 2002,
"Ciphers with arbitrary finite domains"). The walk is short: a*b exceeds n by less than sqrt(n) + 1.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_ROUNDS = 8
_LARGEST = 1 << 62


def mix(x: int) -> int:
    """Scramble a 64-bit integer; a bijection (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def mixed(*values: int) -> int:
    """Hash integers (any size, any sign) to 64 bits; the same on every platform and Python version."""
    state = 0
    for value in values:
        state = mix(state ^ (value & _MASK))
        if not -(1 << 63) <= value < (1 << 63):
            state = mix(state ^ ((value >> 64) & _MASK))
    return state


def _sides(n: int) -> tuple[int, int]:
    a = isqrt(n - 1) + 1 if n > 1 else 1
    return a, -(-n // a)


def permuted(seed: int, epoch: int, index: int, n: int) -> int:
    """Where position `index` of epoch `epoch` looks: a number in range(n), each exactly once an epoch.

    Raises ValueError for an index outside range(n).
    """
    if not 0 <= index < n <= _LARGEST:
        raise ValueError(f"index {index} is not in range({n})")
    a, b = _sides(n)
    keys = [mixed(seed, epoch, r) for r in range(_ROUNDS)]
    while True:
        left, right = divmod(index, b)
        for r in range(0, _ROUNDS, 2):
            left = (left + mix(right ^ keys[r])) % a
            right = (right + mix(left ^ keys[r + 1])) % b
        index = left * b + right
        if index < n:
            return index


def permuted_many(seed: int, epoch: int, indices: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """`permuted` for an array of positions, same numbers. Shape in = shape out."""
    import numpy as np

    todo = np.asarray(indices, dtype=np.int64)
    if todo.size and (n < 1 or n > _LARGEST or todo.min() < 0 or todo.max() >= n):
        raise ValueError(f"an index is not in range({n})")
    a, b = (np.uint64(side) for side in _sides(max(n, 1)))
    keys = [np.uint64(mixed(seed, epoch, r)) for r in range(_ROUNDS)]
    out = todo.astype(np.uint64).ravel()
    walking = np.arange(out.size)
    while walking.size:
        left, right = out[walking] // b, out[walking] % b
        for r in range(0, _ROUNDS, 2):
            left = _added(left, right ^ keys[r], a)
            right = _added(right, left ^ keys[r + 1], b)
        out[walking] = left * b + right
        walking = walking[out[walking] >= n]
    return out.astype(np.int64).reshape(todo.shape)


def _added(x: NDArray[np.uint64], key: NDArray[np.uint64], modulus: np.uint64) -> NDArray[np.uint64]:
    import numpy as np

    # x + mix(key) may pass 2**64, where numpy wraps and Python does not: reduce before adding.
    k = key + np.uint64(0x9E3779B97F4A7C15)
    k = (k ^ (k >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    k = (k ^ (k >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    k ^= k >> np.uint64(31)
    return (x + k % modulus) % modulus
