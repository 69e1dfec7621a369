"""What kind of pattern an attention head shows on a text, by scores between 0 and 1.

All are averages over queries i of a (T, T) map A whose rows sum to 1; i runs from 1, since row 0 of a causal map has
one key only. With S the sink keys (position 0 and special tokens):

    previous   A[i, i-1]                                    sink       sum of A[i, S]
    local      sum of A[i, j], |i - j| <= 2, over i > 2      broad      entropy of A[i] / log(number of visible keys)
    induction  sum of A[i, j+1] over earlier j with the same token as i   (Olsson et al. 2022)
    duplicate  sum of A[i, j] over other j with the same token as i

Induction and duplicate average over the queries whose token occurs elsewhere, and are None when no token does.
A head gets the letter of its strongest specific pattern (p, s, i, d) if that holds at least 0.4 of the attention,
else l if 0.6 of it stays within two tokens, else c (content: it picks single keys for a reason that no rule here
names, such as what a pronoun stands for) if its queries put 0.4 more than an even spread on one key that is no sink,
else b. The letters say what a head does on this text, not what it is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LETTERS = {"previous": "p", "sink": "s", "local": "l", "induction": "i", "duplicate": "d", "content": "c", "broad": "b"}
SPECIFIC_FROM = 0.4
LOCAL_FROM = 0.6
NEIGHBOURHOOD = 2
LINKS = 10  # that a summary of a head keeps


@dataclass(frozen=True)
class Scores:
    """Scores of one head. peak: how sharply its queries pick one key that is no sink: the mean of the row maxima, over
    what an even spread would give, since a query that sees two keys always looks peaked."""

    previous: float
    sink: float
    local: float
    induction: float | None
    duplicate: float | None
    broad: float
    peak: float

    @property
    def kind(self) -> str:
        """The name of the pattern, by the rule in the module's text."""
        specific = {
            "previous": self.previous,
            "sink": self.sink,
            "induction": self.induction or 0.0,
            "duplicate": self.duplicate or 0.0,
        }
        best = max(specific, key=lambda name: specific[name])
        if specific[best] >= SPECIFIC_FROM:
            return best
        if self.local >= LOCAL_FROM:
            return "local"
        return "content" if self.peak >= SPECIFIC_FROM else "broad"

    @property
    def letter(self) -> str:
        return LETTERS[self.kind]

    @property
    def score(self) -> float:
        """The score of `kind`."""
        return float(getattr(self, "peak" if self.kind == "content" else self.kind) or 0.0)


def score(weights: Floats, ids: Sequence[int], *, causal: bool, sinks: Sequence[int] = (0,)) -> Scores:
    """Score one head. weights (T, T); ids: the token at each position; sinks: positions that attract attention."""
    total = len(ids)
    rows = np.arange(1, total)
    if total < 2:
        return Scores(0.0, 1.0, 0.0, None, None, 0.0, 0.0)
    a = np.nan_to_num(np.asarray(weights, dtype=np.float64))
    distance = np.abs(np.arange(total)[:, None] - np.arange(total)[None, :])
    far = rows[rows > NEIGHBOURHOOD] if total > NEIGHBOURHOOD + 1 else rows
    visible = np.arange(total) + 1 if causal else np.full(total, total)
    entropy = -(a * np.log(np.where(a > 0, a, 1.0))).sum(1)[rows] / np.log(np.maximum(visible[rows], 2))
    # In an encoder the special tokens are queries too, and what they look at tells little about the text.
    speaking = [i for i in rows if i not in set(sinks)] or list(rows)
    away = np.array(a[speaking])
    away[:, list(sinks)] = 0.0
    same = _same_token(ids, sinks)
    return Scores(
        previous=float(a[rows, rows - 1].mean()),
        sink=float(a[speaking][:, list(sinks)].sum(1).mean()),
        local=float((a * (distance <= NEIGHBOURHOOD)).sum(1)[far].mean()),
        induction=_over_repeats(a, _shifted(np.tril(same, k=-1))),
        duplicate=_over_repeats(a, np.tril(same, k=-1) if causal else same),
        broad=float(np.clip(entropy.mean(), 0.0, 1.0)),
        peak=float(np.clip(away.max(1) - 1 / visible[speaking], 0.0, 1.0).mean()),
    )


def score_across(weights: Floats, *, sinks: Sequence[int] = (0,)) -> Scores:
    """Score one head of cross-attention, weights (written, read): its queries are of another text than its keys, so
    that only what does not depend on their distance is left. sinks: keys that attract attention."""
    a = np.nan_to_num(np.asarray(weights, dtype=np.float64))
    n_keys = a.shape[1]
    entropy = -(a * np.log(np.where(a > 0, a, 1.0))).sum(1) / math.log(max(n_keys, 2))
    away = np.array(a)
    away[:, list(sinks)] = 0.0
    return Scores(
        previous=0.0,
        sink=float(a[:, list(sinks)].sum(1).mean()),
        local=0.0,
        induction=None,
        duplicate=None,
        broad=float(np.clip(entropy.mean(), 0.0, 1.0)),
        peak=float(np.clip(away.max(1) - 1 / n_keys, 0.0, 1.0).mean()),
    )


def _same_token(ids: Sequence[int], sinks: Sequence[int]) -> npt.NDArray[np.bool_]:
    """[i, j]: i and j hold the same token, are not the same position, and are no sinks."""
    array = np.asarray(ids)
    same = (array[:, None] == array[None, :]) & ~np.eye(len(array), dtype=bool)
    same[list(sinks), :] = False
    same[:, list(sinks)] = False
    return same


def _shifted(earlier: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """[i, j+1] for each [i, j]; a target that is the query itself tells nothing and is left out."""
    targets = np.zeros_like(earlier)
    targets[:, 1:] = earlier[:, :-1]
    np.fill_diagonal(targets, False)
    return targets


def _over_repeats(a: npt.NDArray[np.float64], targets: npt.NDArray[np.bool_]) -> float | None:
    applicable = targets.any(1)
    return float((a * targets).sum(1)[applicable].mean()) if applicable.any() else None


def without_sinks(weights: Floats, sinks: Sequence[int]) -> tuple[Floats, float]:
    """The map with sink keys set to 0 and rows brought back to sum 1, and the mean mass that was hidden.

    Rows that looked at nothing else become 0.
    """
    shown = np.array(weights, dtype=np.float32)
    hidden = shown[1:, list(sinks)].sum(1) if len(shown) > 1 else np.ones(1, dtype=np.float32)
    shown[:, list(sinks)] = 0.0
    rest = shown.sum(1, keepdims=True)
    return np.where(rest > 1e-6, shown / np.maximum(rest, 1e-6), 0.0).astype(np.float32), float(hidden.mean())


def strongest(
    weights: Floats, count: int, *, causal: bool, sinks: Sequence[int] = (), across: bool = False
) -> list[tuple[int, int, float]]:
    """The `count` most telling (query, key, weight), heaviest first: one per query, no sink keys, not query 0.

    across: queries and keys are of two texts; sinks are then keys only, and every query counts.

    Telling is what exceeds an even spread over the visible keys: the first queries of a causal map see so few keys
    that their weights are large whatever the head does.
    """
    a = np.nan_to_num(np.array(weights, dtype=np.float32))
    a[:, list(sinks)] = 0.0
    if len(a) > 1 and not across:
        a[list({0, *sinks})] = 0.0
    best = a.argmax(1)
    peaks = a[np.arange(len(a)), best]
    visible = np.arange(len(a)) + 1 if causal else np.full(len(a), a.shape[1])
    chosen = [i for i in np.argsort(1 / visible - peaks, kind="stable") if peaks[i] > 0][:count]
    return sorted(((int(i), int(best[i]), float(peaks[i])) for i in chosen), key=lambda link: -link[2])
