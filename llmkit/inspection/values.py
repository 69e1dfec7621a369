"""The numbers inside stored tensors, read in chunks with numpy: statistics, differences, rows of the embedding.

No torch: importing it would take longer than most of what is done here. Memory is one chunk, whatever the tensor.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llmkit.errors import InputRefused

if TYPE_CHECKING:
    from llmkit.checkpoint.shards import StoredTensor

Values = npt.NDArray[np.floating]
_CHUNK_BYTES = 8 * 2**20
_PLAIN = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "u1",
}  # fmt: skip


@dataclass(frozen=True)
class Stats:
    """Of the finite values of one tensor; NaN where there is none. nan and infinite are counts."""

    mean: float
    std: float
    min: float
    max: float
    nan: int
    infinite: int

    @property
    def is_finite(self) -> bool:
        return self.nan == 0 and self.infinite == 0


@dataclass(frozen=True)
class Difference:
    """How two checkpoints differ, by tensor name. changed: largest absolute difference; inf if NaN meets a number."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    retyped: dict[str, tuple[str, str]]
    changed: dict[str, float]
    equal: int

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.removed or self.reshaped or self.retyped or self.changed)


def chunks(tensor: StoredTensor, name: str, *, start: int = 0, count: int | None = None) -> Iterator[Values]:
    """Yield the values of a stored tensor in order, as flat arrays of float32 (float64 for wide types)."""
    width = 2 if tensor.dtype == "BF16" else np.dtype(_PLAIN[tensor.dtype]).itemsize if tensor.dtype in _PLAIN else 0
    if width == 0:
        raise InputRefused(f"values of dtype {tensor.dtype} cannot be read ({name})")
    from llmkit.checkpoint.files import open_inside

    left = (tensor.n_elements - start if count is None else count) * width
    offset = tensor.data_start + tensor.start + start * width
    fd = open_inside(Path(tensor.file).parent, Path(tensor.file).name)
    try:
        while left > 0:
            data = os.pread(fd, min(left, _CHUNK_BYTES), offset)
            data = data[: len(data) // width * width]
            if not data:
                raise InputRefused(f"{tensor.file} was cut short while it was read")
            yield _decode(data, tensor.dtype)
            left -= len(data)
            offset += len(data)
    finally:
        os.close(fd)


def _decode(data: bytes, dtype: str) -> Values:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    raw = np.frombuffer(data, _PLAIN[dtype])
    return raw.astype(np.float64 if raw.dtype.itemsize == 8 or raw.dtype == "<u4" else np.float32)


def stats(tensor: StoredTensor, name: str) -> Stats:
    """Statistics of one tensor in one pass (Chan et al. 1983 for joining the chunks' moments)."""
    n, mean, squares = 0, 0.0, 0.0
    low, high, nan, infinite = math.inf, -math.inf, 0, 0
    for values in chunks(tensor, name):
        finite = np.isfinite(values)
        if not finite.all():
            bad_nan = int(np.isnan(values).sum())
            nan += bad_nan
            infinite += int((~finite).sum()) - bad_nan
            values = values[finite]
            if not values.size:
                continue
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        part_mean = float(values.mean(dtype=np.float64))
        part_squares = float(np.square(values - part_mean, dtype=np.float64).sum())
        step, m = part_mean - mean, values.size
        squares += part_squares + step * step * n * m / (n + m)
        mean += step * m / (n + m)
        n += m
    if n == 0:
        return Stats(math.nan, math.nan, math.nan, math.nan, nan, infinite)
    return Stats(mean, math.sqrt(squares / n), low, high, nan, infinite)


def differences(old: dict[str, StoredTensor], new: dict[str, StoredTensor]) -> Difference:
    """Compare two checkpoints tensor by tensor; values of tensors of one shape are compared across dtypes."""
    reshaped, retyped, changed, equal = {}, {}, {}, 0
    for name in sorted(old.keys() & new.keys()):
        a, b = old[name], new[name]
        if a.shape != b.shape:
            reshaped[name] = (tuple(a.shape), tuple(b.shape))
            continue
        if a.dtype != b.dtype:
            retyped[name] = (a.dtype, b.dtype)
        largest = _largest_difference(a, b, name)
        if largest > 0:
            changed[name] = largest
        elif a.dtype == b.dtype:
            equal += 1
    return Difference(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        reshaped,
        retyped,
        changed,
        equal,
    )


def _largest_difference(a: StoredTensor, b: StoredTensor, name: str) -> float:
    largest = 0.0
    for x, y in _side_by_side(a, b, name):
        if np.array_equal(x, y, equal_nan=True):
            continue
        with np.errstate(invalid="ignore"):
            gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
        gap[np.isnan(x) & np.isnan(y) | (x == y)] = 0.0  # also inf - inf
        largest = max(largest, float(np.nan_to_num(gap, nan=math.inf).max()))
    return largest


def _side_by_side(a: StoredTensor, b: StoredTensor, name: str) -> Iterator[tuple[Values, Values]]:
    """Chunks of equal length; dtypes of different width give chunks of different length."""
    first, second = chunks(a, name), chunks(b, name)
    x: Values = np.empty(0, np.float32)
    y: Values = np.empty(0, np.float32)
    for _ in range(2 * (a.n_elements + b.n_elements) + 2):
        x = x if x.size else next(first, x)
        y = y if y.size else next(second, y)
        n = min(x.size, y.size)
        if n == 0:
            return
        yield x[:n], y[:n]
        x, y = x[n:], y[n:]


def neighbours(table: StoredTensor, name: str, row: int, count: int) -> list[tuple[int, float]]:
    """Rows of a (vocab, d_model) embedding nearest to `row` by cosine, itself left out: (row, cosine)."""
    rows, width = table.shape
    target = np.concatenate(list(chunks(table, name, start=row * width, count=width))).astype(np.float64)
    target /= np.linalg.norm(target) or 1.0
    cosines: Values = np.empty(rows)
    per_chunk = max(1, _CHUNK_BYTES // 8 // width)
    for start in range(0, rows, per_chunk):
        n = min(per_chunk, rows - start)
        part = np.concatenate(list(chunks(table, name, start=start * width, count=n * width))).reshape(n, width)
        norms = np.linalg.norm(part, axis=1)
        cosines[start : start + n] = (part @ target) / np.where(norms > 0, norms, 1.0)
    cosines[row] = -math.inf
    cosines = np.nan_to_num(cosines, nan=-math.inf, neginf=-math.inf)
    best = np.argsort(-cosines, kind="stable")[:count]
    return [(int(i), float(cosines[i])) for i in best if math.isfinite(cosines[i])]
