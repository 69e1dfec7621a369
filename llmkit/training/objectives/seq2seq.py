"""Turn one text into another, as the original Transformer learned to translate (Vaswani et al. 2017, arXiv:1706.03762).

The encoder reads a text, the decoder writes what belongs to it. The paper smooths the targets' probabilities
(objective.label_smoothing 0.1), lets the learning rate rise and then fall with the square root of the step
(train.schedule inverse_sqrt), and puts pairs of similar length into a batch. A side that is longer than train.seq_len
is cut at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.data.lengths import in_pieces
from llmkit.data.mapped import stowed
from llmkit.training.objectives.answering import Answering, Pick, is_exact, share
from llmkit.training.objectives.answers import Example, Ids
from llmkit.training.objectives.bleu import bleu, bleu_counts
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.objective import Measured, by_length
from llmkit.training.order import BucketedOrder

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus


class Sides:
    """Pairs of texts, cut to the room there is; document i of `corpus` belongs to document i of its target.

    n_cut: sides that were too long.
    """

    def __init__(self, corpus: TokenCorpus, end_id: int | None, source_room: int, target_room: int) -> None:
        assert corpus.target is not None, "pairs have two sides"
        self.sides = (corpus, corpus.target)
        self.rooms = (source_room, target_room)
        self.end_id = end_id
        self.n_cut = 0
        (self.lengths,) = stowed(([piece] for piece in self._measured()), ["int32"], corpus.place)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[Ids, Ids]:
        """Source and target of a pair."""
        texts = []
        for side, room in zip(self.sides, self.rooms, strict=True):
            ids = side.document(index).astype(np.int64)
            texts.append(ids[: len(ids) - self._ends(ids)][:room])
        return texts[0], texts[1]

    def _measured(self) -> Iterator[NDArray[np.int64]]:
        """Tokens of the pairs, many at a time; counts the sides that are cut."""
        for pieces in zip(*(in_pieces(side.document_starts) for side in self.sides), strict=True):
            whole = [self._lengths(side, starts) for side, starts in zip(self.sides, pieces, strict=True)]
            cut = [np.minimum(n, room) for n, room in zip(whole, self.rooms, strict=True)]
            self.n_cut += sum(int((n > room).sum()) for n, room in zip(whole, self.rooms, strict=True))
            yield cut[0] + cut[1]

    def _lengths(self, side: TokenCorpus, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        # The end token of a document stands at its end, if anywhere: the frame puts its own there.
        ends = side.ids[starts[1:] - 1] == self.end_id if self.end_id is not None else 0
        return np.diff(starts) - ends

    def _ends(self, ids: Ids) -> int:
        return int(self.end_id is not None and len(ids) > 0 and int(ids[-1]) == self.end_id)


class Seq2Seq(Answering):
    """Pairs of texts; the batches hold pairs of similar length."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        rooms = self.seq_len - self.frame.around, self.seq_len - self.frame.beside
        self.train = Sides(given.text, given.words.eos, *rooms)
        self.validation = Sides(given.validation, given.words.eos, *rooms) if given.validation else None
        self.n_examples = len(self.train)
        self.order = BucketedOrder(self.train.lengths, self.seed, self.batch_size)
        self.batches = by_length(self.validation.lengths, self.batch_size) if self.validation else []

    @property
    def remarks(self) -> list[str]:
        """What is to be said about the data before the first step."""
        cut, sides = self.train.n_cut, 2 * len(self.train)
        return [f"{cut:,} of {sides:,} sides of pairs are longer than train.seq_len and were cut"] if cut else []

    def example(self, pick: Pick, rng: np.random.Generator) -> Example:
        """See Answering; nothing here is random."""
        sides = self.train
        if pick.held_out:
            assert self.validation is not None
            sides = self.validation
        source, target = sides[pick.index]
        return Example(source, source, target)

    def judge(self, examples: Sequence[Example], written: Sequence[Sequence[int]]) -> Measured:
        """How many answers are right to the last token, and what BLEU counts."""
        counts = sum(bleu_counts(w, e.target.tolist()) for e, w in zip(examples, written, strict=True))
        return {**share("sentences_exact", examples, written, is_exact), "bleu": (torch.from_numpy(counts), 0)}

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """See Answering; BLEU is of tokens, over all that was written."""
        written = {"bleu": bleu(means["bleu"])} if "bleu" in means else {}
        return {**super().scores(means), **written}


def make(given: Given) -> Seq2Seq:
    """The objective as the recipe has it."""
    return Seq2Seq(given)
