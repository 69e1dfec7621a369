"""What befalls one of two processes - a full disk, a number that is not finite, a signal - ends both alike."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign.ranks import KINDS, RECIPE, fork, import_all, wait
from tests.campaign.victims import Report, newest, warm_up

AT = 5  # the step that it befalls; checkpoints are made every 3


class Mishaps:
    """Trials are mishaps to the second process, in turn, with DDP and with FSDP."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.report, self.calls = directory, Report(), 0
        self.recipe = directory / "victim.yaml"
        self.recipe.write_text(RECIPE)
        warm_up(directory, self.recipe)
        import_all()

    def run(self, trials: int, first: int = 0) -> Report:
        """Mishaps `first` to `first + trials`."""
        began = time.perf_counter()
        for number in range(first, first + trials):
            mishap, codes, step, words = MISHAPS[number // 2 % len(MISHAPS)]
            problem = self.trial(KINDS[number % 2], mishap, codes, step, words)
            self.report.trials += 1
            if problem:
                self.report.failures.append(f"mishap {number} ({mishap.__name__}, {KINDS[number % 2]}): {problem}")
        self.report.seconds += time.perf_counter() - began
        return self.report

    def trial(self, kind: str, mishap: Callable[[], None], code: int, step: int, words: str) -> str | None:
        """What is wrong with how both ended, or None."""
        store = self.directory / "trial"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.directory / "cache-only", store)

        def prepare(rank: int) -> Callable[[], object]:
            if rank == 1:
                mishap()
            return lambda: None

        codes, _ = wait(fork(self.recipe, store, 2, ("--set", f"train.parallel={kind}"), prepare))
        said = [(store / f"said-{rank}").read_text() for rank in (0, 1)]
        if mishap is full_disk and kind == "ddp":
            code, step, words = 0, 9, "finished"  # the second process writes nothing
        if codes != [code, code]:
            return f"ended with {codes}, not {code}: {said}"
        if newest(store) != step:
            return f"the newest checkpoint is step {newest(store)}, not {step}"
        if words not in said[0] or said[1]:
            return f"said {said}, not {words!r} once"
        left = [str(p) for p in store.rglob(".tmp-*")]
        return f"left {left}" if left else None


def full_disk() -> None:
    """From the first step on no file of this process grows beyond 1 kB."""
    import resource

    from llmkit.training.trainer import Trainer

    gradients = Trainer._gradients

    def watched(self: Trainer) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        return gradients(self)

    Trainer._gradients = watched  # type: ignore[method-assign]


def not_finite() -> None:
    """The loss of this process is NaN in one step."""
    from llmkit.training.objectives.causal import Causal
    from llmkit.training.objectives.objective import Loss
    from llmkit.training.trainer import Trainer

    at = [0]
    gradients, loss = Trainer._gradients, Causal.loss

    def watched(self: Trainer) -> Any:
        at[0] = self.progress.step
        return gradients(self)

    def broken(self: Causal, model: Any, batch: Any) -> Loss:
        found = loss(self, model, batch)
        return Loss({n: s * float("nan") for n, s in found.sums.items()}, found.counts) if at[0] == AT else found

    Trainer._gradients, Causal.loss = watched, broken  # type: ignore[method-assign]


def asked_to_end() -> None:
    """A signal to this process alone."""
    from llmkit.training.trainer import Trainer

    gradients = Trainer._gradients

    def watched(self: Trainer) -> Any:
        if self.progress.step + 1 == AT:
            os.kill(os.getpid(), signal.SIGTERM)
        return gradients(self)

    Trainer._gradients = watched  # type: ignore[method-assign]


# What happens, the exit code of both, the newest checkpoint then, and what the first process says.
MISHAPS: tuple[tuple[Callable[[], None], int, int, str], ...] = (
    (full_disk, 74, 0, "process 1: "),
    (not_finite, 5, 3, f"loss became nan at step {AT + 1}"),
    (asked_to_end, 75, AT, f"stopped by SIGTERM at step {AT}"),
)
