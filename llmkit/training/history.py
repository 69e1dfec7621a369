"""What a run has written down of itself, read back: our metrics.jsonl, or anybody's table of steps. No torch here.

A table is JSON lines, or lines of tab- or comma-separated values under a line of column names. `step` and `loss` are
needed; `tokens`, `seconds`, `validation` and any other number are taken along, and `run` parts one file into several
histories. So what other trainers log can be drawn beside a run of ours.
"""

from __future__ import annotations

import bisect
import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import InputRefused, StorageError
from llmkit.training.logs import METRICS

_NOT_VALUES = frozenset({"event", "step", "tokens", "seconds", "better", "nonfinite", "run", "schema"})
_LAST = 10
_ALIASES = {"val_loss": "validation", "validation_loss": "validation", "train_loss": "loss", "iter": "step"}


@dataclass(frozen=True)
class Point:
    """What was known at `step`: tokens and seconds of training so far (None: nobody wrote them down) and numbers."""

    step: float
    tokens: float | None
    seconds: float | None
    values: Mapping[str, float]


@dataclass
class History:
    """A run as it was written down, oldest first. validation: scores by name, "loss" among them where there is one.

    steps: planned, None if unknown. stages: steps after which the examples, and with them the loss, are of another
    kind. end: how it ended: finished, stopped, diverged, or "" while it goes on or after it was killed.
    """

    name: str
    path: Path
    points: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    stages: list[float] = field(default_factory=list)
    better: list[float] = field(default_factory=list)
    steps: int | None = None
    end: str = ""

    @property
    def last_step(self) -> float:
        """The last step anything is known about."""
        return max((p.step for p in (*self.points[-1:], *self.validation[-1:])), default=0)

    def level(self, name: str) -> float | None:
        """A number at the end of the log: the mean of the last tenth of its lines, as single ones are noisy."""
        last = min(_LAST, max(1, len(self.points) // 10))
        found = [p.values[name] for p in self.points[-last:] if name in p.values]
        return sum(found) / len(found) if found else None

    @property
    def best(self) -> Point | None:
        """The validation that the run itself called the best."""
        return next((p for p in reversed(self.validation) if p.step in self.better[-1:]), None)


def read_histories(path: Path, name: str | None = None) -> list[History]:
    """All histories in the file, or in the metrics.jsonl of the directory, at `path`.

    A line that is torn, as the last one of a run that is being written may be, is passed over. Raises StorageError for
    a file that cannot be read, InputRefused for one that holds no step.
    """
    path = path / METRICS if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    if name is None:
        name = path.absolute().parent.name if path.name == METRICS else path.stem
    records = _json_records(text) if text.lstrip()[:1] == "{" else _table_records(text)
    found: dict[str, History] = {}
    for record in records:
        if "event" in record:
            _take_event(found.setdefault("", History(name, path)), record)
        else:
            label = str(record.get("run") or "")
            _take_row(found.setdefault(label, History(label or name, path)), record)
    histories = [h for h in found.values() if h.points or h.validation]
    if not histories and not found.keys() - {""} and not (found and found[""].steps):
        raise InputRefused(
            f"{path} holds no step of a run", "lines need `step` and `loss`, as JSON or under a line of column names"
        )
    for history in histories:
        steps = [p.step for p in history.points]
        history.validation = [_placed(p, history.points, steps) for p in history.validation]
    return histories or list(found.values())


def _json_records(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield {_ALIASES.get(str(title), str(title)): value for title, value in record.items()}


def _table_records(text: str) -> Iterator[dict[str, Any]]:
    lines = io.StringIO(text)
    head = lines.readline()
    separator = "\t" if "\t" in head else "," if "," in head else " "
    titles = [title.strip().lower() for title in head.split(separator)]
    names = [_ALIASES.get(title, title) for title in titles]
    rows: Iterable[list[str]] = csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ")
    try:
        for row in rows:
            yield {key: cell for key, cell in zip(names, row, strict=False) if cell.strip()}
    except csv.Error:  # a field as long as a file is no number
        return


def _take_event(history: History, record: Mapping[str, Any]) -> None:
    kind, step = record["event"], number(record.get("step"))
    if step is None:
        return
    if kind == "start":
        history.steps, history.end = int(number(record.get("steps")) or 0) or None, ""
    elif kind == "step":
        history.points.append(Point(step, number(record.get("tokens")), number(record.get("seconds")), _values(record)))
    elif kind == "eval":
        history.validation.append(Point(step, None, None, _values(record)))
        if record.get("better"):
            history.better.append(step)
    elif kind == "stage":
        history.stages.append(step)
    elif kind == "end":
        history.end = str(record.get("reason", ""))


def _take_row(history: History, record: Mapping[str, Any]) -> None:
    step = number(record.get("step"))
    if step is None:
        return
    values = _values(record)
    held_out = values.pop("validation", None)
    at = number(record.get("tokens")), number(record.get("seconds"))
    if values:
        history.points.append(Point(step, *at, values))
    if held_out is not None:
        history.validation.append(Point(step, *at, {"loss": held_out}))


def _values(record: Mapping[str, Any]) -> dict[str, float]:
    numbers = {str(key): number(value) for key, value in record.items() if key not in _NOT_VALUES}
    return {key: value for key, value in numbers.items() if value is not None}


def number(value: object) -> float | None:
    """A finite number, also one in a cell of text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _placed(point: Point, points: Sequence[Point], steps: Sequence[float]) -> Point:
    """A validation with the tokens and seconds of its step, between those of the lines of the log around it.

    steps: of the points.
    """
    if point.tokens is not None or point.seconds is not None or not points:
        return point
    after = min(bisect.bisect_left(steps, point.step), len(points) - 1)
    later, earlier = points[after], points[max(0, after - 1)]
    span = later.step - earlier.step
    share = (point.step - earlier.step) / span if span > 0 else 1.0
    share = min(1.0, max(0.0, share))

    def between(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + share * (b - a)

    return Point(
        point.step, between(earlier.tokens, later.tokens), between(earlier.seconds, later.seconds), point.values
    )
