"""Future n-grams (ProphetNet: Qi et al. 2020, arXiv:2001.04063): write a hidden span, looking several tokens ahead.

In every 64 tokens of the text one span is hidden, as long as the share to hide of them. Of its tokens 80 % become a
mask, 10 % a random token and 10 % stay. The answer is what was hidden, span after span. At each place of it the model
is asked for the next token and, in a stream of its own each, for the ones after it: what keeps it from planning no
further than the next word. A model without such streams learns from the same examples (Song et al. 2019, MASS).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmkit.training.objectives.answering import Answering, Pick, is_exact, share
from llmkit.training.objectives.answers import Example
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import Measured, by_length
from llmkit.training.objectives.windows import Text, Windows
from llmkit.training.order import BucketedOrder

STRETCH = 64


class FutureNgram(Answering):
    """Runs of sentences, across documents, filled up to the room there is."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        assert given.words.mask is not None
        self.mask, self.ordinary, self.rate = given.words.mask, given.words.ordinary, given.objective.rate
        room = self.seq_len - max(self.frame.around, self.frame.beside)
        self.train = Windows(Text.of(given.text), room, within_documents=False)
        self.validation = Windows(Text.of(given.validation), room, within_documents=False) if given.validation else None
        self.n_examples = len(self.train.lengths)
        self.order = BucketedOrder(self.train.lengths, self.seed, self.batch_size)
        self.batches = by_length(self.validation.lengths, self.batch_size) if self.validation else []

    def example(self, pick: Pick, rng: np.random.Generator) -> Example:
        """See Answering."""
        windows = self.train
        if pick.held_out:
            assert self.validation is not None
            windows = self.validation
        text = windows.whole(pick.index).astype(np.int64)
        is_hidden = spans(len(text), self.rate, rng)
        places = np.flatnonzero(is_hidden)
        fate, other = rng.random(len(places)), rng.integers(len(self.ordinary), size=len(places))
        source = text.copy()
        source[places[fate < 0.8]] = self.mask
        source[places[fate >= 0.9]] = self.ordinary[other[fate >= 0.9]]
        marks = [Mark.PLAIN] * len(text)
        for at in places.tolist():
            is_kept, is_masked = source[at] == text[at], source[at] == self.mask
            marks[at] = Mark.KEPT if is_kept else Mark.HIDDEN if is_masked else Mark.REPLACED
        return Example(text, source, text[is_hidden], marks)

    def judge(self, examples: Sequence[Example], written: Sequence[Sequence[int]]) -> Measured:
        """The share of the answers that are right to the last token."""
        return share("spans_restored", examples, written, is_exact)


def spans(length: int, rate: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(length,) which tokens are hidden: of each 64 one run of 64 * rate, rounded down; of a shorter rest as much."""
    is_hidden = np.zeros(length, dtype=np.bool_)
    for start in range(0, length, STRETCH):
        size = min(STRETCH, length - start)
        run = int(size * rate)
        if run == 0 and length > STRETCH:
            continue  # a rest too short for a span
        run = max(1, run)
        begin = start + int(rng.integers(size - run + 1))
        is_hidden[begin : begin + run] = True
    return is_hidden


def make(given: Given) -> FutureNgram:
    """The objective as the recipe has it."""
    return FutureNgram(given)
