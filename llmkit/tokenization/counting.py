"""Count the pieces of a stream of text: the first and longest part of training, in memory bounded by a table's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from llmkit.tokenization.byte_level import BOUNDED_PIECE
from llmkit.tokenization.cuts import slices

MAX_PIECES = 1_500_000  # in the table at once: some 200 MB


def count_pieces(texts: Iterable[str], progress: Callable[[int], None] | None = None) -> Counter[str]:
    """How often each piece occurs.

    When the table is full the rarest pieces are dropped, so counts of rare pieces are lower bounds for huge corpora.
    progress: called with the characters read since the last call.
    """
    counts: Counter[str] = Counter()
    for text in slices(texts):
        counts.update(BOUNDED_PIECE.findall(text))
        least = 1
        while len(counts) > MAX_PIECES:
            counts = Counter({piece: n for piece, n in counts.items() if n > least})
            least *= 2
        if progress is not None:
            progress(len(text))
    return counts


def count_words(pieces: Counter[str], split: Callable[[str], Iterable[str]], most: int) -> dict[str, int]:
    """Counts of the words that `split` finds in the pieces: the `most` frequent, most frequent first, ties by text.

    The order depends on nothing but the counts, which makes everything learned from it repeatable.
    """
    words: dict[str, int] = {}
    get = words.get
    for piece, n in pieces.items():
        for word in split(piece):
            words[word] = get(word, 0) + n
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:most])
