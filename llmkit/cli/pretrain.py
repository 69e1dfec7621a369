"""`llmkit pretrain`: train a model from random weights."""

from __future__ import annotations

from llmkit.cli.options import Quiet, Set, Store
from llmkit.cli.training import AllowChange, DryRun, EventLines, RecipeArgument, RunName, TrainDevice


def pretrain(
    recipe: RecipeArgument,
    overrides: Set = None,
    run: RunName = None,
    store: Store = None,
    dry_run: DryRun = False,
    allow_change: AllowChange = None,
    device: TrainDevice = None,
    as_json: EventLines = False,
    quiet: Quiet = False,
) -> None:
    """Train a model from random weights. The same command again goes on where it stopped.

    \b
    llmkit pretrain bert-mini                          a small BERT on stories
    llmkit pretrain gpt-mini --set data.train=my.txt   your own text
    llmkit pretrain my.yaml --dry-run                  what it will take
    """
    from llmkit.checkpoint.refs import check_name, default_store
    from llmkit.checkpoint.store import RunDirectory
    from llmkit.cli.training import Talk, end, put_result, read_recipe, say_finished, session
    from llmkit.training.resume import find_resumption, is_finished

    chosen = read_recipe(recipe, overrides, device, allow_change, finetune=False)
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
        from llmkit.training.prepare import prepare_in_cache

        # The text is read in a thread while torch, which takes seconds, is imported in this one.
        reading = stop.begin(lambda: prepare_in_cache(chosen, root, resumption, say=talk.say))
        from llmkit.training.session import pretrain as train

        outcome = train(
            chosen,
            directory,
            reading.result(),
            resumption=resumption,
            allow=allow,
            listeners=talk.listeners,
            stop=stop,
        )
        is_causal = chosen.objective.name == "causal"
        hint = 'llmkit generate --prompt "..."' if is_causal else 'llmkit predict fill-mask "Some words and a [MASK]."'
        end(outcome.reason, outcome.step, directory.path, stop, talk, hint=hint)
