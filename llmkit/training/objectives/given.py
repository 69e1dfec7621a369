"""What an objective is made from, and how the one that a recipe names is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.models.config import ModelConfig
from llmkit.recipe.schema import ObjectiveSettings, TrainSettings
from llmkit.recipe.tasks import SENTINELS
from llmkit.training.objectives.objective import Objective

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus
    from llmkit.models.two_towers import AnyModel
    from llmkit.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The ids that objectives put into examples, or take for something other than text; None where there is none.

    special: all ids that stand for no text. sentinels: ids that name holes, the first hole's first.
    word_edges: two arrays (size,), whether a token begins a word and whether no word goes on after it; None when all
    tokens are words.
    """

    size: int
    pad: int | None = None
    bos: int | None = None
    eos: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    sentinels: tuple[int, ...] = ()
    special: frozenset[int] = frozenset()
    word_edges: Callable[[], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """That of a tokenizer."""
        holes = [tokenizer.id(token) for token in SENTINELS]
        return cls(
            size=tokenizer.vocab_size,
            pad=tokenizer.pad_id,
            bos=tokenizer.bos_id,
            eos=tokenizer.eos_id,
            cls=tokenizer.cls_id,
            sep=tokenizer.sep_id,
            mask=tokenizer.mask_id,
            sentinels=tuple(i for i in holes if i is not None),
            special=tokenizer.special_ids,
            word_edges=lambda: word_edges(tokenizer),
        )

    @property
    def end(self) -> int | None:
        """The id that ends a text written by the model."""
        return self.sep if self.eos is None else self.eos

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """Ids that stand for text, (n,): what a token may be replaced by at random."""
        return np.array(sorted(set(range(self.size)) - self.special), dtype=np.int64)

    @cached_property
    def starts_word(self) -> NDArray[np.bool_]:
        """(size,) whether a token begins a word wherever it stands."""
        return self._edges[0]

    @cached_property
    def ends_word(self) -> NDArray[np.bool_]:
        """(size,) whether the token after this one begins a word whatever it is."""
        return self._edges[1]

    @cached_property
    def _edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        all_words = np.ones(self.size, dtype=np.bool_)
        return (all_words, all_words) if self.word_edges is None else self.word_edges()


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that an objective is made from.

    config: the model's. text, validation: tokenized in the form that the task names. tokenizer: None when a plan is
    made on random tokens; there are no samples then. load: a checkpoint by reference, for objectives with a teacher.
    model: what is to learn, for objectives with a second network beside it; None when examples are only looked at.
    device: where it will learn, if not where it is now.
    """

    objective: ObjectiveSettings
    train: TrainSettings
    config: ModelConfig
    words: Vocabulary
    text: TokenCorpus
    validation: TokenCorpus | None = None
    tokenizer: Tokenizer | None = None
    load: Callable[[str], AnyModel] | None = None
    model: AnyModel | None = None
    device: torch.device | None = None


def make_objective(given: Given) -> Objective:
    """The objective that the recipe names; each has a file of its own in this package. Routers are balanced as well."""
    from llmkit.training.objectives.balanced import balanced

    module = import_module(f"llmkit.training.objectives.{given.objective.name}")
    return balanced(cast(Objective, module.make(given)), given)


def word_edges(tokenizer: Tokenizer) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether a token begins a word, and whether none goes on after it, (vocab,) each, as the tokenizer spells it.

    A piece that goes on has ## before it (WordPiece) or no space in front (byte-level BPE, Unigram). What holds
    neither letter nor digit is a word of its own. In a vocabulary that marks neither (letters), every token is.
    """
    tokens = tokenizer.backend.get_vocab(with_added_tokens=True)
    has_marks = any(t[:1] in _SPACES and len(t) > 1 for t in tokens)
    starts, ends = (np.ones(tokenizer.vocab_size, dtype=np.bool_) for _ in range(2))
    if not has_marks and not any(t.startswith("##") for t in tokens):
        return starts, ends
    for token, i in tokens.items():
        if i in tokenizer.special_ids:
            continue
        # Byte-level vocabularies spell bytes with letters of their own, a line break as well, and cut up characters.
        text = tokenizer.decode_bytes([i]).decode("utf-8", "replace") if tokenizer.is_lossless else token
        is_word = any(c.isalnum() or c == "\ufffd" for c in text)
        is_piece = token.startswith("##") or (has_marks and token[:1] not in _SPACES)
        starts[i], ends[i] = not (is_piece and is_word), not is_word
    return starts, ends


_SPACES = frozenset("Ġ▁")  # how byte-level BPE and Unigram write the space before a word
