"""One session of a run: a recipe and a run directory in, a trained model and its checkpoints out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llmkit.checkpoint.store import RunDirectory
from llmkit.models.config import ModelConfig
from llmkit.models.registry import load_family
from llmkit.recipe.schema import Recipe
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.checkpoints import Best, checkpoint_bytes, restore, saver, warn_of_other_versions
from llmkit.training.device import choose_device
from llmkit.training.disk import refuse_full_disk
from llmkit.training.events import Event, Listener
from llmkit.training.logs import MetricsFile
from llmkit.training.memory import estimate, refuse_what_cannot_fit
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.masked import Masked, MaskTokens
from llmkit.training.objectives.objective import Objective
from llmkit.training.objectives.staged import Staged
from llmkit.training.objectives.windows import Text
from llmkit.training.optim import make_optimizer
from llmkit.training.prepare import Prepared
from llmkit.training.progress import Progress
from llmkit.training.resume import Resumption, check_digests
from llmkit.training.samples import continuation, filled_mask
from llmkit.training.schedule import first_long_step
from llmkit.training.seeds import Purpose, seed_torch
from llmkit.training.signals import StopRequest
from llmkit.training.trainer import Trainer

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus


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
) -> Outcome:
    """Train the recipe's model on the prepared text, from random weights or from `resumption`.

    The caller holds the run's lock. Raises what Trainer.run raises, and InputRefused when the text is not the one the
    run began with.
    """
    assert recipe.model is not None, "a recipe for pre-training has a model section"
    if resumption is not None:
        check_digests(resumption, prepared.digest, allow)
    device = set_up(recipe)
    config = model_config(recipe, prepared.tokenizer)
    refuse_what_cannot_fit(estimate(config, recipe.train, recipe.objective), device, with_activations=False)
    seed_torch(recipe.train.seed, Purpose.WEIGHTS)
    model = load_family(recipe.model.family).build(config)
    objective = make_objective(recipe, prepared, config)
    return train(
        recipe,
        run,
        model.to(device),
        objective,
        prepared.tokenizer,
        meta={"digests": prepared.digest},
        resumption=resumption,
        listeners=listeners,
        stop=stop,
        origin=recipe.model.family,
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
) -> Outcome:
    """Run the loop on any model and objective, with checkpoints in `run` and metrics.jsonl beside them.

    origin: what the start event calls the model. best: if given, checkpoints hold the weights with the best validation
    score, and the newest ones as state.
    Raises StorageError before the first step when the disk has no room for the checkpoints.
    """
    optimizer = make_optimizer(model, recipe.train)
    done, kept = resumption.step if resumption else 0, len(run.checkpoints())
    refuse_full_disk(run.path, checkpoint_bytes(model, optimizer, best), recipe.train, step=done, kept=kept)
    progress = restore(resumption, model, optimizer, best) if resumption is not None else None
    metrics = MetricsFile(run.path, progress.step if progress else 0)

    def emit(event: Event) -> None:
        metrics(event)
        if best is not None:
            best.note(event, model)
        for listener in listeners:
            listener(event)

    save = saver(recipe, run, model, optimizer, tokenizer, meta=meta, before=metrics.sync, best=best)
    if stop is not None:
        stop.defer()
    try:
        if resumption is not None:
            warn_of_other_versions(resumption, emit)
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
        )
        reason = trainer.run(run.path.name, origin)
    finally:
        metrics.close()
    return Outcome(reason, trainer.progress.step, trainer.progress)


def set_up(recipe: Recipe) -> torch.device:
    """Threads and device as the recipe says."""
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    return choose_device(recipe.train.device)


def model_config(recipe: Recipe, tokenizer: Tokenizer) -> ModelConfig:
    """The configuration of the recipe's model for this tokenizer, with the head its objective needs."""
    assert recipe.model is not None
    return load_family(recipe.model.family).config_class(
        **recipe.model.fields,
        vocab_size=tokenizer.vocab_size,
        head=head_for(recipe),
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
    )


def head_for(recipe: Recipe) -> str:
    """The head that the recipe's objective trains."""
    if recipe.objective.name == "masked":
        return "pretraining" if recipe.objective.next_sentence else "masked_lm"
    return {"causal": "causal_lm", "classify": "classification"}[recipe.objective.name]


def make_objective(recipe: Recipe, prepared: Prepared, config: ModelConfig) -> Objective:
    """The recipe's objective over the prepared text."""
    o, t, tokenizer = recipe.objective, recipe.train, prepared.tokenizer
    if o.name == "causal":
        validation = prepared.validation
        return Causal(
            prepared.train.ids,
            seq_len=t.seq_len,
            seed=t.seed,
            label_smoothing=o.label_smoothing,
            validation=validation.ids if validation else None,
            validation_bytes=validation.n_bytes if validation else 0,
            eval_batches=t.eval_batches,
            prompt=t.sample_prompt or "",
            continue_text=continuation(tokenizer),
        )
    short = masked(recipe, prepared, t.seq_len, t.batch_size)
    switch = first_long_step(t.steps, o.long_share)
    if switch == t.steps or config.max_seq_len <= t.seq_len:
        return short
    later_batch_size = max(1, t.batch_size * t.seq_len // config.max_seq_len)
    return Staged(
        short,
        masked(recipe, prepared, config.max_seq_len, later_batch_size),
        switch=switch * t.accumulate * t.batch_size,
        batch_size=t.batch_size,
        later_batch_size=later_batch_size,
    )


def masked(recipe: Recipe, prepared: Prepared, seq_len: int, batch_size: int) -> Masked:
    """The masked objective with examples of `seq_len` tokens."""
    o, t, tokenizer = recipe.objective, recipe.train, prepared.tokenizer
    special = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert None not in special, "the tokenizer was checked for the tokens of the masked objective"
    cls, sep, mask = (int(i) for i in special if i is not None)
    return Masked(
        text_of(prepared.train),
        MaskTokens(cls, sep, mask, tokenizer.pad_id or 0, ordinary_ids(tokenizer)),
        seq_len=seq_len,
        batch_size=batch_size,
        seed=t.seed,
        mask_rate=o.mask_rate,
        next_sentence=o.next_sentence,
        label_smoothing=o.label_smoothing,
        validation=text_of(prepared.validation) if prepared.validation else None,
        eval_batches=t.eval_batches,
        fill=filled_mask(tokenizer, t.sample_prompt, prepared.validation or prepared.train, t.seed),
    )


def text_of(corpus: TokenCorpus) -> Text:
    """The arrays of a corpus that the masked objective reads."""
    return Text(corpus.ids, corpus.sentence_starts, corpus.document_sentences)


def ordinary_ids(tokenizer: Tokenizer) -> Any:
    """Ids that stand for text, shape (n,): what a token may be replaced by at random."""
    import numpy as np

    return np.array(sorted(set(range(tokenizer.vocab_size)) - tokenizer.special_ids), dtype=np.int64)
