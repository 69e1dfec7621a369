"""Gap sentences (PEGASUS: Zhang et al. 2019, arXiv:1912.08777): write the sentences that tell most about a text.

Of each text a share of the sentences is taken out, those that have most in common with all the others, and each leaves
a mask token behind. The answer is these sentences, one after the other: nearly a summary. How much a sentence has in
common with the rest is its ROUGE-1 F1, each sentence by itself, repeated tokens as often as they occur ("Ind-Orig", the
paper's best rule). Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.training.objectives.answering import Answering, Pick
from llmkit.training.objectives.answers import Example
from llmkit.training.objectives.denoising import sentence_bounds
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import Measured, by_length
from llmkit.training.objectives.rouge import rouge_l, rouge_n
from llmkit.training.objectives.windows import Text, Windows
from llmkit.training.order import BucketedOrder


class GapSentences(Answering):
    """Runs of at least two sentences from one document each, filled up to the room there is."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        assert given.words.mask is not None
        self.mask, self.rate = given.words.mask, given.objective.rate
        room = self.seq_len - max(self.frame.around, self.frame.beside)
        shape: dict[str, Any] = {"within_documents": True, "least_sentences": 2}
        self.train = Windows(Text.of(given.text), room, **shape)
        self.n_examples = len(self.train.lengths)
        self.order = BucketedOrder(self.train.lengths, self.seed, self.batch_size)
        self.validation = Windows(Text.of(given.validation), room, **shape) if given.validation else None
        self.batches = by_length(self.validation.lengths, self.batch_size) if self.validation else []

    def example(self, pick: Pick, rng: np.random.Generator) -> Example:
        """See Answering."""
        windows = self.train
        if pick.held_out:
            assert self.validation is not None
            windows = self.validation
        text, bounds = windows.whole(pick.index).astype(np.int64), sentence_bounds(windows, pick.index)
        chosen = principal(text, bounds, self.rate)
        lengths = np.diff(bounds)
        is_gap = np.zeros(len(lengths), dtype=np.bool_)
        is_gap[chosen] = True
        hidden = np.repeat(is_gap, lengths)
        # The first token of a gap becomes the mask, the others go.
        source, begins = text.copy(), bounds[chosen]
        source[begins] = self.mask
        is_seen = ~hidden
        is_seen[begins] = True
        marks = [Mark.HIDDEN if is_mask else Mark.PLAIN for is_mask in hidden[is_seen].tolist()]
        ends = np.cumsum(np.concatenate([[0], lengths[chosen]]))
        return Example(text, source[is_seen], text[hidden], marks, bounds=ends)

    def judge(self, examples: Sequence[Example], written: Sequence[Sequence[int]]) -> Measured:
        """ROUGE-1 and ROUGE-L F1 of what was written with what was taken out."""
        pairs = [(w, e.target.tolist()) for e, w in zip(examples, written, strict=True)]
        found = {"rouge_1": [rouge_n(w, t) for w, t in pairs], "rouge_l": [rouge_l(w, t) for w, t in pairs]}
        return {name: (torch.tensor(values).sum(), len(values)) for name, values in found.items()}


def principal(text: NDArray[np.int64], bounds: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """The sentences (k,) that have most in common with the others, in the order of the text; at least one stays.

    text: (n,) ids; bounds: (sentences + 1,) where sentences begin, closed by n. Of equals the earlier.
    """
    n = len(bounds) - 1
    k = min(max(round(n * rate), 1), n - 1)
    return np.sort(np.argsort(-importance(text, bounds), kind="stable")[:k])


def importance(text: NDArray[np.int64], bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """ROUGE-1 F1 (sentences,) of each sentence with all the others together."""
    _, words = np.unique(text, return_inverse=True)
    n, size = len(bounds) - 1, int(words.max()) + 1
    sentence = np.repeat(np.arange(n), np.diff(bounds))
    counts = np.bincount(sentence * size + words, minlength=n * size).reshape(n, size)
    common = np.minimum(counts, counts.sum(0) - counts).sum(1)
    # 2 P R / (P + R) with P = common / own and R = common / others': both lengths together are the text's.
    return 2.0 * common / len(text)


def make(given: Given) -> GapSentences:
    """The objective as the recipe has it."""
    return GapSentences(given)
