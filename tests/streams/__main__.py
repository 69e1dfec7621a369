"""Memory and speed as a corpus grows: `python -m tests.streams --sizes 20MB,200MB,2GB`.

Every phase of what happens before step one runs in a process of its own, whose peak resident memory the kernel notes:
learning a tokenizer, tokenizing into the cache, opening the cache, and the first batches of an objective. The text is
made of FILE (the built-in stories unless --text names one): lines in random order, with made-up words among them, so
that the number of different words grows with the size as it does in real text. CPU seconds count the start of the
process too; memory is the peak of the process, and of the processes it starts together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PHASES = ("learn", "tokenize", "open", "batches")
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


def write_text(path: Path, size: int, text: str) -> None:
    """A file of about `size` bytes."""
    rng, written = random.Random(1), 0
    lines = [line for line in text.split("\n") if line]
    with path.open("w", encoding="utf-8") as out:
        while written < size:
            at, n = rng.randrange(len(lines)), rng.randrange(3, 12)
            paragraph = [
                *lines[at : at + n],
                f"Then {rng.choice(('Tom', 'Ada'))} saw word{rng.randrange(10**6):x}.\n\n",
            ]
            written += out.write("\n".join(paragraph))


def recipe(file: Path, objective: str):
    """A small recipe over the file."""
    from llmkit.recipe.load import parse_recipe

    family = {"causal": "gpt2", "masked": "bert"}[objective]
    algorithm = {"causal": "bpe", "masked": "wordpiece"}[objective]
    return parse_recipe(
        f"model: {{family: {family}, d_model: 64, n_layers: 1, n_heads: 1, max_seq_len: 128}}\n"
        f"tokenizer: {{algorithm: {algorithm}, vocab_size: 8192}}\n"
        f"data: {{train: {json.dumps(str(file))}, validation_fraction: 0}}\n"
        f"objective: {{name: {objective}}}\n"
        "train: {seq_len: 128, batch_size: 32}\n",
        "streams",
    )


def run_phase(phase: str, file: Path, place: Path, objective: str) -> dict[str, float]:
    """One phase, in this process; returns seconds and what else there is to tell."""
    from llmkit.training.prepare import get_tokenizer, named_texts, prepare

    asked = recipe(file, objective)
    saved = place / f"{objective}-tokenizer"
    if phase == "learn":
        from llmkit.recipe.tasks import TASKS

        began = time.perf_counter()
        text, _ = named_texts(asked)
        task = TASKS[objective]
        tokenizer = get_tokenizer(asked.tokenizer, text, place, task=task, say=lambda _: None)
        seconds = time.perf_counter() - began
        saved.mkdir(exist_ok=True)
        tokenizer.save(saved)
        return {"seconds": seconds}
    if phase in ("tokenize", "open"):
        began = time.perf_counter()
        made = prepare(asked, place, place / "cache", tokenizer=saved, say=lambda _: None)
        return {"seconds": time.perf_counter() - began, "tokens": len(made.train)}
    from llmkit.training.feed import Feed
    from llmkit.training.objectives.given import make_objective
    from llmkit.training.session import given, model_config

    made = prepare(asked, place, place / "cache", tokenizer=saved, say=lambda _: None)
    began, before = time.perf_counter(), resident()
    task = make_objective(given(asked, made, model_config(asked, made.tokenizer), place))
    feed = Feed(task, asked.train)
    for step in range(20):
        feed.make(step)
    feed.close()
    return {"seconds": time.perf_counter() - began, "before": before, "examples": task.n_examples}


def resident() -> int:
    """The highest resident memory of this process so far, in bytes; that of its parent does not count."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Helpers(threading.Thread):
    """Watches the memory of the processes that this one starts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.done.wait(0.1):
            total = 0
            for stat in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):
                    fields = stat.read_text().rpartition(")")[2].split()
                    if int(fields[1]) == os.getpid():
                        total += int(fields[21]) * page
            self.peak = max(self.peak, total)


def watched(phase: str, file: Path, place: Path, objective: str) -> dict[str, float]:
    """`run_phase` and what it took."""
    helpers = Helpers()
    helpers.start()
    result = run_phase(phase, file, place, objective)
    helpers.done.set()
    helpers.join()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(u.ru_utime + u.ru_stime for u in used)
    return {**result, "cpu": cpu, "peak": resident(), "helpers": helpers.peak}


def measured(phase: str, file: Path, place: Path, objective: str) -> dict[str, float]:
    """`watched` in a process of its own."""
    command = [sys.executable, "-m", "tests.streams", "--phase", phase, str(file), str(place), objective]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(out.stdout))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.streams", description=__doc__)
    parser.add_argument("--sizes", default="20MB,200MB", help="sizes of the corpus, in kB, MB or GB")
    parser.add_argument("--objectives", default="causal,masked")
    parser.add_argument("--text", type=Path, help="file to make the text of; default: the built-in stories")
    parser.add_argument("--place", type=Path, help="directory for text and cache, which is left alone afterwards")
    parser.add_argument("--phase", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        phase, file, place, objective = options.phase
        print(json.dumps(watched(phase, Path(file), Path(place), objective)))
        return
    if options.text:
        text = options.text.read_text(encoding="utf-8")
    else:
        from llmkit.data.stories import stories

        text = "\n".join(sentence for story in stories(20_000) for sentence in story.sentences)
    place = options.place or Path(tempfile.mkdtemp(prefix="llmkit-streams-"))
    place.mkdir(parents=True, exist_ok=True)
    names = ("corpus", "objective", "phase", "s", "CPU s", "MB/s", "MB/CPU s", "tokens/s", "MB held", "by helpers")
    print(f"{os.cpu_count()} cores\n| {' | '.join(names)} | load |\n|{'---|' * 11}", flush=True)
    try:
        for name in options.sizes.split(","):
            file = place / f"{name}.txt"
            if not file.exists():
                write_text(file, int(float(name[:-2]) * UNITS[name[-2:]]), text)
            size = file.stat().st_size / 1e6
            for objective in options.objectives.split(","):
                for phase in PHASES:
                    found = measured(phase, file, place, objective)
                    seconds, cpu = found["seconds"], found["cpu"]
                    speeds = (
                        (f"{size / seconds:.1f}", f"{size / cpu:.1f}") if phase in ("learn", "tokenize") else ("", "")
                    )
                    rate = f"{found['tokens'] / seconds:,.0f}" if phase == "tokenize" else ""
                    memory = (f"{found['peak'] / 1e6:.0f}", f"{found['helpers'] / 1e6:.0f}")
                    row = (name, objective, phase, f"{seconds:.2f}", f"{cpu:.1f}", *speeds, rate, *memory)
                    print(f"| {' | '.join(row)} | {os.getloadavg()[0]:.0f} |", flush=True)
    finally:
        if options.place is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
