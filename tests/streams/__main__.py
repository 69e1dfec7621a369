"""Memory and speed as a corpus grows: `python -m tests.streams --sizes 20MB,200MB,2GB`.

Every phase of what happens before step one runs in a process of its own, whose peak resident memory the kernel notes:
learning a tokenizer, tokenizing into the cache, opening the cache, and the first batches of an objective. The text is
made of FILE (the built-in stories unless --text names one): lines in random order, with made-up words among them, so
that the number of different words grows with the size as it does in real text.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
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


def measured(phase: str, file: Path, place: Path, objective: str) -> dict[str, float]:
    """`run_phase` in a process of its own, with its peak."""
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
        result = run_phase(phase, Path(file), Path(place), objective)
        print(json.dumps({**result, "peak": resident()}))
        return
    if options.text:
        text = options.text.read_text(encoding="utf-8")
    else:
        from llmkit.data.stories import stories

        text = "\n".join(sentence for story in stories(20_000) for sentence in story.sentences)
    place = options.place or Path(tempfile.mkdtemp(prefix="llmkit-streams-"))
    place.mkdir(parents=True, exist_ok=True)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        "| corpus | objective | phase | seconds | MB/s | tokens/s | peak MB |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    try:
        for name in options.sizes.split(","):
            size = int(float(name[:-2]) * UNITS[name[-2:]])
            file = place / f"{name}.txt"
            if not file.exists():
                write_text(file, size, text)
            for objective in options.objectives.split(","):
                tokens = None
                for phase in PHASES:
                    found = measured(phase, file, place, objective)
                    seconds, tokens = found["seconds"], found.get("tokens", tokens)
                    speed = f"{file.stat().st_size / seconds / 1e6:.1f}"
                    rate = f"{tokens / seconds:,.0f}" if tokens and phase == "tokenize" else ""
                    row = (name, objective, phase, f"{seconds:.2f}", speed, rate, f"{found['peak'] / 1e6:.0f}")
                    print(f"| {' | '.join(row)} |", flush=True)
    finally:
        if options.place is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
