"""Curves of runs made ready for a picture: smoothed, thinned out, and given axes with round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmkit.units import clock, count

Points = Sequence[tuple[float, float]]
Array = NDArray[np.float64]

# A kernel this share of the curve wide takes the noise out of a batch's loss and leaves the bends in.
_KERNEL = 0.04
# What the end of a run, all but this share of it, has of the height: the fall from random weights would have it all.
_BEGINNING, _ROOM_FOR_IT = 0.05, 0.35
_TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]


@dataclass(frozen=True)
class Curve:
    """A run to draw: (x, y) of training and of validation, by x. breaks: where the loss begins anew."""

    name: str
    train: Points
    validation: Points = ()
    breaks: Sequence[float] = field(default=())

    @property
    def joined(self) -> Points:
        """What a line joins the validations of: those of a run of which nothing else is known."""
        return () if self.train else self.validation


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from low to high, and where its numbers stand."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def share(self, value: Array | float) -> Array:
        """Where `value` lies, 0 at the low end and 1 at the high one."""
        return (np.asarray(value, dtype=np.float64) - self.low) / (self.high - self.low)


def smoothed(curve: Curve, *, most: int = 2000) -> list[tuple[Array, Array]]:
    """The training curve without its noise, in a piece between each two breaks: (x, y) of at most `most` points.

    The mean is weighted by distance and centred, so that the curve does not lag behind what it smooths.
    """
    pieces = []
    for x, y in pieces_of(curve):
        x, y = thinned(x, y, most)
        half = int(len(x) * _KERNEL / 2)
        pieces.append((x, _mean_around(y, half) if half else y))
    return pieces


def pieces_of(curve: Curve) -> list[tuple[Array, Array]]:
    """(x, y) of the training curve, cut at its breaks."""
    points = np.array([p for p in curve.train if math.isfinite(p[1])], dtype=np.float64).reshape(-1, 2)
    cuts = np.searchsorted(points[:, 0], sorted(curve.breaks), side="right")
    return [(part[:, 0], part[:, 1]) for part in np.split(points, cuts) if len(part)]


def thinned(x: Array, y: Array, most: int) -> tuple[Array, Array]:
    """At most `most` points: neighbours are averaged."""
    if len(x) <= most:
        return x, y
    starts = np.arange(most) * len(x) // most
    sizes = np.diff([*starts, len(x)])
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def _mean_around(y: Array, half: int) -> Array:
    """Mean with weights falling to 0 on both sides; near an end the line through what there is, as a mean of one side
    alone would lag behind a slope."""
    result = y.copy()
    weights = half + 1.0 - np.abs(np.arange(-half, half + 1))
    result[half : len(y) - half] = np.convolve(y, weights / weights.sum(), mode="valid")
    for i in (*range(half), *range(len(y) - half, len(y))):
        places = np.arange(max(0, i - half), min(len(y), i + half + 1))
        near = half + 1.0 - np.abs(places - i)
        off, level = places - i - np.dot(near, places - i) / near.sum(), np.dot(near, y[places]) / near.sum()
        slope = np.dot(near * off, y[places]) / np.dot(near * off, off)
        result[i] = level - slope * np.dot(near, places - i) / near.sum()
    return result


def y_axis(curves: Sequence[Curve], ticks: int = 5) -> Axis:
    """An axis for the height: all of the end of each run, and as much of its beginning as leaves room for that."""
    whole: list[float] = []
    end: list[float] = []
    for curve in curves:
        pieces = smoothed(curve, most=500)
        parts = [*pieces, *([tuple(np.array(curve.validation, dtype=np.float64).T)] if curve.validation else [])]
        last = max((float(x[-1]) for x, _ in parts), default=0.0)
        for x, y in parts:
            whole += y.tolist()
            end += y[x >= _BEGINNING * last].tolist()
    whole = [v for v in whole if math.isfinite(v)]
    end = [v for v in end if math.isfinite(v)] or whole
    if not whole:
        return axis(0.0, 1.0, ticks)
    spread = max(end) - min(end) or abs(end[0]) * 0.1 or 1.0
    low, high = (max(min(whole), min(end) - spread), min(max(whole), max(end) + _ROOM_FOR_IT * spread))
    if high <= low:
        low, high = low - spread / 2, high + spread / 2
    return axis(low - 0.03 * (high - low), high + 0.03 * (high - low), ticks)


def x_axis(curves: Sequence[Curve], kind: str, ticks: int = 6, *, last: float | None = None) -> Axis:
    """An axis from 0 to the end of the longest run. kind: steps, tokens or seconds."""
    ends = [p[0] for c in curves for p in (*c.train[-1:], *c.validation[-1:])]
    high = last or max(ends, default=0.0) or 1.0
    if kind == "seconds" and high >= 10:
        step = next((t for t in _TIMES if high / t <= ticks), 86400.0 * math.ceil(high / 86400 / ticks))
        places = [i * float(step) for i in range(int(high / step + 1e-9) + 1)]
        return Axis(0.0, high, tuple(places), tuple(clock(p) for p in places))
    found = axis(0.0, high, ticks)
    is_whole = kind == "steps"
    kept = [t for t in found.ticks if not is_whole or t == int(t)]
    return Axis(0.0, high, tuple(kept), tuple(f"{t:,.0f}" if is_whole and high < 1e5 else count(t) for t in kept))


def axis(low: float, high: float, ticks: int) -> Axis:
    """An axis whose numbers, about `ticks` of them, are multiples of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (high - low) / max(1, ticks)
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = min((s * power for s in (1, 2, 2.5, 5, 10)), key=lambda s: abs(math.log(s / rough)) if rough > 0 else s)
    first, final = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    places = [round(i * step, 12) for i in range(first, final + 1)]
    return Axis(low, high, tuple(places), tuple(_labels(places, step)))


def _labels(places: Sequence[float], step: float) -> list[str]:
    """The numbers with as many digits as tell two neighbours apart."""
    top = max((abs(p) for p in places), default=0.0)
    if top and (top < 1e-3 or top >= 1e5):
        return [count(p) if top >= 1e5 else f"{p:.3g}" for p in places]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += round(step * 10**digits, 6) != round(step * 10**digits)
    return [f"{p:.{digits}f}" for p in places]
