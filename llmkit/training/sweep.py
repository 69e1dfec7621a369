"""A sweep: the same recipe with other values of a few keys, and what came of each. No torch here."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import LlmkitError, UsageError
from llmkit.training.history import History, Point, read_histories

MOST = 256
_LONGEST = 80
_STATES = {
    0: "finished", 2: "wrong", 4: "refused", 5: "diverged", 6: "out of memory", 7: "in use", 70: "bug", 74: "no space",
    75: "stopped", 130: "stopped", 137: "killed",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One run of a sweep. settings: the text of each swept key's value, as it was given."""

    run: str
    settings: Mapping[str, str]

    @property
    def overrides(self) -> list[str]:
        """As `--set` takes them."""
        return [f"{key}={value}" for key, value in self.settings.items()]


@dataclass(frozen=True)
class Result:
    """What became of a run: exit code of its process (negative: the signal that ended it), and what its log says.

    loss: of training, the mean of its last lines. scores: of the last validation; best: of the best one.
    seconds: of training, over all sessions.
    """

    variant: Variant
    path: Path
    exit_code: int
    step: int = 0
    loss: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None

    @property
    def state(self) -> str:
        """The exit code in words."""
        code = 128 - self.exit_code if self.exit_code < 0 else self.exit_code
        return _STATES.get(code, "killed" if self.exit_code < 0 else "failed")


def variants(name: str, axes: Sequence[str]) -> list[Variant]:
    """Every combination of the values that `axes` (KEY=VALUE,VALUE,...) list, the last key running fastest.

    name: what the runs' names begin with. Raises UsageError for what is no such list, or for too many runs.
    """
    keys: dict[str, list[str]] = {}
    for text in axes:
        key, equals, values = text.partition("=")
        found = [value.strip() for value in _split(values)]
        if not equals or not key.strip() or not all(found):
            raise UsageError(f"--sweep is {text[:80]!r}", "give a key and its values: --sweep train.lr=1e-4,3e-4")
        if key.strip() in keys:
            raise UsageError(f"--sweep names {key.strip()} twice", "list all its values in one, with commas")
        if len(set(found)) < len(found):
            raise UsageError(f"--sweep {text[:80]} lists a value twice", "each is one run")
        keys[key.strip()] = found
    n = 1
    for found in keys.values():
        n *= len(found)
    if n > MOST:
        raise UsageError(f"this sweep has {n:,} runs; the limit is {MOST}", "list fewer values")
    combinations = [dict(zip(keys, values, strict=True)) for values in itertools.product(*keys.values())]
    short = _short(list(keys))
    names = [run_name(name, {short[key]: value for key, value in settings.items()}) for settings in combinations]
    return [
        Variant(run if names.count(run) == 1 else _marked(run, settings), settings)
        for run, settings in zip(names, combinations, strict=True)
    ]


def run_name(name: str, settings: Mapping[str, str]) -> str:
    """A name for the run that says what it tries, made of what names may hold."""
    parts = [name, *(f"{key}-{value}" for key, value in settings.items())]
    run = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).strip("_")
    return run if len(run) <= _LONGEST else _marked(run[: _LONGEST - 7], settings)


def _marked(run: str, settings: Mapping[str, str]) -> str:
    """The name told apart from one that looks the same, by a digest of the settings."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:6]
    return f"{run}-{digest}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Each key's last word, or all of it where two keys end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)}


def _split(text: str) -> list[str]:
    """Values between commas; those inside brackets or quotes belong to a value."""
    parts, depth, quote, before = [""], 0, "", ""
    for char in text:
        if quote:
            quote = "" if char == quote and before != "\\" else quote
            before = "" if before == "\\" else char
        elif char in "\"'":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += char
    return parts


def read_result(variant: Variant, path: Path, exit_code: int) -> Result:
    """What the run's log says came of it; little where there is none."""
    try:
        history = read_histories(path, variant.run)[0]
    except LlmkitError:
        return Result(variant, path, exit_code)
    last = history.points[-1] if history.points else None
    best = history.best
    return Result(
        variant,
        path,
        exit_code,
        step=int(history.last_step),
        loss=history.level("loss"),
        scores=_scores(history.validation[-1:]),
        best=_scores([best] if best else []),
        best_step=int(best.step) if best else None,
        seconds=last.seconds if last else None,
        tokens_per_second=_rate(history),
    )


def _scores(points: Sequence[Point]) -> Mapping[str, float]:
    return points[0].values if points else {}


def _rate(history: History) -> float | None:
    last = history.points[-1] if history.points else None
    return last.tokens / last.seconds if last and last.tokens and last.seconds else None


@dataclass(frozen=True)
class Ranking:
    """By what runs are compared. kept_best: the checkpoint holds the best weights, not the last ones."""

    metric: str
    larger_is_better: bool
    kept_best: bool

    def value(self, result: Result) -> float | None:
        """What the run's checkpoint scores; without validation data, its training loss."""
        scores = result.best if self.kept_best else result.scores
        found = scores.get(self.metric)
        return result.loss if found is None and self.metric == "loss" else found

    def best(self, results: Sequence[Result]) -> Result | None:
        """The best of the runs that finished; the first of equals."""
        values = [(v, -i) for i, r in enumerate(results) if r.exit_code == 0 and (v := self.value(r)) is not None]
        if not values:
            return None
        top = max(values) if self.larger_is_better else min(values, key=lambda pair: (pair[0], -pair[1]))
        return results[-top[1]]


def ranking(results: Sequence[Result], *, finetune: bool) -> Ranking:
    """Runs of fine-tuning that tell an accuracy are compared by that of the weights they keep, all others by loss."""
    has_accuracy = any("accuracy" in r.scores for r in results)
    return Ranking("accuracy", True, True) if finetune and has_accuracy else Ranking("loss", False, finetune)


def overall_code(results: Sequence[Result]) -> int:
    """0 when every run finished or diverged and at least one finished; else the first other code."""
    codes = [128 - r.exit_code if r.exit_code < 0 else r.exit_code for r in results]
    other = [code for code in codes if code not in (0, 5)]
    return other[0] if other else 0 if 0 in codes else 5


def as_json(result: Result, best: Result | None) -> dict[str, Any]:
    """Plain values."""
    return {
        "run": result.variant.run,
        "path": str(result.path),
        "settings": dict(result.variant.settings),
        "exit": result.exit_code,
        "state": result.state,
        "step": result.step,
        "loss": result.loss,
        "scores": dict(result.scores),
        "best_scores": dict(result.best),
        "best_step": result.best_step,
        "seconds": result.seconds,
        "tokens_per_second": result.tokens_per_second,
        "is_best": result is best,
    }
