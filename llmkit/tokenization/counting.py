"""Count the pieces of a stream of text: the first and longest part of training, in memory bounded by a table's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from llmkit.tokenization.byte_level import BOUNDED_PIECE

MAX_PIECES = 1_500_000  # in the table at once: some 200 MB
_SLICE = 1 << 20  # characters given to the regex at a time


def slices(texts: Iterable[str], size: int = _SLICE) -> Iterator[str]:
    """The texts, long ones in parts of at most `size` characters, cut where a piece starts (failing that, anywhere)."""
    for text in texts:
        start = 0
        while len(text) - start > size:
            end = _cut(text, start + 1, start + size)
            yield text[start:end]
            start = end
        yield text[start:] if start else text


def _cut(text: str, low: int, high: int) -> int:
    """The last index in (low, high] where a word starts with a space after a character that is no whitespace."""
    at = high
    while (at := text.rfind(" ", low, at)) > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at
    return high


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
