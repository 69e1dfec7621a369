"""The plain numbers behind a map on the screen, and how they are cut, pooled and scaled to fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from llmkit.render.labels import label

Floats = npt.NDArray[np.float32]
Scale = Literal["sqrt", "linear", "log"]
GUTTER = 13  # columns left of a map: label 9, index, space


@dataclass(frozen=True)
class Grid:
    """Attention of one head, ready to draw.

    weights (queries, keys) from 0 to 1, NaN where the mask forbids; queries and keys are (label, first position).
    """

    weights: Floats
    queries: tuple[tuple[str, int], ...]
    keys: tuple[tuple[str, int], ...]
    pooled: int = 1

    @property
    def top(self) -> float:
        """Largest weight, row 0 of a causal map left out: it has one key only, so it is always 1."""
        rows = self.weights[1:] if len(self.weights) > 1 and np.isnan(self.weights[0, 1:]).all() else self.weights
        found = float(np.nanmax(rows)) if rows.size and not np.isnan(rows).all() else 0.0
        return found if found > 0 else 1.0


def make_grid(
    weights: Floats,
    tokens: Sequence[str],
    *,
    causal: bool,
    window: tuple[int, int] | None = None,
    keys: Sequence[str] | None = None,
) -> Grid:
    """Label a (T, T) map and mark what a causal mask forbids; `window` keeps the positions a <= i < b.

    keys: the tokens looked at, if they are of another text: (T, keys), all of them kept.
    """
    a, b = window or (0, len(tokens))
    if keys is not None:
        queries = tuple((label(t), a + i) for i, t in enumerate(tokens[a:b]))
        return Grid(np.array(weights[a:b], dtype=np.float32), queries, tuple((label(t), i) for i, t in enumerate(keys)))
    drawn = np.array(weights[a:b, a:b], dtype=np.float32)
    if causal:
        drawn[np.triu_indices(len(drawn), k=1)] = np.nan
    names = tuple((label(t), a + i) for i, t in enumerate(tokens[a:b]))
    return Grid(drawn, names, names)


def pool(grid: Grid, most: int) -> Grid:
    """Pool to at most `most` cells a side by the maximum: a mean would hide single strong links."""
    longest = max(grid.weights.shape, default=0)
    factor = math.ceil(longest / max(1, most))
    if factor <= 1:
        return grid
    rows, columns = (math.ceil(n / factor) for n in grid.weights.shape)
    padded = np.full((rows * factor, columns * factor), -1.0, dtype=np.float32)
    padded[: grid.weights.shape[0], : grid.weights.shape[1]] = np.nan_to_num(grid.weights, nan=-1.0)
    pooled = padded.reshape(rows, factor, columns, factor).max(axis=(1, 3))
    pooled[pooled < 0] = np.nan
    return replace(
        grid, weights=pooled, queries=grid.queries[::factor], keys=grid.keys[::factor], pooled=grid.pooled * factor
    )


def scaled(weights: Floats, scale: Scale, top: float) -> Floats:
    """Weights as brightness from 0 to 1; NaN stays. `log` spans three decades below `top`."""
    share = np.clip(weights / top, 0.0, 1.0)
    if scale == "sqrt":
        return np.sqrt(share).astype(np.float32)
    if scale == "log":
        return np.clip(1 + np.log10(np.maximum(share, 1e-6)) / 3, 0.0, 1.0).astype(np.float32)
    return share.astype(np.float32)
