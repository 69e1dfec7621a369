"""One session of a run: a recipe and a run directory in, a trained model and its checkpoints out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llmkit.checkpoint.store import RunDirectory
from llmkit.models.config import ModelConfig
from llmkit.models.registry import load_family
from llmkit.recipe.schema import Recipe
from llmkit.recipe.tasks import TASKS
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.checkpoints import (
    Best,
    checkpoint_bytes,
    restore_optimizer,
    restore_weights,
    saver,
    warn_of_other_versions,
)
from llmkit.training.device import choose_device, training_dtype
from llmkit.training.disk import refuse_full_disk
from llmkit.training.events import Event, Listener, Warned
from llmkit.training.ingredients import check_ingredients, noted
from llmkit.training.learner import Learner
from llmkit.training.logs import MetricsFile
from llmkit.training.memory import estimate, refuse_what_cannot_fit
from llmkit.training.meter import Meter
from llmkit.training.objectives.given import Given, Vocabulary, make_objective
from llmkit.training.objectives.objective import Objective
from llmkit.training.optim import make_optimizer
from llmkit.training.parallel.place import Place
from llmkit.training.parallel.spread import spread_over
from llmkit.training.parallel.world import ALONE, World
from llmkit.training.prepare import Prepared
from llmkit.training.progress import Progress
from llmkit.training.resume import Resumption
from llmkit.training.seeds import Purpose, seed_torch
from llmkit.training.signals import StopRequest
from llmkit.training.teacher import load_teacher, teacher_ingredient
from llmkit.training.tensorboard import DIRECTORY, Board
from llmkit.training.token_ids import token_ids
from llmkit.training.trainer import Trainer

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel


@dataclass(frozen=True)
class Outcome:
    """How a session ended. reason: finished or stopped; step: the newest checkpoint's."""

    reason: str
    step: int
    progress: Progress


def pretrain(
    recipe: Recipe,
    run: RunDirectory,
    prepared: Prepared,
    *,
    resumption: Resumption | None = None,
    allow: Iterable[str] = (),
    listeners: Sequence[Listener] = (),
    stop: StopRequest | None = None,
    world: World = ALONE,
) -> Outcome:
    """Train the recipe's model on the prepared text, from random weights or from `resumption`.

    The caller holds the run's lock; of several processes in `world`, all of which call this, the first one does.
    Raises what Trainer.run raises, and InputRefused when the text is not the one the run began with.
    """
    assert recipe.model is not None, "a recipe for pre-training has a model section"
    with world.together():
        ingredients = prepared.ingredients | teacher_ingredient(recipe, run.path.parent)
        if resumption is not None:
            check_ingredients(resumption, ingredients, allow)
    device = set_up(recipe, world.place)
    config = model_config(recipe, prepared.tokenizer)
    # Each process holds its share of a batch; on processors all of them take from the same memory.
    share = max(1, recipe.train.batch_size // (world.size if device.type == "cuda" else 1))
    need = estimate(config, replace(recipe.train, batch_size=share), recipe.objective)
    # What each process holds: all of it, or its part; together on a machine's processors.
    of_all = 1.0 if device.type == "cuda" else float(world.place.local_size)
    if recipe.train.parallel == "fsdp":
        of_all /= world.size
    lasting = {name: int(of_all * getattr(need, name)) for name in ("weights", "gradients", "optimizer")}
    need = replace(need, **lasting)
    with world.together():
        refuse_what_cannot_fit(need, device)
    seed_torch(recipe.train.seed, Purpose.WEIGHTS)
    model = load_family(recipe.model.family).build(config)
    if world.size == 1 or recipe.train.parallel == "ddp":  # what is cut up goes to its devices part by part
        model = model.to(device)
    objective = make_objective(replace(given(recipe, prepared, config, run.path.parent, model), device=device))
    return train(
        recipe,
        run,
        model,
        objective,
        prepared.tokenizer,
        meta=noted(ingredients),
        resumption=resumption,
        listeners=listeners,
        stop=stop,
        origin=recipe.model.family,
        world=world,
        device=device,
    )


def train(
    recipe: Recipe,
    run: RunDirectory,
    model: nn.Module,
    objective: Objective,
    tokenizer: Tokenizer,
    *,
    meta: dict[str, Any],
    resumption: Resumption | None,
    listeners: Sequence[Listener],
    stop: StopRequest | None,
    origin: str,
    better: tuple[str, bool] = ("loss", False),
    best: Best | None = None,
    world: World = ALONE,
    device: torch.device | None = None,
) -> Outcome:
    """Run the loop on any model and objective, with checkpoints in `run` and metrics.jsonl beside them.

    origin: what the start event calls the model. best: if given, checkpoints hold the weights with the best validation
    score, and the newest ones as state. world, device: the processes that train together, and where this one computes.
    Raises StorageError before the first step when the disk has no room for the checkpoints.
    """
    device = device or next(model.parameters()).device
    with world.together():
        progress = restore_weights(resumption, model, objective, best, world) if resumption is not None else None
    spread = spread_over(Learner(model, objective), recipe.train.parallel, world, device)
    optimizer = make_optimizer(spread.learner, recipe.train, spread)
    with world.together():
        if resumption is not None:
            restore_optimizer(resumption, optimizer, spread)
    done, n_bytes = resumption.step if resumption else 0, checkpoint_bytes(model, optimizer, objective, spread, best)
    dtype = training_dtype(recipe.train.dtype, device)
    with world.together(), contextlib.ExitStack() as listening:
        emit: Listener = lambda event: None
        sync: Callable[[], None] = lambda: None
        if world.is_first:
            refuse_full_disk(run.path, n_bytes, recipe.train, step=done, kept=len(run.checkpoints()))
            metrics = MetricsFile(run.path, done)
            listening.callback(metrics.close)
            hear: list[Listener] = [metrics, *listeners]
            if recipe.train.tensorboard:
                board = Board(run.path / DIRECTORY, done)
                listening.callback(board.close)
                hear.insert(1, board)
            if best is not None:
                hear.insert(1, lambda event: best.note(event, model))
            meter = Meter(
                model,
                objective,
                recipe.train,
                device,
                dtype,
                seconds=metrics.seconds,
                devices=world.size,
            )
            emit, sync = telling(meter, hear), metrics.sync
        open_logs = listening.pop_all()
    save = saver(recipe, run, model, optimizer, objective, tokenizer, meta=meta, before=sync, spread=spread, best=best)
    if stop is not None:
        stop.defer()
    with open_logs:
        if resumption is not None:
            warn_of_other_versions(resumption, spread, emit)
        for remark in getattr(objective, "remarks", ()):
            emit(Warned(done, remark))
        if recipe.train.compile and spread.is_cut:
            emit(Warned(done, "train.compile: blocks that are cut up (train.parallel=fsdp) train uncompiled"))
        elif recipe.train.compile:
            from llmkit.training.compiling import compile_blocks

            for remark in compile_blocks(model, device):
                emit(Warned(done, remark))
        trainer = Trainer(
            model,
            objective,
            optimizer,
            recipe.train,
            progress=progress,
            save=save,
            emit=emit,
            stop=stop,
            better=better,
            spread=spread,
        )
        reason = trainer.run(run.path.name, origin)
    return Outcome(reason, trainer.progress.step, trainer.progress)


def telling(meter: Meter, listeners: Sequence[Listener]) -> Listener:
    """A listener that completes each event and passes it on to all others."""

    def tell(event: Event) -> None:
        event = meter(event)
        for listener in listeners:
            listener(event)

    return tell


def set_up(recipe: Recipe, place: Place | None = None) -> torch.device:
    """Threads and device as the recipe says; of several processes on a machine each has a GPU of its own."""
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    return choose_device(recipe.train.device, place)


def model_config(recipe: Recipe, tokenizer: Tokenizer) -> ModelConfig:
    """The configuration of the recipe's model for this tokenizer, with the head its objective needs."""
    assert recipe.model is not None
    config_class = load_family(recipe.model.family).config_class
    fields = recipe.model.fields
    ids = {name: i for name, i in token_ids(config_class, tokenizer).items() if fields.get(name) is None}
    brought = TASKS[recipe.objective.name].config
    return config_class(**{**fields, **ids, **brought}, vocab_size=tokenizer.vocab_size, head=head_for(recipe))


def head_for(recipe: Recipe) -> str:
    """The head that the recipe's objective trains; the recipe was checked for its model to have one."""
    assert recipe.model is not None
    head = TASKS[recipe.objective.name].head(load_family(recipe.model.family), recipe.objective)
    assert head is not None
    return head


def given(recipe: Recipe, prepared: Prepared, config: ModelConfig, store: Path, model: AnyModel | None = None) -> Given:
    """What the recipe's objective is made from; without a model it can show examples, not train."""
    return Given(
        objective=recipe.objective,
        train=recipe.train,
        config=config,
        words=Vocabulary.of(prepared.tokenizer),
        text=prepared.train,
        validation=prepared.validation,
        tokenizer=prepared.tokenizer,
        load=lambda ref: load_teacher(ref, store, prepared.tokenizer),
        model=model,
    )
