"""What a run will take, before it takes it: parameters, tokens, memory, disk, and time from a short probe.

Nothing is left behind: no run directory, no cache, no tokenizer.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmkit.checkpoint.config_json import read_model_config
from llmkit.checkpoint.refs import resolve
from llmkit.data.corpus import TokenCorpus
from llmkit.data.sources import STORIES, open_source
from llmkit.data.split import Part
from llmkit.data.text_in import STDIN
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of, load_family
from llmkit.recipe.schema import Recipe, TrainSettings
from llmkit.recipe.tasks import SENTINELS, TASKS, Form
from llmkit.tokenization.framing import Framed
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.disk import most_at_once, refuse_full_disk
from llmkit.training.labelled import find_base, read_tables
from llmkit.training.learner import Learner
from llmkit.training.memory import Need, available, estimate, refuse_what_cannot_fit
from llmkit.training.objectives.classify import Classify, Labelled
from llmkit.training.objectives.given import Given, Vocabulary, make_objective
from llmkit.training.objectives.objective import Objective
from llmkit.training.optim import make_optimizer
from llmkit.training.prepare import named_texts
from llmkit.training.session import head_for, set_up
from llmkit.training.trainer import Trainer

PROBE_STEPS = 3
# A probe of more work than this is made on fewer examples and scaled up: about ten seconds on two slow cores.
PROBE_FLOPS = 1e12
SAMPLE_CHARS = 1 << 20
# Data of more bytes than this have something for both sides of a split.
SMALL_DATA = 1 << 26
# Text behind a token, for a guess at the passes over the data before a tokenizer exists.
BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes, times in seconds; None where it cannot be told."""

    run: str
    model: str
    device: str
    parameters: int
    embedding_parameters: int
    vocab_size: int
    steps: int
    tokens_per_step: int
    tokens: int
    epochs: float | None
    flops: float
    memory_weights: int
    memory_gradients: int
    memory_optimizer: int
    memory_activations: int
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
    device = set_up(recipe)
    if recipe.is_finetune:
        config, tokens_in_data = _finetune_sizes(recipe, store)
    else:
        config, tokens_in_data = _pretrain_sizes(recipe, store)
    need = estimate(config, recipe.train, recipe.objective)
    refuse_what_cannot_fit(need, device)
    t = recipe.train
    tokens_per_step = t.batch_size * t.accumulate * t.seq_len
    # Fine-tuning may have to keep the newest weights beside the best ones.
    checkpoint = need.checkpoint + (need.weights if recipe.is_finetune else 0)
    disk, free = checkpoint * most_at_once(t), _free(store)
    refuse_full_disk(store, checkpoint, t)
    step_seconds = probe(recipe, config, need, device)
    return Plan(
        run=recipe.name,
        model=family_of(config).name,
        device=str(device),
        parameters=need.parameters,
        embedding_parameters=need.embedding_parameters,
        vocab_size=config.vocab_size,
        steps=t.steps,
        tokens_per_step=tokens_per_step,
        tokens=tokens_per_step * t.steps,
        epochs=tokens_per_step * t.steps / tokens_in_data if tokens_in_data else None,
        flops=6.0 * need.parameters * tokens_per_step * t.steps,
        memory_weights=need.weights,
        memory_gradients=need.gradients,
        memory_optimizer=need.optimizer,
        memory_activations=need.activations,
        memory_total=need.total,
        memory_available=available(device),
        disk_checkpoint=checkpoint,
        disk_total=disk,
        disk_free=free,
        step_seconds=step_seconds,
        total_seconds=step_seconds * t.steps,
    )


def probe(recipe: Recipe, config: ModelConfig, need: Need, device: torch.device) -> float:
    """Seconds of one optimizer step on made-up tokens: the median of a few, after one that warms up."""
    t = recipe.train
    examples = t.batch_size * t.accumulate
    work = 6.0 * need.parameters * examples * t.seq_len
    rows = max(1, min(t.batch_size, int(t.batch_size * PROBE_FLOPS / max(work, 1.0))))
    accumulate = t.accumulate if rows == t.batch_size else 1
    settings = replace(t, batch_size=rows, accumulate=accumulate)
    torch.manual_seed(0)
    model = family_of(config).build(config).to(device)
    objective = made_up(recipe, config, settings)
    optimizer = make_optimizer(Learner(model, objective), settings)
    trainer = Trainer(model, objective, optimizer, settings)
    seconds = []
    for _ in range(1 + PROBE_STEPS):
        began = time.perf_counter()
        trainer._gradients()
        optimizer.step(0.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:]) * examples / (rows * accumulate)


def made_up(recipe: Recipe, config: ModelConfig, settings: TrainSettings) -> Objective:
    """The recipe's objective over random tokens, enough for a step or two."""
    rng = np.random.default_rng(0)
    n, v, rows = settings.seq_len, config.vocab_size, settings.batch_size * settings.accumulate
    if recipe.objective.name == "classify":
        texts = [Framed(row.tolist()) for row in rng.integers(v, size=(4 * rows, n))]
        labels = np.arange(4 * rows, dtype=np.int64) % len(config.labels)
        data = Labelled(texts, labels)
        return Classify(data, None, n_labels=len(config.labels), pad_id=0, batch_size=settings.batch_size, seed=0)
    n = max(n, config.max_seq_len) if recipe.objective.long_share else n
    task = TASKS[recipe.objective.name]
    given = Given(
        objective=recipe.objective,
        train=settings,
        config=config,
        words=made_up_words(v),
        text=made_up_text(rng, v, n, 2 * rows + 4),
    )
    if task.form is Form.PAIRS:
        given = replace(given, text=replace(given.text, target=made_up_text(rng, v, n, 2 * rows + 4)))
    return make_objective(given)


def made_up_words(vocab_size: int) -> Vocabulary:
    """A vocabulary whose first ids are the special ones."""
    n_holes = min(len(SENTINELS), vocab_size // 4)
    pad, eos, cls, sep, mask = special = [i % vocab_size for i in range(5)]
    holes = tuple(range(vocab_size - n_holes, vocab_size))
    known = frozenset([*special, *holes])
    return Vocabulary(size=vocab_size, sentinels=holes, special=known, pad=pad, eos=eos, cls=cls, sep=sep, mask=mask)


def made_up_text(rng: np.random.Generator, vocab_size: int, seq_len: int, documents: int) -> TokenCorpus:
    """`documents` documents of a good `seq_len` tokens in eight sentences each."""
    sentence = max(1, -(-seq_len // 8))
    ids = rng.integers(min(5, vocab_size - 1), vocab_size, size=documents * 8 * sentence)
    starts = np.arange(0, len(ids) + 1, sentence, dtype=np.int64)
    return TokenCorpus.in_memory(ids, starts[::8], starts)


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
        tokenizer = Tokenizer.from_file(path if path.is_file() else resolve(settings.path, store))
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
    """The beginning of the training text, and about how many bytes all of it has. Stdin is left alone."""
    d = recipe.data
    source = open_source(d.train, field=d.field, stories=d.stories, seed=d.seed)
    if STDIN in source.files:
        return "", None
    parts: list[str] = []
    size = 0
    documents: Iterable[str] = source.documents()
    for document in islice(documents, 2000):
        parts.append(document)
        size += len(document)
        if size > SAMPLE_CHARS:
            break
    text = "".join(parts)
    if d.train == STORIES:
        return text, len(text.encode()) / max(1, len(parts)) * d.stories
    return text, source.n_bytes()


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
