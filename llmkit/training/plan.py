"""What a run will take, before it takes it: parameters, tokens, memory, disk, and time from a short probe.

Nothing is left behind: no run directory, no cache, no tokenizer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from llmkit.checkpoint.config_json import read_model_config
from llmkit.checkpoint.hf_layout import read_model
from llmkit.data.parallel import PairPart
from llmkit.data.split import Part
from llmkit.data.text_in import is_read_once
from llmkit.data.weights import Weighted, WeightedPairs
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of, load_family
from llmkit.recipe.parameters import count_parameters
from llmkit.recipe.schema import Recipe
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.disk import most_at_once, refuse_full_disk
from llmkit.training.fitting import fitting_batch, fitting_size
from llmkit.training.labelled import find_base, read_tables
from llmkit.training.memory import available, estimate, refuse_what_cannot_fit
from llmkit.training.prepare import named_texts
from llmkit.training.session import head_for, set_up
from llmkit.training.teacher import find
from llmkit.training.trial import try_out

SAMPLE_CHARS = 1 << 20
# Data of more bytes than this have something for both sides of a split.
SMALL_DATA = 1 << 26
# Text behind a token, for a guess at the passes over the data before a tokenizer exists.
BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes, times in seconds; None where it cannot be told.

    active_parameters: those that work on one token. flops: counted operations of the whole run; flops_6nd: the usual
    estimate of them, six for each active parameter and token.
    """

    run: str
    model: str
    device: str
    d_model: int
    n_layers: int
    n_heads: int
    parameters: int
    active_parameters: int
    embedding_parameters: int
    vocab_size: int
    steps: int
    batch_size: int
    accumulate: int
    seq_len: int
    lr: float
    tokens_per_step: int
    tokens: int
    tokens_per_parameter: float
    epochs: float | None
    flops: float
    flops_6nd: float
    memory_weights: int
    memory_gradients: int
    memory_optimizer: int
    memory_activations: int
    memory_other: int
    memory_total: int
    memory_available: int | None
    disk_checkpoint: int
    disk_total: int
    disk_free: int
    step_seconds: float
    total_seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": "llmkit/plan/1", **asdict(self)}


def make_plan(recipe: Recipe, store: Path) -> Plan:
    """Plan the run. Raises OutOfMemory or StorageError for one that cannot fit, and what the data are refused for."""
    device, t = set_up(recipe), recipe.train
    config, tokens_in_data = sizes(recipe, store)
    guess = estimate(config, t, recipe.objective)
    have = available(device)
    one = estimate(config, replace(t, batch_size=1), recipe.objective)
    refuse_what_cannot_fit(one, device, lambda: fitting_size(recipe, config, have))
    # Fine-tuning may have to keep the newest weights beside the best ones.
    checkpoint = guess.checkpoint + (guess.weights if recipe.is_finetune else 0)
    refuse_full_disk(store, checkpoint, t)
    trial = try_out(recipe, config, guess, device, have, lambda ref: read_model(find(ref, store)))
    need = guess
    if trial.footprint is not None:
        need = trial.footprint.need(t.batch_size, t.accumulate)
        footprint = trial.footprint
        refuse_what_cannot_fit(
            need,
            device,
            lambda: fitting_batch(recipe, config, footprint, have) or fitting_size(recipe, config, have),
            is_measured=True,
        )
        checkpoint = need.checkpoint + (need.weights if recipe.is_finetune else 0)
        refuse_full_disk(store, checkpoint, t)
    active = count_parameters(family_of(config), config)
    at_work = need.parameters - (active.total - active.active)
    tokens_per_step = t.batch_size * t.accumulate * t.seq_len
    tokens = tokens_per_step * t.steps
    return Plan(
        run=recipe.name,
        model=family_of(config).name,
        device=str(device),
        d_model=config.d_model,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        parameters=need.parameters,
        active_parameters=at_work,
        embedding_parameters=need.embedding_parameters,
        vocab_size=config.vocab_size,
        steps=t.steps,
        batch_size=t.batch_size,
        accumulate=t.accumulate,
        seq_len=t.seq_len,
        lr=t.lr,
        tokens_per_step=tokens_per_step,
        tokens=tokens,
        tokens_per_parameter=tokens / at_work,
        epochs=tokens / tokens_in_data if tokens_in_data else None,
        flops=trial.flops * t.steps,
        flops_6nd=6.0 * at_work * tokens,
        memory_weights=need.weights,
        memory_gradients=need.gradients,
        memory_optimizer=need.optimizer,
        memory_activations=need.activations,
        memory_other=need.other,
        memory_total=need.total,
        memory_available=have,
        disk_checkpoint=checkpoint,
        disk_total=checkpoint * most_at_once(t),
        disk_free=_free(store),
        step_seconds=trial.seconds,
        total_seconds=trial.seconds * t.steps,
    )


def sizes(recipe: Recipe, store: Path) -> tuple[ModelConfig, float | None]:
    """The model's configuration as far as it is known now, and about how many tokens the data have."""
    return _finetune_sizes(recipe, store) if recipe.is_finetune else _pretrain_sizes(recipe, store)


def refuse_empty_parts(recipe: Recipe) -> None:
    """Raise what a run would for a side of the split that holds nothing, as small data may leave one; stdin aside."""
    train, validation = named_texts(recipe)
    if isinstance(train, Part) and isinstance(validation, Part):
        n_bytes = train.source.n_bytes()
        if n_bytes is not None and n_bytes <= SMALL_DATA:
            for part in (train, validation):
                next(part.pieces())


def _pretrain_sizes(recipe: Recipe, store: Path) -> tuple[ModelConfig, float | None]:
    """The model's configuration as far as it is known now, and about how many tokens the data have."""
    assert recipe.model is not None
    assert recipe.tokenizer is not None
    refuse_empty_parts(recipe)
    sample, n_bytes = _sample(recipe)
    settings = recipe.tokenizer
    per_token = BYTES_PER_TOKEN
    if settings.path is not None:
        path = Path(settings.path).expanduser()
        tokenizer = Tokenizer.from_file(path if path.is_file() else find(settings.path, store))
        vocab_size = tokenizer.vocab_size
        if sample:
            text = sample[: 1 << 16]
            per_token = len(text.encode()) / max(1, len(tokenizer.encode(text)))
    elif settings.algorithm == "char":
        vocab_size, per_token = len(set(sample)) + 3, 1.0
    else:
        vocab_size = settings.vocab_size
    config = load_family(recipe.model.family).config_class(
        **recipe.model.fields, vocab_size=max(1, vocab_size), head=head_for(recipe)
    )
    return config, n_bytes / per_token if n_bytes else None


def _sample(recipe: Recipe) -> tuple[str, float | None]:
    """The beginning of the training text, and about how many bytes an epoch has. Stdin and pipes are left alone."""
    d = recipe.data
    named = [n for given in (d.train, d.target) if given for n in ([given] if isinstance(given, str) else given)]
    if any(map(is_read_once, named)):
        return "", None
    text = named_texts(recipe)[0]
    # A part of running text begins after all of it was read, to find where it ends.
    whole = text.source if isinstance(text, Part | PairPart) else text
    parts: list[str] = []
    size = 0
    documents: Iterable[str] = whole.documents()
    for document in islice(documents, 2000):
        parts.append(document)
        size += len(document)
        if size > SAMPLE_CHARS:
            break
    n_bytes = text.epoch_bytes() if isinstance(text, Weighted | WeightedPairs) else text.about_bytes()
    return "".join(parts), float(n_bytes)


def _finetune_sizes(recipe: Recipe, store: Path) -> tuple[ModelConfig, float | None]:
    base = find_base(recipe, store)
    config = read_model_config(base)[1]
    train, _ = read_tables(recipe)
    config = replace(config, head="classification", labels=train.labels)
    return config, float(len(train) * recipe.train.seq_len)


def _free(store: Path) -> int:
    """Free bytes where the store is or will be."""
    place = next(p for p in (store.absolute(), *store.absolute().parents) if p.exists())
    return shutil.disk_usage(place).free
