"""`llmkit pretrain`: train a model from random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from llmkit.cli.options import Quiet, Set, Size, Store
from llmkit.cli.plotting import Across, Plot, Svg, Upwards
from llmkit.cli.previewing import PreviewCount
from llmkit.cli.sweeping import Sweep
from llmkit.cli.training import (
    AllowChange,
    AutoBatch,
    Devices,
    DryRun,
    EventLines,
    RecipeArgument,
    RunName,
    TrainDevice,
    end,
    one_recipe,
    read_recipe,
    starts_others,
)

if TYPE_CHECKING:
    from llmkit.cli.training_run import OpenRun


def pretrain(
    context: typer.Context,
    recipe: RecipeArgument = None,
    overrides: Set = None,
    size: Size = None,
    run: RunName = None,
    store: Store = None,
    dry_run: DryRun = False,
    auto_batch: AutoBatch = False,
    preview: PreviewCount = None,
    allow_change: AllowChange = None,
    device: TrainDevice = None,
    devices: Devices = None,
    sweep: Sweep = None,
    plot: Plot = False,
    svg: Svg = None,
    x: Across = "steps",
    y: Upwards = "loss",
    as_json: EventLines = False,
    quiet: Quiet = False,
) -> None:
    """Train a model from random weights. The same command again goes on where it stopped.

    \b
    llmkit pretrain bert-mini                          a small BERT on stories
    llmkit pretrain gpt-mini --set data.train=my.txt   your own text
    llmkit pretrain gpt-mini --size 30M --dry-run      scaled; what it will take
    llmkit pretrain bert-mini --preview 2              what it is made to learn
    llmkit pretrain bert-mini --plot                   what it has learned so far
    llmkit pretrain gpt-mini --devices 2               two processes, one per GPU
    llmkit pretrain my.yaml --sweep train.lr=1e-3,5e-3 which is better
    """
    if plot or svg is not None:
        from llmkit.cli.plotting import plot_runs

        if preview is not None:
            from llmkit.errors import UsageError

            raise UsageError("--preview shows examples, --plot and --svg finished runs", "leave one of them out")

        plot_runs(recipe or [], run=run, sweep=sweep, store=store, svg=svg, x=x, y=y, as_json=as_json, quiet=quiet)
        return
    if sweep:
        from llmkit.cli.sweeping import sweep_runs
        from llmkit.errors import UsageError

        if dry_run and devices not in (None, 1):
            raise UsageError("--dry-run is for one process", "leave --devices out")
        if preview is not None:
            raise UsageError("--preview shows one recipe, --sweep trains several", "leave one of them out")
        path = one_recipe(recipe)
        sweep_runs(
            context,
            path,
            sweep,
            lambda more: read_recipe(
                path, [*(overrides or []), *more], device, allow_change, size=size, finetune=False
            ),
            name=run,
            store=store,
            dry_run=dry_run,
            as_json=as_json,
            quiet=quiet,
        )
        return
    from llmkit.cli.training_run import carry_out

    chosen = read_recipe(one_recipe(recipe), overrides, device, allow_change, size=size, finetune=False)
    if starts_others(devices, chosen) and preview is None:
        from llmkit.checkpoint.refs import check_name
        from llmkit.cli.launch import launch_again
        from llmkit.errors import UsageError

        for flag, is_given in (("--dry-run", dry_run), ("--auto-batch", auto_batch)):
            if is_given:
                raise UsageError(f"{flag} is for one process", "leave --devices out")
        check_name(run or chosen.name)

        raise typer.Exit(launch_again(devices or 1, chosen.train.threads))
    if preview is not None:
        from llmkit.cli.previewing import preview as show

        show(chosen, preview, store=store, as_json=as_json, quiet=quiet)
        return
    carry_out(
        chosen,
        _train,
        name=run,
        store=store,
        dry_run=dry_run,
        auto_batch=auto_batch,
        allow=allow_change,
        as_json=as_json,
        quiet=quiet,
    )


def _train(run: OpenRun) -> None:
    from llmkit.recipe.tasks import TASKS

    # The text is read in a thread while torch, which takes seconds, is imported in this one.
    reading = run.stop.begin(run.prepare)
    from llmkit.training.session import pretrain as train

    outcome = train(
        run.recipe,
        run.directory,
        reading.result(),
        resumption=run.resumption,
        allow=run.allow,
        listeners=run.talk.listeners,
        stop=run.stop,
        **run.together,
    )
    hint = TASKS[run.recipe.objective.name].next
    end(outcome.reason, outcome.step, run.directory.path, run.stop, run.talk, hint=hint)
