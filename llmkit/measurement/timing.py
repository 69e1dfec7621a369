"""Time things fairly: warm up, then take turns, so that a slow moment of the machine hits every case alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of each trial of one case, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return percentile(self.seconds, 50)

    @property
    def best(self) -> float:
        """The fastest trial: what to take for a limit, which a disturbance can only make look lower."""
        return min(self.seconds)

    @property
    def p10(self) -> float:
        return percentile(self.seconds, 10)

    @property
    def p90(self) -> float:
        return percentile(self.seconds, 90)


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0 to 100), linear between neighbours; raises ValueError for no values."""
    if not values:
        raise ValueError("percentile of nothing")
    ordered = sorted(values)
    at = (len(ordered) - 1) * q / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def interleaved(
    cases: Mapping[str, Callable[[], object]],
    *,
    trials: int,
    warmup: int = 1,
    budget: float = float("inf"),
    least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Run every case `warmup` times unmeasured, then `trials` rounds of each case once.

    A case may return the seconds it wants counted (a float) where only a part of it is of interest. Rounds end early
    when `budget` seconds are spent, but not before `least` of them. Every other round runs backwards, so that no case
    always follows the same one.
    """
    for _ in range(warmup):
        for case in cases.values():
            case()
    taken: dict[str, list[float]] = {name: [] for name in cases}
    began = clock()
    for trial in range(trials):
        if trial >= min(least, trials) and clock() - began > budget:
            break
        names = list(cases)[:: 1 if trial % 2 == 0 else -1]
        for name in names:
            start = clock()
            counted = cases[name]()
            spent = clock() - start
            taken[name].append(counted if isinstance(counted, float) else spent)
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}
