"""One recipe in one, two and four processes, with DDP and with FSDP: the same samples, and nearly the same losses.

A case trains for half of its steps in one way, then goes on in another, and is compared with one process that trains
through. Sums in another order differ in their last digits, so losses are compared within a tolerance; samples exactly.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign.ranks import fork, import_all, wait
from tests.campaign.victims import Report, records, warm_up

STEPS = 50
TOLERANCE = 1e-5  # relative, on every step's loss
MODELS = {
    "causal": "{family: gpt2, d_model: 32, n_layers: 2, n_heads: 2, max_seq_len: 32, dropout: 0, attention_dropout: 0}",
    "recurrent": "{family: transformer_xl, d_model: 32, n_layers: 2, n_heads: 2, d_ff: 64, mem_len: 32, dropout: 0.0}",
}
RECIPE = f"""
name: victim
model: MODEL
tokenizer: {{algorithm: char}}
data: {{train: stories, stories: 60, validation_fraction: 0.05}}
objective: {{name: OBJECTIVE}}
train:
  {{steps: {STEPS}, batch_size: 8, seq_len: 32, accumulate: 2, lr: 3.0e-3, warmup_steps: 3, log_every: 1,
   eval_every: 20, sample_every: 10, sample_prompt: One day, save_every: 25, keep: 3, threads: 1, device: cpu, seed: 5}}
"""
Way = tuple[int, str]  # processes, and how the model is spread over them
# Each case for AdamW and for Muon: how the first half is trained, and how the second.
CASES: tuple[tuple[Way, Way], ...] = (
    ((2, "ddp"), (2, "ddp")),
    ((2, "fsdp"), (2, "fsdp")),
    ((4, "ddp"), (4, "ddp")),
    ((4, "fsdp"), (4, "fsdp")),
    ((2, "fsdp"), (1, "ddp")),
    ((2, "ddp"), (4, "fsdp")),
    ((4, "fsdp"), (2, "ddp")),
    ((1, "ddp"), (2, "fsdp")),
)
OPTIMIZERS = ("adamw", "muon")


class Parity:
    """Trials are cases: 0 to 15; more begin again."""

    def __init__(self, directory: Path, steps: int = STEPS, objective: str = "causal") -> None:
        self.directory, self.steps, self.report, self.calls = directory, steps, Report(), 0
        self.recipe = directory / "victim.yaml"
        self.recipe.write_text(RECIPE.replace("MODEL", MODELS[objective]).replace("OBJECTIVE", objective))
        self.worst: dict[str, float] = {}
        warm_up(directory, self.recipe)
        import_all()
        self.alone = {name: self.train(f"alone-{name}", name, [((1, "ddp"), steps)]) for name in OPTIMIZERS}

    def run(self, trials: int, first: int = 0) -> Report:
        """Cases `first` to `first + trials`."""
        began = time.perf_counter()
        for number in range(first, first + trials):
            problem = self.case(OPTIMIZERS[number % 2], *CASES[number // 2 % len(CASES)])
            self.report.trials += 1
            if problem:
                self.report.failures.append(f"case {number}: {problem}")
        self.report.seconds += time.perf_counter() - began
        return self.report

    def case(self, optimizer: str, one: Way, other: Way) -> str | None:
        """What differs from one process, in words."""
        name = f"{optimizer}, {one[1]} {one[0]}" + (f" then {other[1]} {other[0]}" if one != other else "")
        sessions = [(one, self.steps // 2), (other, self.steps)] if one != other else [(one, self.steps)]
        want, have = self.alone[optimizer], self.train("case", optimizer, sessions)
        if isinstance(have, str):
            return f"{name}: {have}"
        worst = max(abs(a - b) / abs(a) for a, b in zip(want["losses"], have["losses"], strict=True))
        self.worst[name] = worst
        if want["samples"] != have["samples"]:
            return f"{name}: the samples differ"
        return f"{name}: losses differ by {worst:.2g}" if worst > TOLERANCE else None

    def train(self, name: str, optimizer: str, sessions: list[tuple[Way, int]]) -> Any:
        """Losses by step and the samples of every step, or what went wrong."""
        store = self.directory / name
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.directory / "cache-only", store)
        for (size, kind), last in sessions:
            flags = ("--set", f"train.optimizer={optimizer}", "--set", f"train.parallel={kind}")
            # The schedule must be that of the whole run: the first session ends by a signal after its last step.
            codes, _ = wait(fork(self.recipe, store, size, flags, lambda rank, end=last: watch(store, rank, end)))
            if set(codes) != {0 if last == self.steps else 75}:
                words = " || ".join(p.read_text()[-600:] for p in sorted(store.glob("said-*")))
                return f"{kind} in {size} processes ended with {codes}: {words}"
        losses = {r["step"]: r["loss"] for r in records(store) if r["event"] == "step"}
        samples: dict[int, list[list[int]]] = {}
        for path in store.glob("samples-*"):
            for line in path.read_text().splitlines():
                step, picks = json.loads(line)
                samples.setdefault(step, []).extend(picks)
        shutil.rmtree(store)
        return {"losses": [losses[i] for i in sorted(losses)], "samples": {s: sorted(p) for s, p in samples.items()}}


def watch(store: Path, rank: int, last: int) -> Callable[[], None]:
    """Write down which samples this process learns from, and have it asked to end after step `last`."""
    import os
    import signal

    from llmkit.training.trainer import Trainer

    real = Trainer._gradients
    file = (store / f"samples-{rank}").open("a")

    def gradients(self: Trainer) -> Any:
        step = self.progress.step
        picks = [
            [m, *map(int, row)]
            for m, p in enumerate(self.feed.picks(step))
            for row in zip(p.epoch, p.index, p.draw, strict=True)
        ]
        file.write(json.dumps([step, picks]) + "\n")
        if step + 1 == last and last < self.settings.steps and rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    Trainer._gradients = gradients  # type: ignore[method-assign]
    return file.close
