"""Whether and from where a run goes on: what the last session left, against what the recipe says now. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmkit.checkpoint.store import Checkpoint, RunDirectory
from llmkit.errors import InputRefused, UsageError
from llmkit.recipe.load import parse_recipe
from llmkit.recipe.resolved import flatten, yaml_value
from llmkit.recipe.schema import Recipe
from llmkit.suggest import did_you_mean
from llmkit.training.schedule import first_long_step, learning_rate

RECIPE = "recipe.yaml"
# These decide what is written down and when, not what is computed.
HARMLESS = frozenset(
    f"train.{key}"
    for key in (
        *("log_every", "eval_every", "eval_batches", "save_every", "keep", "sample_every", "sample_prompt"),
        *("nonfinite", "max_skips"),
        "tensorboard",
        *("threads", "device", "parallel"),  # these may change last digits; the session warns about it
    )
) | {"name"}
# Changing these is harmless as long as the rates of the steps already done stay what they were.
SCHEDULE = frozenset(f"train.{key}" for key in ("steps", "lr", "min_lr", "schedule", "warmup_steps"))


@dataclass(frozen=True)
class Resumption:
    """The checkpoint a run goes on from. values: the plain part of its training state."""

    checkpoint: Checkpoint
    recipe: Recipe
    values: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.checkpoint.step

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the manifest notes: digests of recipe, tokenizer and text."""
        return self.checkpoint.manifest.meta


def find_resumption(
    run: RunDirectory, recipe: Recipe, *, allow: Iterable[str], warn: Callable[[str], None]
) -> Resumption | None:
    """Where the run goes on, or None for a fresh one. The caller holds the run's lock.

    Raises UsageError when the recipe is not the one the run was made with, naming each difference, except in keys
    that change nothing that was computed, or that `allow` names.
    """
    checkpoint = run.latest_valid(lambda broken, reason: warn(f"step {broken.step} is not usable: {reason}"))
    if checkpoint is None:
        newer = [c.step for c in run.checkpoints()]
        if newer:
            raise InputRefused(
                f"no checkpoint of {run.path} verifies (steps {', '.join(map(str, newer))})",
                "choose another name with --run, or delete the damaged checkpoints",
            )
        return None
    found = resumption_at(checkpoint)
    check_unchanged(found.recipe, recipe, checkpoint.step, set(allow), run.path)
    run.prune(recipe.train.keep)  # a session that died between its save and its prune left one too many
    return found


def resumption_at(checkpoint: Checkpoint) -> Resumption:
    """A checkpoint that was found to be valid, as what a run goes on from. InputRefused if it holds no state."""
    from llmkit.checkpoint.files import read_small
    from llmkit.checkpoint.state import load_values

    try:
        text = read_small(checkpoint.path, RECIPE, 1 << 20).decode("utf-8")
    except FileNotFoundError as error:
        raise InputRefused(
            f"{checkpoint.path} holds no training state, so {checkpoint.path.parent} cannot be resumed",
            "choose another --run",
        ) from error
    values = load_values(checkpoint.path)
    return Resumption(checkpoint, parse_recipe(text, str(checkpoint.path / RECIPE)), values)


def check_unchanged(old: Recipe, new: Recipe, step: int, allow: set[str], where: Path) -> None:
    """Raise UsageError for every key that makes the run another one than it was for its first `step` steps."""
    before, after = flatten(old), flatten(new)
    unknown = sorted(allow - before.keys() - after.keys())
    if unknown:
        raise UsageError(f"--allow-change names no key of the recipe: {unknown[0]}", did_you_mean(unknown[0], after))
    changed = [k for k in dict.fromkeys([*before, *after]) if before.get(k) != after.get(k)]
    refused = [k for k in changed if k not in HARMLESS and k not in allow]
    if all(learning_rate(i, old.train) == learning_rate(i, new.train) for i in range(step)) and (
        min(step, _first_long_step(old)) == min(step, _first_long_step(new))
    ):
        refused = [k for k in refused if k not in SCHEDULE]
    if "model.family" in refused or "objective.name" in refused:
        raise UsageError(
            f"{where} holds another run: {_what(old)}, {step:,} steps; the recipe says {_what(new)}",
            "start a new run with --run NAME",
        )
    if bound := [k for k in changed if _is_bound(k)]:
        shown = "; ".join(f"{k}: {_shown(before, k)} -> {_shown(after, k)}" for k in bound)
        raise UsageError(
            f"{where} was trained for {step:,} steps with what cannot change in a run: {shown}",
            "start a new run with --run NAME",
        )
    if refused:
        shown = "; ".join(f"{k}: {_shown(before, k)} -> {_shown(after, k)}" for k in refused)
        flags = " ".join(f"--allow-change {k}" for k in refused)
        raise UsageError(
            f"{where} was trained for {step:,} steps with another recipe: {shown}",
            f"start a new run with --run NAME, or go on with the change: {flags}",
        )


def may_go_on(resumption: Resumption) -> bool:
    """Whether more steps leave the rates and the examples of those done as they were."""
    then = resumption.recipe.train
    longer = replace(then, steps=2 * then.steps)
    share, step = resumption.recipe.objective.long_share, resumption.step
    if min(step, first_long_step(then.steps, share)) != min(step, first_long_step(longer.steps, share)):
        return False
    return all(learning_rate(i, then) == learning_rate(i, longer) for i in range(step))


def is_finished(resumption: Resumption, recipe: Recipe) -> bool:
    """Whether nothing is left to do."""
    return resumption.step >= recipe.train.steps


def _is_bound(key: str) -> bool:
    """Whether weights, optimizer state and token ids of a run only fit the value that a key had at its start."""
    if key.startswith("model."):
        return "drop" not in key
    return key == "train.optimizer" or (key.startswith("tokenizer.") and key != "tokenizer.path")


def _what(recipe: Recipe) -> str:
    return f"{recipe.model.family if recipe.model else recipe.base} on {recipe.objective.name}"


def _first_long_step(recipe: Recipe) -> int:
    return first_long_step(recipe.train.steps, recipe.objective.long_share)


def _shown(values: Mapping[str, Any], key: str) -> str:
    return yaml_value(values[key]) if key in values else "(none)"
