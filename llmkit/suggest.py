"""Guess what a mistyped word was meant to be."""

from __future__ import annotations

from collections.abc import Iterable

_CONTAINED = 3.5  # letters that a whole word inside the other one is worth


def distance(a: str, b: str) -> int:
    """Damerau-Levenshtein distance (adjacent swaps cost 1)."""
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        before, previous = previous, current
    return previous[-1]


def nearest(word: str, candidates: Iterable[str], most: int = 3) -> list[str]:
    """Return up to `most` candidates close enough to `word` to be worth offering, nearest first.

    Close: at most a third of the letters differ (one letter in short words), or one contains the other. A wrong first
    letter counts half a letter more: slips of the hand rarely begin a word, and other words often differ there.
    """
    folded = word.casefold()
    scored: list[tuple[float, str]] = []
    for candidate in dict.fromkeys(candidates):
        other = candidate.casefold()
        d: float = distance(folded[:200], other)
        d += 0.5 * (d > 0 and folded[:1] != other[:1])
        if d > max(1, max(len(folded), len(other)) // 3) or d >= len(other):
            is_part = len(folded) >= 3 and folded in other
            if not is_part and not (len(other) >= 3 and folded.startswith(other)):
                continue
            d = _CONTAINED
        scored.append((d, candidate))
    best = min(scored, default=(0.0, ""))[0]
    return [candidate for d, candidate in sorted(scored)[:most] if d <= best + 1.5 or d == _CONTAINED]


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The hint line for a mistyped word, or None when nothing is near."""
    found = nearest(word, candidates)
    return f"did you mean {' or '.join(repr(c) for c in found)}?" if found else None
