"""A fine-tuning session: a pretrained checkpoint and labelled texts in, a classifier and its scores out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.checkpoint.hf_layout import read_model
from llmkit.checkpoint.store import RunDirectory
from llmkit.data.labelled import Table
from llmkit.errors import UsageError
from llmkit.recipe.schema import Recipe
from llmkit.training.checkpoints import Best
from llmkit.training.events import Listener
from llmkit.training.ingredients import check_ingredients, noted
from llmkit.training.labelled import LabelledText, encode_table
from llmkit.training.objectives.classify import Classify, Labelled
from llmkit.training.resume import Resumption
from llmkit.training.scores import Result
from llmkit.training.seeds import Purpose, seed_torch
from llmkit.training.session import Outcome, set_up, train
from llmkit.training.signals import StopRequest

BETTER = ("accuracy", True)


@dataclass(frozen=True)
class FineTuned:
    """outcome of the loop; best_step: whose weights are stored; results: their scores, once the run is finished."""

    outcome: Outcome
    best_step: int
    results: tuple[Result, ...] = ()


def finetune(
    recipe: Recipe,
    run: RunDirectory,
    text: LabelledText,
    base: Path,
    *,
    resumption: Resumption | None = None,
    allow: Iterable[str] = (),
    listeners: Sequence[Listener] = (),
    stop: StopRequest | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> FineTuned:
    """Fine-tune the model at `base` (when resuming: in the run's own checkpoint) on the labelled texts.

    The caller holds the run's lock. Raises what Trainer.run raises, InputRefused when the data are not those the run
    began with, UsageError when the recipe asks for longer texts than the model can read.
    """
    if resumption is not None:
        check_ingredients(resumption, text.ingredients, allow)
    device = set_up(recipe)
    seed_torch(recipe.train.seed, Purpose.WEIGHTS)
    model: Any = read_model(
        base if resumption is None else resumption.checkpoint.path,
        head="classification",
        labels=text.labels,
        dropout=recipe.objective.dropout,
        dtype="float32",
    ).to(device)
    if resumption is None:
        say(f"a fresh head for {len(text.labels)} labels: {', '.join(text.labels[:12])}")
    if recipe.train.seq_len > model.config.max_seq_len:
        raise UsageError(
            f"train.seq_len is {recipe.train.seq_len}, but the model at {base} reads {model.config.max_seq_len} tokens",
            f"add --set train.seq_len={model.config.max_seq_len}",
        )

    known: dict[int, Labelled] = {}  # by id: what is scored at the end was encoded, and talked about, before

    def encoded(table: Table) -> Labelled:
        if id(table) not in known:
            known[id(table)] = Labelled(*encode_table(table, text.tokenizer, recipe.train.seq_len, say))
        return known[id(table)]

    objective = Classify(
        encoded(text.train),
        encoded(text.validation) if text.validation is not None else None,
        n_labels=len(text.labels),
        pad_id=next((i for i in (model.config.pad_id, text.tokenizer.pad_id) if i is not None), 0),
        batch_size=recipe.train.batch_size,
        seed=recipe.train.seed,
        label_smoothing=recipe.objective.label_smoothing,
    )
    best = Best()
    origin = str(base if resumption is None else resumption.meta.get("base", base))
    outcome = train(
        recipe,
        run,
        model,
        objective,
        text.tokenizer,
        meta={**noted(text.ingredients), "base": origin},
        resumption=resumption,
        listeners=listeners,
        stop=stop,
        origin=origin,
        better=BETTER,
        best=best,
    )
    kept = (best.model if best.model is not None else model).eval()
    results = []
    if outcome.reason == "finished":
        for name, table in (("validation", text.validation), ("test", text.test)):
            if table is not None:
                results.append(Result(name, text.labels, objective.confusion(kept, encoded(table))))
    best_step = outcome.progress.best_step if best.model is not None else outcome.step
    return FineTuned(outcome, best_step, tuple(results))
