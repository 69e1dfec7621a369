"""`carry_out` for one of several processes of a run, as torchrun starts them: they join, and the first one speaks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmkit.checkpoint.store import RunDirectory
from llmkit.cli.launched import begin_to_hear, deliver, was_asked
from llmkit.cli.training import Talk, put_result, say_finished, session
from llmkit.cli.training_run import OpenRun
from llmkit.errors import UsageError
from llmkit.recipe.schema import Recipe
from llmkit.training.parallel.place import Place, refuse_to_spread
from llmkit.training.resume import find_resumption, is_finished

if TYPE_CHECKING:
    from llmkit.training.parallel.world import World


def carry_out_together(
    place: Place,
    recipe: Recipe,
    train: Callable[[OpenRun], None],
    *,
    root: Path,
    directory: RunDirectory,
    allow: list[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Join the other processes and call `train` on all, with the run's directory owned by the first.

    Raises UsageError on all of them for what only one process can do.
    """
    with said_by(place.is_first):
        if recipe.is_finetune:
            raise UsageError("finetune trains in one process", "start it without torchrun")
        refuse_to_spread(recipe, place.size)
    talk = Talk(as_json, quiet) if place.is_first else Talk(False, True, is_mute=True)
    with session(directory, talk, lock=False, is_meant=was_asked, leave=deliver) as stop:
        begin_to_hear()
        # Else torch tells every user of DistributedDataParallel about an option that is chosen on purpose.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        from llmkit.training.device import choose_device
        from llmkit.training.parallel.world import join

        with said_by(place.local_rank == 0):  # machines differ
            device = choose_device(recipe.train.device, place)
        # In a thread, as a signal is not heard while native code waits for processes that may never come.
        world = stop.begin(lambda: join(place, device)).result()
        with world.guard(), left(world), contextlib.ExitStack() as held:
            with world.together():
                if world.is_first:
                    held.enter_context(directory.lock())
            from llmkit.training.parallel.preparing import resume_together

            found = world.first(lambda: find_resumption(directory, recipe, allow=allow, warn=talk.warn), patient=True)
            with world.together():
                resumption = resume_together(world, directory, found)
            if resumption is not None and is_finished(resumption, recipe):
                say_finished(resumption, directory.path, talk)
                put_result(directory.path, resumption.step, talk)
            else:
                if resumption is not None and world.is_first:
                    talk.recall(directory.path, resumption.step)
                train(OpenRun(recipe, root, directory, resumption, allow, talk, stop, world))


@contextlib.contextmanager
def said_by(is_this: bool) -> Iterator[None]:
    """What is refused here is refused on several processes alike: one of them says so."""
    try:
        yield
    except UsageError as error:
        error.is_told = not is_this
        raise


@contextlib.contextmanager
def left(world: World) -> Iterator[None]:
    """End the connection after a run that is finished or saved; after an error the others may not be there for it."""
    try:
        yield
    except typer.Exit:
        world.leave()
        raise
    world.leave()
