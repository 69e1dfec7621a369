"""Count the pieces of a stream of text: the first and longest part of training, in memory bounded by a table's size."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from llmkit.tokenization.byte_level import BOUNDED_PIECE
from llmkit.tokenization.cuts import slices

MAX_PIECES = 1_500_000  # in the table at once: some 200 MB
MAX_WORDS = 1_000_000  # learned from
_GROUP = 1000  # pieces joined
MAX_CHARS = 16_000_000  # in all the words learned from


def count_pieces(
    texts: Iterable[str], progress: Callable[[int], None] | None = None, *, ascii_cut: re.Pattern[str] = BOUNDED_PIECE
) -> Counter[str]:
    """How often each piece occurs. ascii_cut: how to cut ASCII text, if finer is as easy.

    When the table is full the rarest pieces are dropped, so counts of rare pieces are lower bounds for huge corpora.
    progress: called with the characters read since the last call.
    """
    counts: Counter[str] = Counter()
    for text in slices(texts):
        counts.update((ascii_cut if text.isascii() else BOUNDED_PIECE).findall(text))
        least = 1
        while len(counts) > MAX_PIECES:
            counts = Counter({piece: n for piece, n in counts.items() if n > least})
            least *= 2
        if progress is not None:
            progress(len(text))
    return counts


def count_words(pieces: Counter[str], split: Callable[[str], Iterable[str]]) -> dict[str, int]:
    """Counts of the words that `split` finds in the pieces, most frequent first, ties by text.

    The order depends on nothing but the counts, which makes everything learned from it repeatable. Where words and
    their characters are too many to learn from, the rarest are left out.
    """
    words: dict[str, int] = {}
    get = words.get
    for text, n in _joined(pieces):
        for word, times in Counter(split(text)).items():
            words[word] = get(word, 0) + n * times
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    sizes = accumulate(len(word) for word, _ in ranked)
    return dict(entry for entry, size in zip(ranked[:MAX_WORDS], sizes, strict=False) if size <= MAX_CHARS)


def _joined(pieces: Counter[str]) -> Iterator[tuple[str, int]]:
    """The pieces and their counts; those with a space before a word are joined to few long texts, to save calls."""
    by_count: defaultdict[tuple[int, bool], list[str]] = defaultdict(list)
    for piece, n in pieces.items():
        if piece[0] == " " and not piece[-1].isspace():
            by_count[n, piece.isascii()].append(piece)
        else:
            yield piece, n
    for (n, _), group in by_count.items():
        for at in range(0, len(group), _GROUP):
            yield "".join(group[at : at + _GROUP]), n
