"""The recipe's objective over random tokens: what a plan tries out before there is a text or a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmkit.data.corpus import TokenCorpus
from llmkit.models.config import ModelConfig
from llmkit.recipe.schema import Recipe, TrainSettings
from llmkit.recipe.tasks import SENTINELS, Form, task_of
from llmkit.tokenization.framing import Framed
from llmkit.training.objectives.classify import Classify, Labelled
from llmkit.training.objectives.given import Given, Vocabulary, make_objective
from llmkit.training.objectives.objective import Objective

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel


def made_up(
    recipe: Recipe,
    config: ModelConfig,
    settings: TrainSettings,
    model: AnyModel | None = None,
    load: Callable[[str], AnyModel] | None = None,
) -> Objective:
    """The recipe's objective over random tokens, enough for a step or two. model, load: as in Given."""
    rng = np.random.default_rng(0)
    n, v, rows = settings.seq_len, config.vocab_size, settings.batch_size * settings.accumulate
    if recipe.objective.name == "classify":
        texts = [Framed(row.tolist()) for row in rng.integers(v, size=(4 * rows, n))]
        labels = np.arange(4 * rows, dtype=np.int64) % len(config.labels)
        data = Labelled(texts, labels)
        return Classify(data, None, n_labels=len(config.labels), pad_id=0, batch_size=settings.batch_size, seed=0)
    n = max(n, config.max_seq_len) if recipe.objective.long_share else n
    task = task_of(recipe)
    given = Given(
        objective=recipe.objective,
        train=settings,
        config=config,
        words=made_up_words(v),
        text=made_up_text(rng, v, n, 2 * rows + 4),
        load=load,
        model=model,
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
