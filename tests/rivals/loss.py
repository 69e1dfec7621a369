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
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 "
    "--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 "
    "--dropout=0.0"
)


def race(text: str, nanogpt: str, threads: int, pairs: int, changes: Sequence[str]) -> None:
    """Print seconds (wall, and CPU of all threads) and the loss of each run, in turn."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for number in range(pairs):
        runs = [lambda: ours(text, changes), *([lambda: theirs(nanogpt)] if nanogpt else [])]
        for run in runs if number % 2 == 0 else reversed(runs):
            who, loss, wall, cpu = run()
            print(f"{who:8s} loss {loss:.4f}  {wall:6.1f} s  CPU {cpu:6.1f} s", flush=True)


def ours(text: str, changes: Sequence[str]) -> tuple[str, float, float, float]:
    """The shipped recipe on the text."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "llmkit", "pretrain", "shakespeare-char", "--store", store]
        for change in (f"data.train={Path(text).resolve()}", *changes):
            command += ["--set", change]
        _, wall, cpu = timed(command, ROOT)
        metrics = next(Path(store).glob("*/metrics.jsonl")).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in metrics]
        losses = [record["loss"] for record in records if record["event"] == "eval"]
        return "llmkit", losses[-1], wall, cpu


def theirs(directory: str) -> tuple[str, float, float, float]:
    """nanoGPT's own script."""
    with tempfile.TemporaryDirectory() as out:
        said, wall, cpu = timed([sys.executable, *README.split(), f"--out_dir={out}"], Path(directory))
        return "nanoGPT", float(re.findall(r"val loss ([\d.]+)", said)[-1]), wall, cpu


def timed(command: Sequence[str], where: Path) -> tuple[str, float, float]:
    """What a command says, its wall seconds and its CPU seconds."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, wall, cpu
