"""Where text can be cut without changing its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SLICE = 1 << 18  # characters


def safe_cut(text: str, low: int, high: int) -> int:
    """The last place in (low, high] to cut so that both sides have the tokens they have together; `high` if none.

    Such a place lies before a single space between words, or after a single line end between words: no way of
    cutting text into words that is in use joins what stands on its two sides.
    """
    return max(_last(text, " ", low, high, 0), _last(text, "\n", low, high, 1)) or high


def _last(text: str, space: str, low: int, high: int, after: int) -> int:
    at = high
    while (at := text.rfind(space, max(low, 1), at)) > 0:
        if at + 1 < len(text) and not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + after
    return 0


def slices(texts: Iterable[str], size: int = SLICE) -> Iterator[str]:
    """The texts, long ones in parts of at most `size` characters cut at safe places (failing that, anywhere)."""
    for text in texts:
        start = 0
        while len(text) - start > size:
            end = safe_cut(text, start + 1, start + size)
            yield text[start:end]
            start = end
        yield text[start:] if start else text
