"""What `pretrain` and `finetune` do alike around the training itself: plan, find the run, own it, leave it if done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.checkpoint.refs import check_name, default_store
from llmkit.checkpoint.store import RunDirectory
from llmkit.cli.training import Talk, print_event, put_result, say_finished, say_plainly, session, show_plan
from llmkit.errors import UsageError
from llmkit.recipe.schema import Recipe
from llmkit.training.parallel.place import Place
from llmkit.training.resume import Resumption, find_resumption, is_finished
from llmkit.training.signals import StopRequest

if TYPE_CHECKING:
    from llmkit.training.parallel.world import World
    from llmkit.training.prepare import Prepared


@dataclass(frozen=True)
class OpenRun:
    """A run with steps left to do; this process holds its lock and hears its signals.

    root: the store. resumption: where it goes on, None for a new run. allow: keys of the recipe that may have changed.
    world: the processes that train together, if there are several; the first one holds the lock then.
    """

    recipe: Recipe
    root: Path
    directory: RunDirectory
    resumption: Resumption | None
    allow: list[str]
    talk: Talk
    stop: StopRequest
    world: World | None = None

    def prepare(self) -> Prepared:
        """The text and the tokenizer."""
        if self.world is None:
            from llmkit.training.prepare import prepare_in_cache

            return prepare_in_cache(self.recipe, self.root, self.resumption, say=self.talk.say)
        from llmkit.training.parallel.preparing import prepare_together

        return prepare_together(self.world, self.recipe, self.root, self.resumption, say=self.talk.say)

    @property
    def together(self) -> dict[str, Any]:
        """What else training on several processes is told."""
        return {} if self.world is None else {"world": self.world}


def with_largest_batch(recipe: Recipe, directory: RunDirectory, say: Callable[[str], None]) -> Recipe:
    """What --auto-batch makes of the recipe; the choice is said, and with --json the plan and the run show it."""
    from llmkit.training.auto_batch import choose

    chosen = choose(recipe, directory, say)
    say(chosen.words())
    return chosen.applied_to(recipe)


def carry_out(
    recipe: Recipe,
    train: Callable[[OpenRun], None],
    *,
    name: str | None,
    store: Path | None,
    dry_run: bool,
    allow: list[str] | None,
    as_json: bool,
    quiet: bool,
    auto_batch: bool = False,
) -> None:
    """Call `train` with the open run, unless this is a dry run or nothing is left to do, which is said instead."""
    root = default_store(store)
    directory = RunDirectory(root / check_name(name or recipe.name))
    if auto_batch and Place.from_environment().size > 1:
        raise UsageError("--auto-batch is for one process", "choose --set train.batch_size=N, which they share")
    if dry_run or auto_batch:
        # Else torch tells what its profiler, which counts memory, has not seen.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if dry_run:
        if auto_batch:
            recipe = with_largest_batch(recipe, directory, (lambda line: None) if quiet or as_json else say_plainly)
        from llmkit.render.console import is_terminal

        if not quiet and not as_json and is_terminal(sys.stderr):
            say_plainly("measuring a few steps, which takes a minute or two for a large model")
        show_plan(recipe, directory, as_json=as_json)
        return
    place = Place.from_environment()
    if place.size > 1:
        from llmkit.cli.training_group import carry_out_together

        carry_out_together(
            place, recipe, train, root=root, directory=directory, allow=allow or [], as_json=as_json, quiet=quiet
        )
        return
    talk = Talk(as_json, quiet)
    with session(directory, talk) as stop:
        recipe = with_largest_batch(recipe, directory, talk.say) if auto_batch else recipe
        if auto_batch and as_json:
            print_event("auto_batch", batch_size=recipe.train.batch_size, accumulate=recipe.train.accumulate)
        resumption = find_resumption(directory, recipe, allow=allow or [], warn=talk.warn)
        if resumption is not None and is_finished(resumption, recipe):
            say_finished(resumption, directory.path, talk)
            put_result(directory.path, resumption.step, talk)
            return
        if resumption is not None:
            talk.recall(directory.path, resumption.step)
        if recipe.train.device not in ("auto", "cpu"):
            from llmkit.training.device import choose_device

            choose_device(recipe.train.device)  # torch takes seconds to import, but reading the text may take minutes
        train(OpenRun(recipe, root, directory, resumption, allow or [], talk, stop))
