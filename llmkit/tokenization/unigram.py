"""Learn a Unigram vocabulary (Kudo 2018, arXiv:1804.10959): start from frequent substrings, fit their probabilities by
expectation maximisation, drop those the text can best do without, repeat.

The trainer inside `tokenizers` goes through words in the order of a randomly seeded hash table and adds up numbers in
the order threads finish, so that two runs rarely agree. This one visits everything in a fixed order in one thread, and
works on all words at once in numpy. Nothing here depends on word order, thread count or process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_PIECE = 16  # characters
SEED_FACTOR = 8  # candidates at the start, in multiples of the vocabulary
SEED_WORDS = 200_000  # most frequent words that candidates are taken from
SHRINK = 0.75  # share of the pieces that survive a round
OVERSHOOT = 1.1  # pruning stops here; the last pieces go by probability

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def learn_pieces(
    words: Mapping[str, int],
    alphabet: Sequence[str],
    n_pieces: int,
    on_fit: Callable[[int, int], None] | None = None,
) -> list[tuple[str, float]]:
    """The pieces and their log probabilities, likeliest first.

    words: word -> count, every character of them in `alphabet`, which always stays. n_pieces: how many to keep at
    most. on_fit: called with (pieces now, pieces wanted) after each round.
    """
    n_chars = len(alphabet)
    pieces = [*alphabet, *_candidates(words, SEED_FACTOR * n_pieces)]
    index = {piece: number for number, piece in enumerate(pieces)}
    counts = np.fromiter(words.values(), np.float64, len(words))
    text = _Lattice(list(words), index)
    inside = _Lattice(pieces, index, whole=False)
    scores = np.log(np.maximum(text.occurrences(counts, len(pieces)), 1e-3))
    scores -= np.log(np.exp(scores - scores.max()).sum()) + scores.max()
    kept = np.ones(len(pieces), bool)
    goal = max(int(n_pieces * OVERSHOOT), n_chars)
    while True:
        for _ in range(2):
            expected = text.expected(scores, counts)
            kept[n_chars:] &= expected[n_chars:] >= 0.5
            total = expected[kept].sum()
            scores = np.where(kept, _digamma(np.maximum(expected, 0.1)) - _digamma(np.array([total])), -np.inf)
            text, inside = text.only(kept), inside.only(kept)
        size = int(kept.sum())
        if on_fit is not None:
            on_fit(size, n_pieces)
        if size <= goal:
            break
        loss = np.full(len(pieces), -np.inf)
        longer = np.flatnonzero(kept[n_chars:]) + n_chars
        loss[longer] = text.used(scores, counts)[longer] * (scores[longer] - inside.best(scores)[0][longer])
        loss[:n_chars] = np.inf  # single characters always stay, or words could not be spelled
        kept[_order(loss)[max(goal, int(size * SHRINK)) :]] = False
        text, inside = text.only(kept), inside.only(kept)
        scores = np.where(kept, scores, -np.inf)
    final = scores.copy()
    final[:n_chars] = np.inf
    final[~kept] = -np.inf
    chosen = [int(i) for i in _order(final)[: min(max(n_pieces, n_chars), size)]]
    ranked = sorted(((round(float(scores[i]), 6), pieces[i]) for i in chosen), key=lambda entry: (-entry[0], entry[1]))
    return [(piece, score) for score, piece in ranked]


def _order(values: Floats) -> Ints:
    """Indices from the largest value to the smallest; ties in the order they come."""
    return np.argsort(-values, kind="stable")


def _candidates(words: Mapping[str, int], most: int) -> list[str]:
    """Substrings of two characters and more that occur twice and more, the ones that cover most text first."""
    counts: dict[str, int] = {}
    get = counts.get
    for _, (word, n) in zip(range(SEED_WORDS), words.items(), strict=False):
        for start in range(len(word) - 1):
            for end in range(start + 2, min(len(word), start + MAX_PIECE) + 1):
                piece = word[start:end]
                counts[piece] = get(piece, 0) + n
    repeated = [(-n * len(piece), piece) for piece, n in counts.items() if n > 1]
    repeated.sort()
    return [piece for _, piece in repeated[:most]]


class _Lattice:
    """All ways to spell some words with pieces: nodes between characters, an edge for each piece that fits.

    Nodes of word w are start[w] .. end[w]. Edges come in two orders: by the position they end at (for sums from the
    left), and by the position they start at (for sums from the right).
    """

    def __init__(self, words: Sequence[str], index: Mapping[str, int], *, whole: bool = True) -> None:
        """whole: whether a word may be one piece."""
        source: list[int] = []
        length: list[int] = []
        piece: list[int] = []
        position: list[int] = []
        base, starts = 0, []
        find = index.get
        longest = max(map(len, index))
        for word in words:
            n = len(word)
            starts.append(base)
            for i in range(n):
                for j in range(i + 1, min(n, i + longest) + 1):
                    found = find(word[i:j])
                    if found is not None and (whole or j - i < n):
                        source.append(base + i)
                        length.append(j - i)
                        piece.append(found)
                        position.append(i)
            base += n + 1
        self.n_nodes = base
        self.starts = np.array(starts, np.int64)
        self.ends = self.starts + np.fromiter(map(len, words), np.int64, len(words))
        edges = [np.array(column, np.int64) for column in (source, length, piece, position)]
        at, size, _, start = edges
        order = np.lexsort((at, at + size, start + size))
        at, size, number, start = (column[order] for column in edges)
        self._set(at, size, number, start, np.lexsort((at + size, at, -start)))

    def _set(self, source: Ints, length: Ints, piece: Ints, position: Ints, by_start: Ints) -> None:
        self.source, self.length, self.piece, self.position, self.by_start = source, length, piece, position, by_start
        self.target = source + length
        self.from_left = _groups(position + length, self.target)
        self.from_right = _groups(position[by_start], source[by_start])
        self.word = np.searchsorted(self.starts, source, side="right") - 1

    def only(self, kept: NDArray[np.bool_]) -> _Lattice:
        """The lattice with the edges of the `kept` pieces."""
        stays = kept[self.piece]
        if stays.all():
            return self
        other = object.__new__(_Lattice)
        other.n_nodes, other.starts, other.ends = self.n_nodes, self.starts, self.ends
        new_number = np.cumsum(stays) - 1
        by_start = new_number[self.by_start[stays[self.by_start]]]
        other._set(self.source[stays], self.length[stays], self.piece[stays], self.position[stays], by_start)
        return other

    def occurrences(self, counts: Floats, n_pieces: int) -> Floats:
        """How often each piece occurs anywhere in the words."""
        return np.asarray(np.bincount(self.piece, weights=counts[self.word], minlength=n_pieces))

    def expected(self, scores: Floats, counts: Floats) -> Floats:
        """How often each piece is used, on average over all spellings weighted by their probability."""
        weight = scores[self.piece]
        left = self._sums(self.from_left, self.source, weight, self.starts)
        order = self.by_start
        right = self._sums(self.from_right, self.target[order], weight[order], self.ends)
        log_used = left[self.source] + weight + right[self.target] - left[self.ends][self.word]
        return np.asarray(np.bincount(self.piece, weights=counts[self.word] * np.exp(log_used), minlength=len(scores)))

    def _sums(self, groups: list[_Group], other: Ints, weight: Floats, roots: Ints) -> Floats:
        """Log of the summed probability of all paths between a root and each node."""
        sums = np.full(self.n_nodes, -np.inf)
        sums[roots] = 0.0
        for group in groups:
            values = sums[other[group.edges]] + weight[group.edges]
            top = np.maximum.reduceat(values, group.firsts)
            with np.errstate(invalid="ignore", divide="ignore"):  # nodes that cannot be reached stay at -inf
                total = np.add.reduceat(np.exp(values - np.repeat(top, group.sizes)), group.firsts)
                sums[group.nodes] = np.where(np.isneginf(top), -np.inf, top + np.log(total))
        return sums

    def best(self, scores: Floats) -> tuple[Floats, Ints]:
        """Log probability of each word's best spelling, and for each node the edge it comes by on it (-1 if none)."""
        sums = np.full(self.n_nodes, -np.inf)
        sums[self.starts] = 0.0
        came = np.full(self.n_nodes, -1, np.int64)
        weight = scores[self.piece]
        for group in self.from_left:
            values = sums[self.source[group.edges]] + weight[group.edges]
            top = np.maximum.reduceat(values, group.firsts)
            hits = np.flatnonzero(values == np.repeat(top, group.sizes))
            _, first = np.unique(np.repeat(np.arange(len(top)), group.sizes)[hits], return_index=True)
            sums[group.nodes] = top
            came[group.nodes] = group.edges.start + hits[first]
        return np.asarray(sums[self.ends]), came

    def used(self, scores: Floats, counts: Floats) -> Floats:
        """How often each piece is used in the best spellings."""
        _, came = self.best(scores)
        used = np.zeros(len(scores))
        nodes, weights = self.ends, counts
        while len(nodes):
            edges = came[nodes]
            alive = edges >= 0
            edges, weights = edges[alive], weights[alive]
            used += np.bincount(self.piece[edges], weights=weights, minlength=len(scores))
            nodes = self.source[edges]
        return used


class _Group:
    """Edges whose far ends are at one position: `edges` in all, those of nodes[k] from firsts[k] on, sizes[k] many."""

    def __init__(self, edges: slice, near: Ints) -> None:
        self.edges = edges
        self.firsts = np.flatnonzero(np.concatenate(([True], near[1:] != near[:-1])))
        self.sizes = np.diff(np.append(self.firsts, len(near)))
        self.nodes = near[self.firsts]


def _groups(position: Ints, near: Ints) -> list[_Group]:
    if not len(position):
        return []
    bounds = [0, *(np.flatnonzero(np.diff(position)) + 1).tolist(), len(position)]
    return [_Group(slice(a, b), near[a:b]) for a, b in pairwise(bounds)]


def _digamma(x: Floats) -> Floats:
    """Derivative of the log of the gamma function, for x > 0; good to 1e-10."""
    x = x.astype(np.float64)
    shift = np.zeros_like(x)
    for _ in range(8):
        small = x < 8
        shift = np.where(small, shift - 1 / x, shift)
        x = np.where(small, x + 1, x)
    r = 1 / (x * x)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))
    return np.asarray(shift + np.log(x) - 0.5 / x - series)
