"""One session of a run: a recipe and a run directory in, a trained model and its checkpoints out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmkit.checkpoint.hf_layout import read_model, write_model
from llmkit.checkpoint.state import load_state, save_state
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused
from llmkit.models.config import ModelConfig
from llmkit.models.registry import load_family
from llmkit.recipe.resolved import digest, to_yaml
from llmkit.recipe.schema import Recipe
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.device import choose_device
from llmkit.training.events import Evaluation, Event, Listener, Warned
from llmkit.training.logs import MetricsFile
from llmkit.training.memory import estimate, refuse_what_cannot_fit
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.masked import Masked, MaskTokens, Text
from llmkit.training.objectives.objective import Objective
from llmkit.training.optim import Optimizer, make_optimizer
from llmkit.training.prepare import Prepared
from llmkit.training.resume import RECIPE, Resumption, check_digests
from llmkit.training.samples import continuation, filled_mask
from llmkit.training.seeds import Purpose, seed_torch
from llmkit.training.signals import StopRequest
from llmkit.training.trainer import Commit, Progress, Trainer

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus


# Prefix of the newest weights in the training state, where the model file holds the best ones.
LAST = "last."


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
    objective = make_objective(recipe, prepared)
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
    better: tuple[str, bool] = ("loss", False),
    best: Best | None = None,
) -> Outcome:
    """Run the loop on any model and objective, with checkpoints in `run` and metrics.jsonl beside them.

    best: if given, checkpoints hold the weights with the best validation score, and the newest ones as state.
    """
    optimizer = make_optimizer(model, recipe.train)
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
        reason = trainer.run(run.path.name)
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


def make_objective(recipe: Recipe, prepared: Prepared) -> Objective:
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
    special = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert None not in special, "the tokenizer was checked for the tokens of the masked objective"
    cls, sep, mask = (int(i) for i in special if i is not None)
    return Masked(
        text_of(prepared.train),
        MaskTokens(cls, sep, mask, tokenizer.pad_id or 0, ordinary_ids(tokenizer)),
        seq_len=t.seq_len,
        batch_size=t.batch_size,
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


def saver(
    recipe: Recipe,
    run: RunDirectory,
    model: Any,
    optimizer: Optimizer,
    tokenizer: Tokenizer,
    *,
    meta: dict[str, Any],
    before: Callable[[], None],
    best: Best | None = None,
) -> Callable[[Progress], Commit]:
    """The function that commits one checkpoint and then removes the ones no longer kept."""
    text = to_yaml(recipe)
    full_meta = {**meta, "recipe": digest(recipe), "threads": torch.get_num_threads()}
    state_bytes = sum(t.numel() * t.element_size() for t in optimizer.state().values())
    model_bytes = sum(p.numel() * p.element_size() for p in model.parameters())

    def save(progress: Progress) -> Commit:
        def write(directory: Path) -> None:
            write_model(directory, best.model if best is not None and best.model is not None else model)
            tokenizer.save(directory)
            (directory / RECIPE).write_text(text, encoding="utf-8")
            newest = best.newest_weights(model, progress) if best is not None else {}
            save_state(directory, {**optimizer.state(), **newest}, progress.to_values())

        before()
        checkpoint = run.save(
            progress.step, write, meta=full_meta, predicted_bytes=state_bytes + model_bytes + (1 << 20)
        )
        run.prune(recipe.train.keep)
        return Commit(checkpoint.path, checkpoint.manifest.n_bytes)

    return save


@torch.no_grad()
def restore(resumption: Resumption, model: Any, optimizer: Optimizer, best: Best | None = None) -> Progress:
    """Copy the weights and the optimizer state of a checkpoint into place; return where the run was."""
    path = resumption.checkpoint.path
    stored = read_model(path, verify=False)  # it was verified when it was chosen
    tensors, values = load_state(path)
    progress = Progress.from_values(values)
    model.load_state_dict(stored.state_dict())
    newest = {name: tensors.pop(LAST + name) for name in dict(model.named_parameters()) if LAST + name in tensors}
    model.load_state_dict(newest, strict=False)
    if best is not None and progress.best_score is not None:
        best.model = stored.to(next(model.parameters()).device)
    live = optimizer.state()
    if live.keys() != tensors.keys():
        odd = sorted(live.keys() ^ tensors.keys())
        raise InputRefused(f"{path}: the optimizer state is another optimizer's (first difference: {odd[0]})")
    for name, tensor in live.items():
        if tensor.shape != tensors[name].shape:
            raise InputRefused(f"{path}: optimizer state {name} is {tuple(tensors[name].shape)}")
        tensor.copy_(tensors[name])
    return progress


class Best:
    """The weights with the best validation score so far; `model` is None until there was one."""

    def __init__(self) -> None:
        self.model: Any = None

    def note(self, event: Event, model: nn.Module) -> None:
        """Copy the weights when an evaluation found them better than all before."""
        if isinstance(event, Evaluation) and event.better:
            if self.model is None:
                self.model = copy.deepcopy(model)
            else:
                self.model.load_state_dict(model.state_dict())

    def newest_weights(self, model: nn.Module, progress: Progress) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the best weights for the run to go on; empty if they are the same."""
        if self.model is None or progress.best_step == progress.step:
            return {}
        return {LAST + name: p.detach() for name, p in model.named_parameters()}


def warn_of_other_versions(resumption: Resumption, emit: Listener) -> None:
    """Say when bit-for-bit equality with an uninterrupted run is not to be expected."""
    then = resumption.checkpoint.manifest
    threads = then.meta.get("threads")
    if str(torch.__version__) != then.versions.get("torch"):
        emit(Warned(resumption.step, f"torch is {torch.__version__} now and was {then.versions.get('torch')}"))
    if threads not in (None, torch.get_num_threads()):
        emit(Warned(resumption.step, f"{torch.get_num_threads()} threads now, {threads} then: last digits may differ"))
