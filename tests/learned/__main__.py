"""What the recipes learn: python -m tests.learned --store DIR [RECIPE...] [--text FILE]

Runs every recipe that trains from random weights (those finished in the store are not run again), on the built-in
stories or on a text of your own, and prints a Markdown table: the loss at the start and at the end, and what the model
can do afterwards on text it has not seen, in the objective's own figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from llmkit.recipe.find import builtin_names
from llmkit.recipe.load import load_recipe
from llmkit.recipe.tasks import TASKS, Form

# Seconds for one recipe on a busy machine.
PATIENCE = 3600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.learned", description=__doc__)
    parser.add_argument("recipes", nargs="*", help="default: all that start from random weights")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--text", type=Path, help="train on this file; recipes on pairs of texts are left out")
    parser.add_argument("--set", action="append", default=[], help="as of llmkit pretrain, for every recipe")
    options = parser.parse_args()
    names = options.recipes or [name for name in builtin_names() if not load_recipe(name).is_finetune]
    if options.text:
        names = [name for name in names if TASKS[load_recipe(name).objective.name].form is not Form.PAIRS]
    # A student comes after the teacher it learns from.
    names.sort(key=lambda name: load_recipe(name).objective.teacher is not None)
    print("| objective | recipe | model | loss at the start | at the end | on unseen text | time |")
    print("|---|---|---|---|---|---|---|")
    failed = 0
    for name in names:
        code = train(name, options)
        failed += code != 0
        print(row(name, options.store / name) if code == 0 else f"| | {name} | ended with {code} | | | | |", flush=True)
    return failed


def train(name: str, options: argparse.Namespace) -> int:
    """Run or finish one recipe; its exit code."""
    flags = [f"--set={s}" for s in options.set]
    if options.text:
        flags.append(f"--set=data.train={options.text}")
    command = [sys.executable, "-m", "llmkit", "pretrain", name, "--store", str(options.store), "--quiet", *flags]
    return subprocess.run(command, timeout=PATIENCE, stdout=subprocess.DEVNULL, check=False).returncode


def row(name: str, run: Path) -> str:
    """One line of the table from the run's own records."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    steps = [r for r in records if r["event"] == "step"]
    last = [r for r in records if r["event"] == "eval"][-1]
    start = next(r for r in records if r["event"] == "start")
    scores = {k: v for k, v in last.items() if k not in ("event", "step", "seconds", "better", "nonfinite")}
    shown = ", ".join(f"{k} {v:.3g}" for k, v in scores.items() if isinstance(v, float))
    recipe = load_recipe(name)
    minutes = sum(r["seconds"] for r in records if r["event"] == "end") / 60
    return (
        f"| {recipe.objective.name} | `{name}` | {start.get('model', '')}, {start['parameters'] / 1e6:.1f} M | "
        f"{steps[0]['loss']:.3f} | {steps[-1]['loss']:.3f} | {shown} | {minutes:.1f} min |"
    )


if __name__ == "__main__":
    sys.exit(main())
