"""Listeners that write: metrics.jsonl in the run's directory, plain lines, JSON lines. No torch here."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from llmkit.errors import StorageError
from llmkit.training.events import (
    SCHEMA,
    End,
    Evaluation,
    Event,
    Sample,
    Saved,
    Skipped,
    Stage,
    Start,
    Step,
    Warned,
    to_record,
)

METRICS = "metrics.jsonl"


class MetricsFile:
    """metrics.jsonl: every event as a JSON line, each step once however often the run was interrupted.

    resumed_step: where the run goes on; what an earlier session wrote beyond it is dropped, with a torn last line.
    seconds: of training until then.
    """

    def __init__(self, directory: Path, resumed_step: int) -> None:
        self.path = directory / METRICS
        self.seconds = 0.0
        try:
            self._truncate(resumed_step)
            self.file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error

    def __call__(self, event: Event) -> None:
        """Write one line; a full disk is the checkpoints' to report, not the log's."""
        with contextlib.suppress(OSError):
            self.file.write(json.dumps(to_record(event)) + "\n")
            self.file.flush()

    def sync(self) -> None:
        """Make the lines so far durable; called before a checkpoint that relies on them."""
        with contextlib.suppress(OSError):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Stop writing."""
        self.file.close()

    def _truncate(self, step: int) -> None:
        """Cut the file at the first line that is torn or belongs to a later step; what follows is later still."""
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            return
        with file:
            end = 0
            for line in file:
                record = _record(line)
                if not line.endswith(b"\n") or _number(record, "step", math.inf) > step:
                    break
                end += len(line)
                if record.get("event") == Step.kind:
                    self.seconds = _number(record, "seconds", self.seconds)
            file.truncate(end)


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _number(record: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = record.get(name)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else otherwise


class JsonLines:
    """Every event as a JSON line on a stream, for programs. A reader that left does not stop the run."""

    def __init__(self, stream: TextIO) -> None:
        self.stream: TextIO | None = stream

    def __call__(self, event: Event) -> None:
        """Write one line."""
        self.stream = write_line(self.stream, json.dumps({"schema": SCHEMA, **to_record(event)}))


class PlainLines:
    """One short line an event, for pipes and log files; `clean` makes text from files safe to print."""

    def __init__(self, stream: TextIO, clean: Callable[[str], str] = str) -> None:
        self.stream: TextIO | None = stream
        self.clean = clean

    def __call__(self, event: Event) -> None:
        """Write one line for what a reader of a log wants to know."""
        self.say(plain(event))

    def say(self, line: str) -> None:
        """Write a line that is no event."""
        if line:
            self.stream = write_line(self.stream, self.clean(line))


def plain(event: Event) -> str:
    """`event` as words and key=value pairs on one line; empty for an event of no interest here."""
    if isinstance(event, Start):
        verb = f"resume step={event.step}" if event.step else "start"
        return (
            f"{verb} run={event.run} steps={event.steps} parameters={event.parameters} examples={event.examples} "
            f"tokens_per_step={event.tokens_per_step} device={event.device} threads={event.threads}"
            + (f" processes={event.processes}" if event.processes > 1 else "")
        )
    if isinstance(event, Step):
        parts = "".join(f" {k}={v:.4g}" for k, v in event.parts.items())
        return (
            f"step={event.step} loss={event.loss:.4f}{parts} lr={event.lr:.3g} grad_norm={event.grad_norm:.3g} "
            f"tok/s={event.tokens_per_second:.0f} seq/s={event.examples_per_second:.1f}"
            + ("" if event.utilisation is None else f" utilisation={100 * event.utilisation:.0f}%")
        )
    if isinstance(event, Evaluation):
        best = " best" if event.better else ""
        return f"step={event.step} validation{_pairs(event.scores)} seconds={event.seconds:.1f}{best}"
    if isinstance(event, Sample):
        given, said = (json.dumps(text, ensure_ascii=False) for text in (event.prompt, event.text))
        return f"step={event.step} sample {given} -> {said}"
    if isinstance(event, Saved):
        return f"step={event.step} checkpoint={event.path} bytes={event.size} seconds={event.seconds:.2f}"
    if isinstance(event, Stage):
        return f"step={event.step} stage={event.stage}: longer examples from here on, so the loss jumps and falls anew"
    if isinstance(event, Skipped):
        return f"warning: step {event.step + 1} left out: {event.reason}; first bad value: {event.where}"
    if isinstance(event, Warned):
        return f"warning: {event.message}"
    if isinstance(event, End):
        return f"{event.reason} step={event.step} seconds={event.seconds:.1f}{_pairs(event.scores)}"
    return ""


def _pairs(scores: Mapping[str, float]) -> str:
    return "".join(f" {name}={value:.4f}" for name, value in scores.items())


def write_line(stream: TextIO | None, line: str) -> TextIO | None:
    """Write and flush; None once the reader is gone, so that nothing more is tried."""
    if stream is None:
        return None
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        return None
    return stream
