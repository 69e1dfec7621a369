"""Which tokens of an example are hidden, and what stands in their places.

Devlin et al. 2018, arXiv:1810.04805: a share of the tokens is to be predicted; 80 % of these become [MASK], 10 % a
random token, 10 % stay. With whole words (the authors' later release), a word's pieces share their fate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.training.objectives.given import Given, Vocabulary
from llmkit.training.objectives.glimpse import Glimpse, Lane, Mark, lane
from llmkit.training.objectives.objective import NO_TARGET, TARGET_STEP, round_up
from llmkit.training.seeds import uniform

# In text without spaces a word would never end.
LONGEST_WORD = 12


@dataclass(frozen=True)
class MaskTokens:
    """Ids the objective puts into examples; random replacements are drawn from `ordinary`."""

    cls: int
    sep: int
    mask: int
    pad: int
    ordinary: NDArray[np.int64]

    @classmethod
    def of(cls, words: Vocabulary) -> MaskTokens:
        """Those of a vocabulary that was checked to have them."""
        assert words.cls is not None
        assert words.sep is not None
        assert words.mask is not None
        return cls(words.cls, words.sep, words.mask, words.pad or 0, words.ordinary)

    @property
    def frame(self) -> frozenset[int]:
        """Ids around texts, which are never hidden."""
        return frozenset((self.cls, self.sep))


@dataclass(frozen=True)
class WordEdges:
    """Where words begin and end. starts: (vocab,) tokens that begin a word; ends: those that no word goes on after."""

    starts: NDArray[np.bool_]
    ends: NDArray[np.bool_]


@dataclass(frozen=True)
class Hiding:
    """Hides a share `rate` of the tokens of each row, at least one.

    masked, random: shares of these that become [MASK] and a random token; the others stay. words: hide all pieces of
    a word or none.
    """

    tokens: MaskTokens
    rate: float
    words: WordEdges | None = None
    masked: float = 0.8
    random: float = 0.1

    @classmethod
    def of(cls, given: Given, *, always: bool = False) -> Hiding:
        """As the recipe has it. always: put [MASK] in every chosen place."""
        o, words = given.objective, given.words
        edges = WordEdges(words.starts_word, words.ends_word) if o.whole_words else None
        shares = (1.0, 0.0) if always else (0.8, 0.1)
        return cls(MaskTokens.of(words), o.rate, edges, *shares)

    def __call__(
        self, ids: NDArray[np.int64], is_text: NDArray[np.bool_], rngs: Sequence[np.random.Generator]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hide tokens in place. Returns the flat positions, ascending, and the ids that were there, (n,) each.

        ids, is_text: (batch, seq), what may be hidden; rngs: one per row.
        """
        width = ids.shape[1]
        # Three for each column, in this order: an example draws the same, however wide its batch is padded.
        draws = uniform(rngs, 3 * width).reshape(len(ids), width, 3)
        first = np.broadcast_to(np.arange(width), ids.shape) if self.words is None else _first(ids, is_text, self.words)
        draw, fate = (np.take_along_axis(draws[:, :, i], first, axis=1) for i in (0, 1))
        positions = np.flatnonzero(_chosen(draw, first, is_text, self.rate))
        flat, fate, other = ids.reshape(-1), fate.reshape(-1), draws[:, :, 2].reshape(-1)
        targets = flat[positions]
        flat[positions[fate[positions] < self.masked]] = self.tokens.mask
        randoms = positions[fate[positions] >= 1.0 - self.random]
        flat[randoms] = self.tokens.ordinary[(other[randoms] * len(self.tokens.ordinary)).astype(np.int64)]
        return positions, targets


def _first(ids: NDArray[np.int64], is_text: NDArray[np.bool_], words: WordEdges) -> NDArray[np.int64]:
    """(batch, seq) the column in which the word of each token begins; all else is a word of its own."""
    columns = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    begins = words.starts[ids] | ~is_text
    begins[:, 0] = True
    begins[:, 1:] |= words.ends[ids[:, :-1]] | ~is_text[:, :-1]
    since = columns - np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    return columns - since % LONGEST_WORD


def _chosen(
    draw: NDArray[np.float64], first: NDArray[np.int64], is_text: NDArray[np.bool_], rate: float
) -> NDArray[np.bool_]:
    """(batch, seq) what to hide: words in the order of their draws, as long as they bring the count nearer to `rate`.

    draw: (batch, seq), the same for all tokens of a word; first: the column in which the word begins.
    """
    rows = np.arange(len(draw))[:, None]
    wanted = np.maximum(1, np.rint(is_text.sum(1, keepdims=True) * rate))
    order = np.argsort(np.where(is_text, draw, 2.0), axis=1, kind="stable")
    rank = np.empty_like(order)
    rank[rows, order] = np.arange(draw.shape[1])
    before = rank[rows, first]  # tokens of words drawn earlier
    place = rows * draw.shape[1] + first
    size = np.bincount(place.reshape(-1), minlength=draw.size)[place]
    return is_text & ((before + size / 2 <= wanted) | (before == 0))


def rounded(positions: NDArray[np.int64], targets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both filled up to a round number, with places at which nothing is asked."""
    unused = round_up(len(targets), TARGET_STEP) - len(targets)
    return np.pad(positions, (0, unused)), np.pad(targets, (0, unused), constant_values=NO_TARGET)


def glimpse(
    seen: Sequence[int], truth: Sequence[int], chosen: Sequence[bool], tokens: MaskTokens, **notes: str
) -> Glimpse:
    """One example: the text, what the model sees of it, and what it must say.

    seen, truth: ids of a row with and without corruption; chosen: whether a place is to be predicted.
    """

    def mark(now: int, before: int, is_chosen: bool) -> Mark:
        if not is_chosen:
            return Mark.SPECIAL if now in tokens.frame else Mark.PLAIN
        return Mark.HIDDEN if now == tokens.mask else Mark.KEPT if now == before else Mark.REPLACED

    marks = [mark(*of) for of in zip(seen, truth, chosen, strict=True)]
    asked = [before for before, is_chosen in zip(truth, chosen, strict=True) if is_chosen]
    lanes = [
        lane("text", truth, special=tokens.frame),
        Lane("input", list(zip(seen, marks, strict=True))),
        lane("target", asked, Mark.TARGET),
    ]
    return Glimpse(lanes, {name.replace("_", " "): said for name, said in notes.items()})
