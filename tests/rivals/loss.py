"""Seconds from a raw text file to a validation loss, start-up included: `llmkit pretrain` and nanoGPT in turn.

nanoGPT runs the command of its README for a processor, from a checkout whose data is already prepared, which is not
counted. Its loss is that of 20 random batches; ours is over the whole validation text.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 "
    "--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 "
    "--dropout=0.0"
)


VALIDATION = re.compile(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)")  # as nanoGPT says it


@dataclass
class Run:
    """A whole process: its wall and CPU seconds, and its validations: step, seconds since its start, loss."""

    who: str
    wall: float
    cpu: float
    curve: list[tuple[int, float, float]]


def race(text: str, nanogpt: str, threads: int, pairs: int, changes: Sequence[str], curves: str = "") -> None:
    """Print seconds (wall, and CPU of all threads) and the loss of each run, in turn.

    curves: a file for all validations as a table that `llmkit pretrain FILE --plot --x seconds` draws.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    rows = ["run\tstep\tseconds\tvalidation"]
    for number in range(pairs):
        runs = [lambda: ours(text, changes), *([lambda: theirs(nanogpt)] if nanogpt else [])]
        for start in runs if number % 2 == 0 else reversed(runs):
            run = start()
            print(f"{run.who:8s} loss {run.curve[-1][-1]:.4f}  {run.wall:6.1f} s  CPU {run.cpu:6.1f} s", flush=True)
            name = run.who if pairs == 1 else f"{run.who} {number + 1}"
            rows += [f"{name}\t{step}\t{seconds:.2f}\t{loss}" for step, seconds, loss in run.curve]
    if curves:
        Path(curves).write_text("\n".join(rows) + "\n", encoding="utf-8")


def ours(text: str, changes: Sequence[str]) -> Run:
    """The shipped recipe on the text."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "llmkit", "pretrain", "shakespeare-char", "--json", "--store", store]
        for change in (f"data.train={Path(text).resolve()}", *changes):
            command += ["--set", change]
        lines, wall, cpu = timed(command, ROOT)
    events = [(seconds, json.loads(line)) for seconds, line in lines]
    curve = [(event["step"], seconds, event["loss"]) for seconds, event in events if event["event"] == "eval"]
    return Run("llmkit", wall, cpu, curve)


def theirs(directory: str) -> Run:
    """nanoGPT's own script."""
    with tempfile.TemporaryDirectory() as out:
        lines, wall, cpu = timed([sys.executable, "-u", *README.split(), f"--out_dir={out}"], Path(directory))
    said = [(seconds, found) for seconds, line in lines if (found := VALIDATION.match(line))]
    return Run("nanoGPT", wall, cpu, [(int(found[1]), seconds, float(found[2])) for seconds, found in said])


def timed(command: Sequence[str], where: Path) -> tuple[list[tuple[float, str]], float, float]:
    """What a command says, each line with the seconds since its start; its wall seconds and its CPU seconds."""
    before, began = os.times(), time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, stderr=complaints, text=True) as process,
    ):
        assert process.stdout is not None
        lines = [(time.perf_counter() - began, line) for line in process.stdout]
        code = process.wait()
        complaints.seek(0)
        if code:
            raise SystemExit(f"{' '.join(command)}: {complaints.read()[-2000:]}")
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return lines, wall, cpu
