"""Span corruption (T5: Raffel et al. 2020, arXiv:1910.10683, section 3.1.4).

A block of running text loses a share of its tokens in runs. In the source each run is replaced by one sentinel, a token
of its own: the first hole's, the second's and so on. The answer is each sentinel followed by what stood in its hole,
and the next sentinel after the last. How many tokens and runs are hidden follows from the length alone, so that all
examples are equally long on both sides and nothing is padding.

    text    Thank you for inviting me to your party last week
    source  Thank you <extra_id_0> me to your party <extra_id_1> week
    target  <extra_id_0> for inviting <extra_id_1> last <extra_id_2>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.data.order import mixed
from llmkit.errors import InputRefused
from llmkit.training.objectives.answering import Answering, Pick, in_a_row
from llmkit.training.objectives.answers import Example, Ids
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import Measured, Objective
from llmkit.training.objectives.staged import Staged
from llmkit.training.order import ShuffledOrder
from llmkit.training.schedule import first_long_step
from llmkit.training.seeds import Purpose


class SpanCorruption(Answering):
    """Blocks of one long stream of text, with holes.

    An epoch covers the stream once; where its blocks begin is drawn per epoch, so that they differ between epochs.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        o = given.objective
        self.rate, self.mean_span = o.rate, o.mean_span
        self.sentinels = np.array(given.words.sentinels, dtype=np.int64)
        self._is_sentinel = {int(i): hole for hole, i in enumerate(self.sentinels)}
        self.ids = given.text.ids
        room = self.seq_len - self.frame.around
        most = len(self.sentinels) - 1
        self.length = text_length(room, self.rate, self.mean_span, holes=most, answer=self.seq_len - self.frame.beside)
        if len(self.ids) < self.length:
            raise InputRefused(
                f"the training text has {len(self.ids):,} tokens, fewer than one example needs ({self.length:,})",
                "use more text, or a smaller train.seq_len",
            )
        self.slack = min(self.length - 1, len(self.ids) - self.length)
        self.n_examples = (len(self.ids) - self.slack) // self.length
        self.order = ShuffledOrder(self.n_examples, self.seed)
        self.validation: Ids = given.validation.ids if given.validation else np.zeros(0, dtype=np.int64)
        # What is left over at the end of the validation text has room for holes, if it is two tokens.
        self.batches = in_a_row((len(self.validation) + self.length - 2) // self.length, self.batch_size)

    def example(self, pick: Pick, rng: np.random.Generator) -> Example:
        """See Answering."""
        if pick.held_out:
            ids, start = self.validation, pick.index * self.length
        else:
            ids = self.ids
            start = pick.index * self.length + mixed(self.seed, Purpose.OFFSET, pick.epoch) % (self.slack + 1)
        text = ids[start : start + self.length].astype(np.int64)
        is_hidden = noise_mask(len(text), self.rate, self.mean_span, rng, most=len(self.sentinels) - 1)
        source, target = with_sentinels(text, is_hidden, self.sentinels)
        marks = [Mark.HIDDEN if i in self._is_sentinel else Mark.PLAIN for i in source.tolist()]
        return Example(text, source, target, marks)

    def judge(self, examples: Sequence[Example], written: Sequence[Sequence[int]]) -> Measured:
        """The share of the holes whose content was written exactly."""
        restored = holes = 0
        for example, answer in zip(examples, written, strict=True):
            truth, said = self.contents(example.target.tolist()), self.contents(answer)
            last = max(truth)  # the sentinel that ends the answer opens no hole
            restored += sum(said.get(hole) == content for hole, content in truth.items() if hole != last)
            holes += len(truth) - 1
        return {"spans_restored": (torch.tensor(float(restored)), holes)}

    def contents(self, answer: Sequence[int]) -> dict[int, list[int]]:
        """What an answer puts into each hole, by the hole's number."""
        found: dict[int, list[int]] = {}
        content: list[int] = []  # what comes before the first sentinel is for no hole
        for i in answer:
            hole = self._is_sentinel.get(i)
            if hole is None:
                content.append(i)
            else:
                content = found.setdefault(hole, [])
        return found


def hidden_counts(length: int, rate: float, mean_span: float, most: int) -> tuple[int, int]:
    """How many of `length` >= 2 tokens are hidden, in how many runs; `most` runs at the most."""
    hidden = min(max(round(length * rate), 1), length - 1)
    return hidden, min(max(round(hidden / mean_span), 1), length - hidden, most)


def text_length(room: int, rate: float, mean_span: float, *, holes: int, answer: int) -> int:
    """Tokens of text whose source, a sentinel for each run, fills `room` tokens; fewer if it had more than `holes`, or
    if what is hidden, with its sentinels, were more than `answer` tokens."""

    def fits(length: int) -> bool:
        hidden, runs = hidden_counts(length, rate, mean_span, length)
        return length - hidden + runs <= room and runs <= holes and hidden + runs + 1 <= answer

    length = 2
    while fits(length + 1):
        length += 1
    return length


def noise_mask(length: int, rate: float, mean_span: float, rng: np.random.Generator, *, most: int) -> NDArray[np.bool_]:
    """(length,) which tokens are hidden: shown and hidden runs in turn, shown first, hidden last.

    All ways to cut the hidden tokens into that many runs are equally likely, and so are those to cut the shown ones.
    This is T5's random_spans_noise_mask.
    """
    hidden, runs = hidden_counts(length, rate, mean_span, most)
    lengths = np.stack([_cut(length - hidden, runs, rng), _cut(hidden, runs, rng)], axis=1).ravel()
    is_hidden = np.arange(2 * runs) % 2 == 1
    return np.repeat(is_hidden, lengths)


def _cut(n: int, parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Lengths (parts,) >= 1 that sum to n, drawn from all there are."""
    cuts = np.sort(rng.choice(n - 1, parts - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=n)


def with_sentinels(
    text: NDArray[np.int64], is_hidden: NDArray[np.bool_], sentinels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Source and target of a text (n,): the holes' sentinels among what is shown, and before what is hidden.

    The target ends with one more sentinel, for no hole. There must be more sentinels than holes.
    """
    begins = is_hidden & ~np.pad(is_hidden, (1, 0))[:-1]
    at = np.flatnonzero(begins)
    # In the source a run becomes its first place; in the target each run has one place more, in front.
    source = text.copy()
    source[at] = sentinels[: len(at)]
    places = np.flatnonzero(is_hidden)
    where = np.searchsorted(places, at)
    target = np.insert(text[places], where, sentinels[: len(at)])
    return source[~is_hidden | begins], np.append(target, sentinels[len(at)])


def make(given: Given) -> Objective:
    """The objective as the recipe has it: in two stages when its last steps have longer examples."""
    t, longest = given.train, given.config.max_seq_len
    short, switch = SpanCorruption(given), first_long_step(t.steps, given.objective.long_share)
    if switch == t.steps or longest <= t.seq_len:
        return short
    size = max(1, t.batch_size * t.seq_len // longest)
    later = SpanCorruption(replace(given, train=replace(t, seq_len=longest, batch_size=size)))
    first = switch * t.accumulate * t.batch_size
    return Staged(short, later, switch=first, batch_size=t.batch_size, later_batch_size=size)
