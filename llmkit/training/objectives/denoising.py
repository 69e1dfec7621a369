"""Denoising (BART: Lewis et al. 2019, arXiv:1910.13461): write a whole text, given one with holes and out of order.

The sentences of a text are put into a random order. Then runs of tokens, whose lengths are drawn from a Poisson
distribution, are each replaced by one mask token: the model must find out how much is missing, which may be nothing, as
a run of no tokens is a mask put between two. The answer is the text as it was, all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.training.objectives.answering import Answering, Pick
from llmkit.training.objectives.answers import Example
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import Measured, by_length
from llmkit.training.objectives.windows import Text, Windows
from llmkit.training.order import BucketedOrder


class Denoising(Answering):
    """Runs of sentences from one document each, filled up to the room there is."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        o = given.objective
        assert given.words.mask is not None
        self.mask, self.rate = given.words.mask, o.rate
        self.mean_span, self.permutes = o.mean_span, o.permute_sentences
        # Holes never make a text longer, see text_infilling.
        room = self.seq_len - max(self.frame.around, self.frame.beside)
        self.train = Windows(Text.of(given.text), room, within_documents=True)
        self.validation = None
        if given.validation:
            self.validation = Windows(Text.of(given.validation), room, within_documents=True)
        self.n_examples = len(self.train.lengths)
        self.order = BucketedOrder(self.train.lengths, self.seed, self.batch_size)
        self.batches = by_length(self.validation.lengths, self.batch_size) if self.validation else []

    def example(self, pick: Pick, rng: np.random.Generator) -> Example:
        """See Answering."""
        windows = self.train
        if pick.held_out:
            assert self.validation is not None
            windows = self.validation
        text, bounds = windows.whole(pick.index).astype(np.int64), sentence_bounds(windows, pick.index)
        order = np.arange(len(text))
        moved = np.zeros(len(text), dtype=np.bool_)
        if self.permutes and len(bounds) > 2:
            sentences = rng.permutation(len(bounds) - 1)
            order = np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in sentences])
            is_moved = sentences != np.arange(len(sentences))
            moved = np.repeat(is_moved, np.diff(bounds)[sentences])
        source, is_hidden, kept = text_infilling(text[order], self.rate, self.mean_span, self.mask, rng)
        marks = [Mark.HIDDEN if at < 0 else Mark.MOVED if moved[at] else Mark.PLAIN for at in kept.tolist()]
        hidden = np.zeros(len(text), dtype=np.bool_)
        hidden[order] = is_hidden
        return Example(text, source, text, marks, hidden, bounds)

    def judge(self, examples: Sequence[Example], written: Sequence[Sequence[int]]) -> Measured:
        """The share of the damaged sentences that were written as they were, wherever in the text."""
        restored = damaged = 0
        for example, answer in zip(examples, written, strict=True):
            assert example.bounds is not None
            assert example.hidden is not None
            for begin, end in pairwise(example.bounds.tolist()):
                if example.hidden[begin:end].any():
                    damaged += 1
                    restored += holds(answer, example.target[begin:end].tolist())
        return {"sentences_restored": (torch.tensor(float(restored)), damaged)}


def holds(text: Sequence[int], part: Sequence[int]) -> bool:
    """Whether `part` occurs in `text` in one piece."""
    n, part = len(part), list(part)
    return any(list(text[i : i + n]) == part for i in range(len(text) - n + 1))


def sentence_bounds(windows: Windows, window: int) -> NDArray[np.int64]:
    """Where the sentences of a window begin in it, closed by its length."""
    first, last = int(windows.first[window]), int(windows.last[window])
    begin, end = int(windows.begin[window]), windows.end(window)
    # A sentence that was cut up has its bounds outside.
    return np.clip(windows.text.sentences[first : last + 1], begin, end) - begin


def text_infilling(
    text: NDArray[np.int64], rate: float, mean_span: float, mask: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """A text (n,) with holes: its source (m,), m <= n; which tokens are hidden (n,); where the source's come from (m,),
    -1 for masks.

    A share `rate` of the tokens is hidden, to the token. Lengths of runs are drawn until they suffice; the last is cut.
    Runs lie anywhere among the tokens that are shown, no two side by side where there is room.
    """
    n = len(text)
    wanted = min(max(round(n * rate), 1), n)
    lengths = _poisson_lengths(wanted, mean_span, rng)
    gaps = n - wanted + 1  # places between shown tokens, and before and after them
    at = np.sort(rng.choice(gaps, len(lengths), replace=len(lengths) > gaps))
    # Shown tokens before each run, and all that lies before it in the text.
    starts = at + np.cumsum(lengths) - lengths
    is_hidden = np.zeros(n, dtype=np.bool_)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        is_hidden[start : start + length] = True
    shown = np.flatnonzero(~is_hidden)
    kept = np.insert(shown, at, -1)
    return np.where(kept < 0, mask, text[kept]), is_hidden, kept


def _poisson_lengths(total: int, mean: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Lengths of runs, 0 among them, that sum to `total`; at most as many runs as tokens, so that no text grows."""
    drawn = rng.poisson(mean, size=total)
    while drawn.sum() < total:  # rare: more runs than tokens would be needed
        drawn = np.maximum(drawn, rng.poisson(mean, size=total))
    last = int(np.searchsorted(np.cumsum(drawn), total))
    lengths = drawn[: last + 1]
    lengths[last] -= int(lengths.sum()) - total
    return lengths.astype(np.int64)


def make(given: Given) -> Denoising:
    """The objective as the recipe has it."""
    return Denoising(given)
