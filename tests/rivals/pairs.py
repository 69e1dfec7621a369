"""Training steps of several programs in turn, each in a process of its own, and the memory each took.

Own processes, because what a program does to its allocator or its threads must neither help nor hurt the others.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rivals.steps import Case, nanogpt_step, our_step, transformers_step

ROOT = Path(__file__).parents[2]
WARM_UP = 3


@dataclass
class Side:
    """One program at work: who, in which number format, and its seconds a step."""

    who: str
    dtype: str
    process: subprocess.Popen[str]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: int = 0
    loss: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.who} {self.dtype}"

    def run(self, steps: int) -> dict[str, Any]:
        """Take some steps and wait for them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.peak, self.loss = found["peak"], found["loss"]
        return found


def work(case: Case, who: str, dtype: str, nanogpt: str, threads: int) -> None:
    """Be one side: read a number of steps from stdin, take them, and say what they took, until stdin ends."""
    import torch

    torch.set_num_threads(threads)
    makers = {"llmkit": our_step, "transformers": transformers_step}
    step = nanogpt_step(case, dtype, nanogpt) if who == "nanogpt" else makers[who](case, dtype)
    loss = 0.0
    for line in sys.stdin:
        wall, cpu, n = time.perf_counter(), time.process_time(), int(line)
        for _ in range(n):
            loss = step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall / n, "cpu": cpu / n, "peak": _peak(), "loss": loss}), flush=True)


def compare(case: Case, sides: Sequence[tuple[str, str]], *, nanogpt: str, threads: int, rounds: int) -> list[Side]:
    """Steps of all sides in turn, the order turned round each time; CPU time counts on one thread, else the wall's."""
    running = [Side(who, dtype, _start(case, who, dtype, nanogpt, threads)) for who, dtype in sides]
    try:
        for side in running:
            side.run(WARM_UP)
        for number in range(rounds):
            for side in running if number % 2 else reversed(running):
                found = side.run(1)
                side.wall.append(found["wall"])
                side.cpu.append(found["cpu"])
    finally:
        for side in running:
            side.process.communicate()
    return running


def report(case: Case, sides: Sequence[Side], threads: int) -> None:
    """A line per side; ratios are medians over the rounds, against the first side."""
    tokens = case.batch * case.seq
    print(f"{case}, {threads} thread(s), {'CPU' if threads == 1 else 'wall'} time, {len(sides[0].wall)} rounds")
    print("who                     ms/step   tokens/s   x first   peak MiB   loss")
    first = seconds_of(sides[0], threads)
    for side in sides:
        times = seconds_of(side, threads)
        ratio = statistics.median(a / b for a, b in zip(first, times, strict=True))
        median = statistics.median(times)
        print(
            f"{side.name:22s} {median * 1e3:8.1f} {tokens / median:10.0f} {ratio:9.2f} {side.peak >> 20:10d}"
            f"   {side.loss:.4f}"
        )


def limit(threads: int, dtype: str) -> float:
    """GFLOP/s of the matrix product 2,048 x 384 by 384 x 1,536 here, as our linear layers do it: the best of 30."""
    import torch

    from llmkit.nn.linear import product

    torch.set_num_threads(threads)
    x, weight = torch.randn(2048, 384).to(getattr(torch, dtype)), torch.randn(1536, 384).to(getattr(torch, dtype))
    clock = time.process_time if threads == 1 else time.perf_counter
    times = []
    for _ in range(30):
        began = clock()
        product(x, weight)
        times.append(clock() - began)
    return 2 * 2048 * 384 * 1536 / min(times) / 1e9


def gflop(case: Case) -> float:
    """Of one step: all matrix products three times, the output layer at every token, attention in full."""
    matrices = case.layers * 12 * case.width**2 + case.vocab * case.width
    return case.batch * case.seq * (6 * matrices + 12 * case.layers * case.seq * case.width) / 1e9


def seconds_of(side: Side, threads: int) -> list[float]:
    return side.cpu if threads == 1 else side.wall


def _start(case: Case, who: str, dtype: str, nanogpt: str, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.rivals", "work", case.name, who, dtype, "--threads", str(threads)]
    command += ["--batch", str(case.batch), "--vocab", str(case.vocab), "--nanogpt", nanogpt]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env=environment,
    )  # fmt: skip


def _peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
