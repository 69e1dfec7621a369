"""A few steps on made-up tokens: how long one takes, how much arithmetic it is, and what memory it needs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.recipe.scaling import SMALLEST
from llmkit.recipe.schema import Recipe
from llmkit.training.fitting import scaled_config
from llmkit.training.flops import step_flops
from llmkit.training.learner import Learner
from llmkit.training.made_up import made_up
from llmkit.training.memory import Footprint, Need, activations, estimate
from llmkit.training.meter import batch_flops
from llmkit.training.muon import AT_ONCE, grouped, hidden_matrices
from llmkit.training.objectives.objective import sum_of
from llmkit.training.optim import make_optimizer
from llmkit.training.peak import peak_of
from llmkit.training.schedule import first_long_step
from llmkit.training.trainer import Trainer

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel

TIMED_STEPS = 3
# A step of more work than this is tried with fewer examples and scaled up: a few seconds on two slow cores.
MOST_FLOPS = 3e11
# Of the free memory, what a trial may take by a guess that may be wrong by a factor of two.
MOST_MEMORY = 0.4


@dataclass(frozen=True)
class Trial:
    """What was found, for whole steps as the recipe has them, the mean over the run.

    seconds, flops: of a step, validation and checkpoints aside. footprint: None where memory cannot be measured.
    """

    seconds: float
    flops: float
    footprint: Footprint | None


@dataclass(frozen=True)
class _Stage:
    seconds: float
    flops: float
    peaks: dict[int, int | None]
    scratch: int
    lasting: Need


def try_out(
    recipe: Recipe,
    config: ModelConfig,
    need: Need,
    device: torch.device,
    have: int | None,
    load: Callable[[str], AnyModel] | None = None,
) -> Trial:
    """Train a fresh model for a few steps of each kind that the run has. have: free bytes, None if not known.

    A model that would take long, or most of the memory, is tried smaller: time then goes by arithmetic.
    """
    smaller = _stand_in(recipe, config, need, have)
    if smaller is not None:
        its_need = estimate(smaller, recipe.train, recipe.objective)
        return _scaled_up(recipe, config, need, smaller, try_out(recipe, smaller, its_need, device, have, load))
    t = recipe.train
    examples = t.batch_size * t.accumulate
    rows = _rows(recipe, config, need, have)
    torch.manual_seed(0)
    model = family_of(config).build(config).to(device)
    steps = [(0, 1.0)]
    longer = first_long_step(t.steps, recipe.objective.long_share)
    if longer < t.steps and config.max_seq_len > t.seq_len:
        steps = [(0, longer / t.steps), (t.steps, 1 - longer / t.steps)]
        steps = [(step, share) for step, share in steps if share]
    stages = [_stage(recipe, config, model, need, rows, is_late=step > 0, load=load) for step, _ in steps]
    seconds = sum(s.seconds * share for s, (_, share) in zip(stages, steps, strict=True))
    flops = sum(s.flops * share for s, (_, share) in zip(stages, steps, strict=True))
    lines = [_line(s.peaks) for s in stages]
    footprint = None
    known = [line for line in lines if line is not None]
    if len(known) == len(lines):
        fixed, per_example = max(known, key=lambda line: line[0] + line[1] * t.batch_size)
        scratch = max(s.scratch for s in stages)
        footprint = Footprint(stages[0].lasting, fixed, per_example, scratch, on_host=device.type == "cpu")
    return Trial(seconds * examples / rows, flops * examples / rows, footprint)


def _stand_in(recipe: Recipe, config: ModelConfig, need: Need, have: int | None) -> ModelConfig | None:
    """A smaller model of the family to try instead of one that is too large to be tried; None for one that is not."""
    quick = MOST_FLOPS / (12.0 * recipe.train.seq_len)
    most = min(quick, need.parameters * MOST_MEMORY * have / need.lasting) if have is not None else quick
    if need.parameters <= most:
        return None
    found = scaled_config(recipe, config, max(int(most * 0.8), SMALLEST))
    # With the same head and vocabulary, or there is nothing to compare.
    return found if found is not None and found.vocab_size == config.vocab_size else None


def _scaled_up(recipe: Recipe, config: ModelConfig, need: Need, smaller: ModelConfig, trial: Trial) -> Trial:
    """What the trial of a smaller model says of the larger one: by arithmetic, and by the guesses of both's memory."""
    t = recipe.train
    work = step_flops(config, examples=1, seq_len=t.seq_len) / step_flops(smaller, examples=1, seq_len=t.seq_len)
    footprint = trial.footprint
    if footprint is not None:
        kept = activations(config, t, recipe.objective) / max(1, activations(smaller, t, recipe.objective))
        grown = need.parameters / footprint.lasting.parameters
        footprint = Footprint(
            need,
            footprint.fixed * grown,
            footprint.per_example * kept,
            int(footprint.scratch * (_at_once(config) / _at_once(smaller) if t.optimizer == "muon" else grown)),
            footprint.on_host,
        )
    return Trial(trial.seconds * work, trial.flops * work, footprint)


def _at_once(config: ModelConfig) -> int:
    """Elements of the matrices that Muon updates together at most."""
    with torch.device("meta"):
        sizes = {name: p.numel() for name, p in hidden_matrices(family_of(config).build(config)).items()}
    return max((sum(sizes[name] for name in group) for group in grouped(sizes, AT_ONCE)), default=1)


def _rows(recipe: Recipe, config: ModelConfig, need: Need, have: int | None) -> int:
    """Examples to try with: the micro-batch, or as many as are quick and sure to fit."""
    t = recipe.train
    quick = int(MOST_FLOPS / (6.0 * need.parameters * t.seq_len))
    # A longer example must not be more than was asked for.
    shortest = -(-config.max_seq_len // t.seq_len) if recipe.objective.long_share else 2
    rows = min(t.batch_size, max(shortest, quick))
    if have is not None:
        one = activations(config, replace(t, batch_size=1), recipe.objective)
        rows = max(1, min(rows, int((MOST_MEMORY * have - need.lasting) / max(1, one))))
    return rows


def _stage(
    recipe: Recipe,
    config: ModelConfig,
    model: AnyModel,
    need: Need,
    rows: int,
    *,
    is_late: bool,
    load: Callable[[str], AnyModel] | None,
) -> _Stage:
    """Steps from the beginning of the run, or its last ones, with `rows` examples in each."""
    device = next(model.parameters()).device

    def trainer_for(n: int) -> Trainer:
        settings = replace(recipe.train, batch_size=n, accumulate=1, steps=max(16, recipe.train.steps))
        objective = made_up(recipe, config, settings, model, load)
        trainer = Trainer(model, objective, make_optimizer(Learner(model, objective), settings), settings)
        trainer.progress.step = settings.steps - 8 if is_late else 0
        return trainer

    trainer = trainer_for(rows)
    trainer._gradients()  # warms up, and leaves gradients: what a pass takes is then counted without them
    peaks = {rows: peak_of(lambda: _pass(trainer), device)}
    if rows > 1:
        fewer = trainer_for(rows // 2)
        peaks[rows // 2] = peak_of(lambda: _pass(fewer), device)
        fewer.feed.close()
    # At a rate of 0 the trials of one model do not depend on each other.
    scratch = peak_of(lambda: trainer.optimizer.step(0.0), device) or 0
    seconds = []
    for _ in range(TIMED_STEPS):
        trainer.progress.step += 1
        began = time.perf_counter()
        trainer._gradients()
        trainer.optimizer.step(0.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    batch = trainer.feed.make(trainer.progress.step)[0]
    flops = batch_flops(model, batch, trainer.objective.partner)
    trainer.feed.close()
    trainer.spread.forget_gradients()
    return _Stage(statistics.median(seconds), flops, peaks, scratch, _lasting(need, trainer))


def _pass(trainer: Trainer) -> None:
    """One forward and backward pass that adds to the gradients there are."""
    batch = trainer.feed.make(trainer.progress.step)[0].to(trainer.device)
    with trainer.precision():
        found = trainer.spread.loss(batch)
        total = sum_of([found[part] / max(1, batch.counts[part]) for part in found])
    total.backward()


def _lasting(need: Need, trainer: Trainer) -> Need:
    """Weights, gradients and optimizer state of all that learns, a second network among it."""

    def n_bytes(tensors: Iterable[Tensor]) -> int:
        return sum(t.numel() * t.element_size() for t in tensors if t.ndim)  # a step count is no matter

    learner = trainer.learner
    return replace(
        need,
        weights=n_bytes(learner.parameters()),
        gradients=n_bytes(learner.learning().values()),
        optimizer=n_bytes(trainer.optimizer.state().values()),
    )


def _line(peaks: dict[int, int | None]) -> tuple[float, float] | None:
    """(fixed, per example) bytes through what was measured; all of it per example where there is one measurement."""
    points = sorted((n, peak) for n, peak in peaks.items() if peak is not None)
    if not points or len(points) < len(peaks):
        return None
    n, peak = points[-1]
    if len(points) == 1:
        return 0.0, peak / n
    m, lower = points[0]
    slope = max(0.0, (peak - lower) / (n - m))
    return max(0.0, peak - slope * n), slope
