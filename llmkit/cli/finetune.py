"""`llmkit finetune`: adapt a checkpoint to a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from llmkit.cli.options import Model, Quiet, Set, Store
from llmkit.cli.plotting import Across, Plot, Svg, Upwards
from llmkit.cli.sweeping import Sweep
from llmkit.cli.training import (
    AllowChange,
    AutoBatch,
    DryRun,
    EventLines,
    RecipeArgument,
    RunName,
    TrainDevice,
    end,
    one_recipe,
    read_recipe,
)

if TYPE_CHECKING:
    from llmkit.cli.training_run import OpenRun

Test = Annotated[
    Optional[str],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Option("--test", help="A further table to score the finished model on.", metavar="FILE"),
]


def finetune(
    context: typer.Context,
    recipe: RecipeArgument = None,
    overrides: Set = None,
    model: Model = None,
    test: Test = None,
    run: RunName = None,
    store: Store = None,
    dry_run: DryRun = False,
    auto_batch: AutoBatch = False,
    allow_change: AllowChange = None,
    device: TrainDevice = None,
    sweep: Sweep = None,
    plot: Plot = False,
    svg: Svg = None,
    x: Across = "steps",
    y: Upwards = "loss",
    as_json: EventLines = False,
    quiet: Quiet = False,
) -> None:
    """Adapt a checkpoint to a task. The same command again goes on where it stopped.

    \b
    llmkit finetune sst2                                    the mood of stories
    llmkit finetune sst2 --set data.train=my.csv --run my   texts and labels
    """
    if plot or svg is not None:
        from llmkit.cli.plotting import plot_runs

        plot_runs(recipe or [], run=run, sweep=sweep, store=store, svg=svg, x=x, y=y, as_json=as_json, quiet=quiet)
        return
    from llmkit.cli.training_run import carry_out

    settings = [*(overrides or []), *([f"base={model}"] if model else [])]
    if sweep:
        from llmkit.cli.sweeping import sweep_runs

        path = one_recipe(recipe)
        sweep_runs(
            context,
            path,
            sweep,
            lambda more: read_recipe(path, [*settings, *more], device, allow_change, finetune=True),
            name=run,
            store=store,
            dry_run=dry_run,
            as_json=as_json,
            quiet=quiet,
        )
        return
    chosen = read_recipe(one_recipe(recipe), settings, device, allow_change, finetune=True)
    carry_out(
        chosen,
        lambda opened: _train(opened, test),
        name=run,
        store=store,
        dry_run=dry_run,
        auto_batch=auto_batch,
        allow=allow_change,
        as_json=as_json,
        quiet=quiet,
    )


def _train(run: OpenRun, test: str | None) -> None:
    from llmkit.checkpoint.refs import reference
    from llmkit.training.labelled import find_base, prepare_labelled

    talk = run.talk
    if run.resumption is None:
        base = find_base(run.recipe, run.root)
        talk.say(f"starting from {reference(base, run.root)}")
    else:
        base = run.resumption.checkpoint.path
    reading = run.stop.begin(lambda: prepare_labelled(run.recipe, base, test, say=talk.say))
    from llmkit.training.finetuning import finetune as train

    tuned = train(
        run.recipe,
        run.directory,
        reading.result(),
        base,
        resumption=run.resumption,
        allow=run.allow,
        listeners=talk.listeners,
        stop=run.stop,
        say=talk.say,
    )
    talk.close()
    results = [result.as_json() for result in tuned.results]
    if results:
        from llmkit.render.confusion import confusion_lines

        talk.say(f"the weights kept are those of step {tuned.best_step}, the best on the validation texts")
        for result in results:
            for line in confusion_lines(result):
                talk.say(line)
    reason, step = tuned.outcome.reason, tuned.outcome.step
    end(reason, step, run.directory.path, run.stop, talk, hint='llmkit predict classify "..."', results=results)
