"""ROUGE (Lin 2004) of token ids: how much of one text another has, as F1 between 0 and 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def rouge_n(written: Sequence[int], truth: Sequence[int], n: int = 1) -> float:
    """F1 of the runs of n tokens, each as often as it occurs; 0 when there are none."""
    ours, theirs = (Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in (written, truth))
    return _f1(sum((ours & theirs).values()), sum(ours.values()), sum(theirs.values()))


def rouge_l(written: Sequence[int], truth: Sequence[int]) -> float:
    """F1 of the longest common subsequence."""
    best = [0] * (len(truth) + 1)
    for token in written:
        diagonal = 0
        for j, other in enumerate(truth, 1):
            above = best[j]
            best[j] = diagonal + 1 if token == other else max(above, best[j - 1])
            diagonal = above
    return _f1(best[-1], len(written), len(truth))


def _f1(common: int, n: int, m: int) -> float:
    return 2.0 * common / (n + m) if n + m else 0.0
