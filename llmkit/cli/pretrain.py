"""`llmkit pretrain`: train a model from random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.cli.options import Quiet, Set, Store
from llmkit.cli.training import (
    AllowChange,
    DryRun,
    EventLines,
    RecipeArgument,
    RunName,
    TrainDevice,
    end,
    read_recipe,
)

if TYPE_CHECKING:
    from llmkit.cli.training_run import OpenRun


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
    from llmkit.cli.training_run import carry_out

    chosen = read_recipe(recipe, overrides, device, allow_change, finetune=False)
    carry_out(chosen, _train, name=run, store=store, dry_run=dry_run, allow=allow_change, as_json=as_json, quiet=quiet)


def _train(run: OpenRun) -> None:
    from llmkit.training.prepare import prepare_in_cache

    # The text is read in a thread while torch, which takes seconds, is imported in this one.
    reading = run.stop.begin(lambda: prepare_in_cache(run.recipe, run.root, run.resumption, say=run.talk.say))
    from llmkit.training.session import pretrain as train

    outcome = train(
        run.recipe,
        run.directory,
        reading.result(),
        resumption=run.resumption,
        allow=run.allow,
        listeners=run.talk.listeners,
        stop=run.stop,
    )
    is_causal = run.recipe.objective.name == "causal"
    hint = 'llmkit generate --prompt "..."' if is_causal else 'llmkit predict fill-mask "Some words and a [MASK]."'
    end(outcome.reason, outcome.step, run.directory.path, run.stop, run.talk, hint=hint)
