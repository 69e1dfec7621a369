"""BLEU (Papineni et al. 2002) of token ids, over a corpus: how many runs of 1 to 4 tokens two texts have in common.

With ids of a tokenizer for tokens it compares runs of one model with each other; figures in papers are of words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = 4


def bleu_counts(written: Sequence[int], truth: Sequence[int]) -> NDArray[np.float64]:
    """(2 * ORDERS + 2,): runs of each length that are right, runs that were written, then both lengths. They add up
    over texts."""
    right, runs = [], []
    for n in range(1, ORDERS + 1):
        ours, theirs = (Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in (written, truth))
        right.append(sum((ours & theirs).values()))
        runs.append(max(0, len(written) - n + 1))
    return np.array([*right, *runs, len(written), len(truth)], dtype=np.float64)


def bleu(counts: NDArray[np.float64]) -> float:
    """0 to 100, from summed counts: the geometric mean of the precisions, times exp(1 - truth / written) when too
    short. 0 when nothing of some length is right."""
    right, runs = counts[:ORDERS], counts[ORDERS : 2 * ORDERS]
    written, truth = counts[2 * ORDERS :]
    if right.min() == 0:
        return 0.0
    brevity = min(0.0, 1.0 - truth / written)
    return 100.0 * math.exp(brevity + float(np.log(right / runs).mean()))
