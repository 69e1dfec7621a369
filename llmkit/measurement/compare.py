"""Results against a saved baseline: what became slower, and whether that is more than noise."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.measurement.result import SCHEMA, Result

_MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Change:
    """One case now and in the baseline. ratio: relative change of the median rate, negative when slower.

    is_clear: the change is larger than the spreads of both measurements explain.
    """

    name: str
    before: float
    now: float
    ratio: float
    is_clear: bool

    def is_regression(self, fail_over: float) -> bool:
        """Whether the case is slower by more than `fail_over` (0.05 is 5 %), and clearly so."""
        return self.is_clear and -self.ratio > fail_over


def compare(results: Sequence[Result], baseline: Mapping[str, Mapping[str, Any]]) -> dict[str, Change]:
    """Changes by case name, for the cases that both have.

    Noise is taken as half the distance from p10 to p90, of both measurements together (root of the sum of squares):
    a drop within it is no regression, however small the threshold.
    """
    changes = {}
    for result in results:
        old = baseline.get(result.name)
        if old is None:
            continue
        before = old["median"]
        noise = math.hypot((result.high - result.low) / 2, (old["p90"] - old["p10"]) / 2)
        clear = abs(result.median - before) > noise
        changes[result.name] = Change(result.name, before, result.median, result.median / before - 1, clear)
    return changes


def read_baseline(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Cases by name, and the machine they were measured on, from what `llmkit bench --json` wrote.

    Raises StorageError if the file cannot be read and InputRefused if it is something else.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputRefused(f"{path} is too large for a baseline")
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}", "write one with: llmkit bench --json > FILE") from None
    except (ValueError, RecursionError):
        raise InputRefused(f"{path} is not JSON", "write a baseline with: llmkit bench --json > FILE") from None
    if not isinstance(body, dict) or body.get("schema") != SCHEMA or not isinstance(body.get("results"), list):
        raise InputRefused(
            f"{path} is not a result of llmkit bench", "write a baseline with: llmkit bench --json > FILE"
        )
    cases = {}
    for entry in body["results"]:
        if not isinstance(entry, dict) or not all(_is_rate(entry.get(k)) for k in ("median", "p10", "p90")):
            raise InputRefused(f"{path} holds a result without a rate", "write the baseline anew")
        cases[f"{entry.get('what')}: {entry.get('case')}"] = entry
    machine = body.get("machine")
    return cases, machine if isinstance(machine, dict) else {}


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def parse_percent(text: str) -> float:
    """`5%` or `5` -> 0.05. Raises UsageError for anything that is no percentage from 0 to 100."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        # A rate that falls by all of itself is 0: a threshold beyond it could never be crossed.
        raise UsageError(f"--fail-over is {text!r}", "give a percentage from 0 to 100, such as 5%")
    return value / 100
