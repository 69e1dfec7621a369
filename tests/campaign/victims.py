"""Runs to be killed, disturbed and compared: a tiny recipe for each objective, and a parent that forks victims fast.

A parent that has torch imported and a few steps done forks each victim, so a run costs about a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.recipes import RECIPES, TEACHERS

# The calls a save is made of; the victim counts those made while it saves, and can be told to die at any of them.
CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "truncate")


@dataclass
class Fate:
    """When a victim dies: at a moment (seconds after its start), or at the n-th call inside a save."""

    after: float | None = None
    call: int | None = None
    half: bool = False  # of a write: only half of it happens
    signal: signal.Signals = signal.SIGKILL


@dataclass
class Report:
    """Counts of a campaign, and the failures in words."""

    trials: int = 0
    kills: int = 0
    kills_in_save: int = 0
    most_lost: int = 0
    reads: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = f"{self.kills} signals ({self.kills_in_save} inside a save), at most {self.most_lost} steps lost, "
        reads = f"{self.reads} reads, " if self.reads else ""
        return (
            f"{self.trials} trials, {len(self.failures)} failures, "
            f"{kills if self.kills else ''}{reads}{self.seconds:.0f} s"
        )


class Trials:
    """A campaign of numbered trials; any of them can be run again by its seed and number."""

    report: Report
    seed: int

    def run(self, trials: int, first: int = 0) -> Report:
        """Trials `first` to `first + trials`."""
        began = time.perf_counter()
        for number in range(first, first + trials):
            problem = self.trial(number)
            self.report.trials += 1
            if problem:
                self.report.failures.append(f"trial {number} of seed {self.seed}: {problem}")
        self.report.seconds += time.perf_counter() - began
        return self.report

    def trial(self, number: int) -> str | None:
        """One trial; every choice in it follows from the seed and `number`. Returns what went wrong, or None."""
        raise NotImplementedError


class Victims(Trials):
    """Runs of one objective in `directory`; `mutate` is called in each child first, to break something on purpose."""

    def __init__(
        self, directory: Path, seed: int, mutate: Callable[[], None] = lambda: None, objective: str = "causal"
    ) -> None:
        self.directory, self.seed, self.mutate = directory, seed, mutate
        directory.mkdir(parents=True, exist_ok=True)
        self.recipe = directory / "victim.yaml"
        self.recipe.write_text(RECIPES[objective])
        self.report = Report()
        self.calls = 0
        self.waited = 0.0
        warm_up(directory, self.recipe, TEACHERS.get(objective))
        began = time.perf_counter()
        store = self.fresh("reference")
        code = self.start(store, Fate(call=None), counting=True)
        if code != 0:
            raise RuntimeError(f"the uninterrupted run ended with {code}: {said(store)}")
        self.calls = int((store / "calls").read_text())
        self.duration = time.perf_counter() - began
        self.reference = remains(store)

    def start(self, store: Path, fate: Fate, counting: bool = False) -> int:
        """Type the command in a forked child; return its exit code, or -9 when it was killed."""
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                with (store / "said").open("a") as out:
                    os.dup2(out.fileno(), 1)
                    os.dup2(out.fileno(), 2)
                self.mutate()
                count = die_at(fate)
                code = command(self.recipe, store)
                if counting:
                    (store / "calls").write_text(str(count[0]))
            finally:
                os._exit(code)
        if fate.after is not None:
            time.sleep(fate.after)
            os.kill(pid, fate.signal)
        began = time.perf_counter()
        _, status = os.waitpid(pid, 0)
        self.waited = time.perf_counter() - began
        return os.waitstatus_to_exitcode(status)

    def fresh(self, name: str) -> Path:
        store = self.directory / name
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.directory / "cache-only", store)
        return store


def command(recipe: Path, store: Path) -> int:
    """`llmkit pretrain victim.yaml --store STORE`, in this process."""
    from llmkit.cli.app import run

    return run(["pretrain", str(recipe), "--store", str(store)])


def warm_up(directory: Path, recipe: Path, teacher: tuple[str, str] | None = None) -> None:
    """Import everything, run a few steps, and keep the tokenized text, so that victims start fast.

    teacher: the name and the recipe of a run that the victims learn from; every one of them finds it in its store.
    """
    store, kept = directory / "warm-up", [".cache"]
    if teacher is not None:
        name, text = teacher
        (directory / "teacher.yaml").write_text(text)
        few_steps(directory / "teacher.yaml", store, "--run", name)
        kept.append(name)
    few_steps(recipe, store)
    for name in kept:
        shutil.copytree(store / name, directory / "cache-only" / name)


def few_steps(recipe: Path, store: Path, *flags: str) -> None:
    """Run the first three steps of a recipe in this process, in silence."""
    import torch

    from llmkit.cli.app import run

    torch.set_num_threads(1)
    flags = (*flags, "--set", "train.steps=3", "--quiet", "--store", str(store))
    out = os.dup(1)
    with open(os.devnull, "w") as nothing:
        sys.stdout.flush()
        os.dup2(nothing.fileno(), 1)
        try:
            code = run(["pretrain", str(recipe), *flags])
            sys.stdout.flush()
        finally:
            os.dup2(out, 1)
            os.close(out)
    if code != 0:
        raise RuntimeError(f"warming up ended with {code}")


def die_at(fate: Fate) -> list[int]:
    """Count the file calls made inside RunDirectory.save and prune, and die at the one that `fate` names."""
    from llmkit.checkpoint.store import RunDirectory

    count, inside = [0], [False]

    def counted(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not inside[0]:
                return real(*args, **kwargs)
            number, count[0] = count[0], count[0] + 1
            if number == fate.call:
                if fate.half and name == "write":
                    real(args[0], memoryview(args[1])[: max(1, len(args[1]) // 2)])
                elif fate.half:
                    real(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    def watched(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            inside[0] = True
            try:
                return real(*args, **kwargs)
            finally:
                inside[0] = False

        return call

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))
    RunDirectory.save = watched(RunDirectory.save)  # type: ignore[method-assign]
    RunDirectory.prune = watched(RunDirectory.prune)  # type: ignore[method-assign]
    return count


def remains(store: Path) -> dict[str, Any]:
    """What a run left: digests of its tensors, its logged numbers, and the names of its files."""
    run = store / "victim"
    steps = sorted(p for p in run.iterdir() if p.name.startswith("step-"))
    left = sorted(str(p.relative_to(store)) for p in store.rglob(".*") if p.name != ".cache")
    return {
        "files": [p.name for p in steps],
        "left over": left,
        "digests": {
            f"{p.name}/{f}": hashlib.sha256((p / f).read_bytes()).hexdigest()
            for p in steps
            for f in ("model.safetensors", "state.safetensors", "state.json", "config.json", "tokenizer.json")
        },
        "losses": [
            (r["event"], r["step"], float(r["loss"]).hex())
            for r in records(store)
            if r["event"] in ("step", "eval") and r.get("loss") is not None
        ],
    }


def compare(want: dict[str, Any], have: dict[str, Any]) -> str | None:
    """The first difference, in words."""
    for key, expected in want.items():
        if have[key] != expected:
            return f"{key} differ: {_first_difference(expected, have[key])}"
    return None


def _first_difference(want: Any, have: Any) -> str:
    a, b = (list(x.items()) if isinstance(x, dict) else list(x) for x in (want, have))
    for x, y in zip(a, b, strict=False):
        if x != y:
            return f"{x} -> {y}"
    return f"{len(a)} entries -> {len(b)}: {(a + b)[min(len(a), len(b)) :][:3]}"


def records(store: Path) -> list[dict[str, Any]]:
    try:
        lines = (store / "victim" / "metrics.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def logged(store: Path) -> int:
    """The last step in metrics.jsonl."""
    return max((r["step"] for r in records(store)), default=0)


def newest(store: Path) -> int:
    """The newest step with a manifest."""
    return max((int(p.parent.name[5:]) for p in store.glob("victim/step-*/manifest.json")), default=0)


def said(store: Path) -> str:
    return (store / "said").read_text()[-400:].replace("\n", " | ")
