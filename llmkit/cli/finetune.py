"""`llmkit finetune`: adapt a checkpoint to a task."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from llmkit.cli.options import Model, Quiet, Set, Store
from llmkit.cli.training import AllowChange, DryRun, EventLines, RecipeArgument, RunName, TrainDevice

Test = Annotated[
    Optional[str],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Option("--test", help="A further table to score the finished model on.", metavar="FILE"),
]


def finetune(
    recipe: RecipeArgument,
    overrides: Set = None,
    model: Model = None,
    test: Test = None,
    run: RunName = None,
    store: Store = None,
    dry_run: DryRun = False,
    allow_change: AllowChange = None,
    device: TrainDevice = None,
    as_json: EventLines = False,
    quiet: Quiet = False,
) -> None:
    """Adapt a checkpoint to a task. The same command again goes on where it stopped.

    \b
    llmkit finetune sst2                                    the mood of stories
    llmkit finetune sst2 --set data.train=my.csv --run my   texts and labels
    """
    from llmkit.checkpoint.refs import check_name, default_store, reference
    from llmkit.checkpoint.store import RunDirectory
    from llmkit.cli.training import Talk, end, put_result, read_recipe, say_finished, session
    from llmkit.training.labelled import find_base, prepare_labelled
    from llmkit.training.resume import find_resumption, is_finished

    settings = [*(overrides or []), *([f"base={model}"] if model else [])]
    chosen = read_recipe(recipe, settings, device, allow_change, finetune=True)
    root = default_store(store)
    directory = RunDirectory(root / check_name(run or chosen.name))
    if dry_run:
        from llmkit.cli.training import show_plan

        show_plan(chosen, directory, as_json=as_json)
        return
    talk = Talk(as_json, quiet)
    allow = allow_change or []
    with session(directory, talk) as stop:
        resumption = find_resumption(directory, chosen, allow=allow, warn=talk.warn)
        if resumption is not None and is_finished(resumption, chosen):
            say_finished(resumption, directory.path, talk)
            put_result(directory.path, resumption.step, talk)
            return
        if resumption is None:
            base = find_base(chosen, root)
            talk.say(f"starting from {reference(base, root)}")
        else:
            base = resumption.checkpoint.path
        reading = stop.begin(lambda: prepare_labelled(chosen, base, test, say=talk.say))
        from llmkit.training.finetuning import finetune as train

        tuned = train(
            chosen,
            directory,
            reading.result(),
            base,
            resumption=resumption,
            allow=allow,
            listeners=talk.listeners,
            stop=stop,
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
        end(
            tuned.outcome.reason,
            tuned.outcome.step,
            directory.path,
            stop,
            talk,
            hint='llmkit predict classify "..."',
            results=results,
        )
