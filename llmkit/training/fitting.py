"""The nearest setting that fits, for one that does not: as the flags to type."""

from __future__ import annotations

from dataclasses import replace

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig
from llmkit.models.registry import load_family
from llmkit.recipe.resolved import flatten
from llmkit.recipe.scaling import SMALLEST, scale
from llmkit.recipe.schema import Recipe
from llmkit.training.memory import FLOAT, HOLES, LIBRARIES, TRUST, Footprint, divisors, estimate
from llmkit.training.schedule import first_long_step

# What is proposed leaves some memory to others.
MARGIN = 0.9


def cuts(recipe: Recipe, longest: int) -> list[int]:
    """The sizes of batch, rising, in which every step of the recipe has the examples it has.

    longest: most tokens of an example; in steps of long ones fewer make a batch, which must come out even too.
    """
    t = recipe.train
    found = divisors(t.batch_size * t.accumulate)
    if first_long_step(t.steps, recipe.objective.long_share) == t.steps or longest <= t.seq_len:
        return found

    def long_ones(size: int) -> int:
        return max(1, size * t.seq_len // longest) * (t.batch_size * t.accumulate // size)

    return [size for size in found if long_ones(size) == long_ones(t.batch_size)]


def fitting_batch(recipe: Recipe, config: ModelConfig, footprint: Footprint, have: int | None) -> str | None:
    """The same step in smaller parts; None when not even one example fits."""
    t = recipe.train
    examples = t.batch_size * t.accumulate
    room = 0 if have is None else int(MARGIN * have)
    fit = (d for d in cuts(recipe, config.max_seq_len) if footprint.need(d, examples // d).total <= room)
    batch_size = max(fit, default=None)
    if batch_size is None:
        return None
    flags = f"--set train.batch_size={batch_size} --set train.accumulate={examples // batch_size}"
    return f"add {flags}: the same steps in smaller parts; or --auto-batch, which finds that"


def fitting_size(recipe: Recipe, config: ModelConfig, have: int | None) -> str | None:
    """The largest model of the family, smaller than `config`, that can be trained here with one example at a time, as
    `--size`. Activations count as estimated, and what a process takes beyond its tensors too: it should hold."""
    if have is None or recipe.model is None:
        return None
    train = replace(recipe.train, batch_size=1)
    target = min(int(MARGIN * have / (3 * FLOAT)), estimate(config, train, recipe.objective).parameters)
    while target > SMALLEST:
        target = int(float(f"{0.85 * target:.2g}"))
        smaller = scaled_config(recipe, config, target)
        if smaller is None:
            continue
        need = estimate(smaller, train, recipe.objective)
        beyond = HOLES * (need.gradients + need.activations) + LIBRARIES
        if need.lasting + need.activations / TRUST + beyond <= MARGIN * have:
            return f"the largest that fits here is about --size {_short(target)} (with --auto-batch)"
    return None


def scaled_config(recipe: Recipe, config: ModelConfig, target: int) -> ModelConfig | None:
    """The recipe's model with about `target` parameters, by the dial; None where there is none."""
    if recipe.model is None:
        return None
    known = flatten(recipe)
    try:
        found = scale(target, known, given=known, fixed=()).values
    except UsageError:
        return None
    fields = {p.removeprefix("model."): v for p, v in found.items() if p.startswith("model.")}
    vocab_size = found.get("tokenizer.vocab_size", config.vocab_size)
    config_class = load_family(recipe.model.family).config_class
    return config_class(**fields, vocab_size=vocab_size, head=config.head)


def _short(n: int) -> str:
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if n >= unit:
            return f"{n / unit:.3g}{letter}"
    return str(n)
