"""What a measurement says: a rate with its spread, the machine's own limit beside it, memory; and its JSON form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.measurement.timing import Timing

SCHEMA = "llmkit/bench/1"
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """One measured case. Rates are in `unit` per second, and more is better.

    low and high: 10th and 90th percentile of the rate over the trials. limit: what this machine reached, in the same
    unit, on the operation that bounds the case; limit_name says which. peak_bytes: of the process during one run.
    detail: further figures, for JSON.
    """

    what: str
    case: str
    unit: str
    median: float
    low: float
    high: float
    trials: int
    limit: float | None = None
    limit_name: str = ""
    peak_bytes: int | None = None
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.what}: {self.case}"

    @property
    def share(self) -> float | None:
        """How much of the limit was reached."""
        return self.median / self.limit if self.limit else None

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what, "case": self.case, "unit": f"{self.unit}/s", "median": self.median, "p10": self.low,
            "p90": self.high, "trials": self.trials, "limit": self.limit, "limit_name": self.limit_name or None,
            "share": self.share, "peak_bytes": self.peak_bytes, **({"detail": self.detail} if self.detail else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How to measure. budget: seconds that the timed rounds of one WHAT may take; shape: of the random model."""

    trials: int = 7
    budget: float = 15.0
    model: Path | None = None
    shape: Shape = field(default_factory=lambda: Shape())
    device: str = "cpu"
    notice: Notice = lambda message: None


@dataclass(frozen=True)
class Shape:
    """Sizes of the random model that is measured when none is named: GPT-2's wiring, small enough for any machine."""

    layers: int = 6
    width: int = 384
    context: int = 256
    vocab: int = 8192
    batch: int = 4

    @property
    def heads(self) -> int:
        return max(1, self.width // 64)


def rated(
    what: str,
    case: str,
    unit: str,
    work: float,
    timing: Timing,
    *,
    limit: float | None = None,
    limit_name: str = "",
    peak_bytes: int | None = None,
    detail: dict[str, float] | None = None,
) -> Result:
    """A result from seconds: `work` units were done in each trial."""
    return Result(
        what, case, unit, work / timing.median, work / timing.p90, work / timing.p10, len(timing.seconds),
        limit, limit_name, peak_bytes, detail or {},
    )  # fmt: skip
