"""Guess what a mistyped word was meant to be."""

from __future__ import annotations

from collections.abc import Iterable


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

    Close: distance at most 2 or a third of the length, the same last part of a dotted path, or a shared prefix.
    """
    folded = word.casefold()
    last = folded.rpartition(".")[2]
    scored: list[tuple[float, str]] = []
    for candidate in dict.fromkeys(candidates):
        other = candidate.casefold()
        d: float = distance(folded[:200], other)
        if d > max(2, len(other) // 3) or d >= len(other):
            same_leaf = "." in other and distance(last, other.rpartition(".")[2]) <= 1
            prefix = len(folded) >= 3 and (other.startswith(folded) or folded.startswith(other))
            if not (same_leaf or prefix):
                continue
            d = 3.5
        scored.append((d, candidate))
    return [candidate for _, candidate in sorted(scored)[:most]]


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The hint line for a mistyped word, or None when nothing is near."""
    found = nearest(word, candidates)
    return f"did you mean {' or '.join(repr(c) for c in found)}?" if found else None
