"""Scores of a classifier from its confusion table: counts[i, j] texts of label i were taken for label j. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall and F1 of one label; 0 where there is nothing to divide by."""

    label: str
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True)
class Result:
    """How a classifier does on one table. data: its name, for example validation."""

    data: str
    labels: tuple[str, ...]
    counts: Counts

    @property
    def accuracy(self) -> float:
        """Share of texts with the right label."""
        return accuracy(self.counts)

    @property
    def macro_f1(self) -> float:
        """Mean of the labels' F1, each label counting alike."""
        return macro_f1(self.counts)

    @property
    def n(self) -> int:
        """Texts in the table."""
        return int(self.counts.sum())

    @property
    def majority(self) -> float:
        """Accuracy of always answering the most frequent label: what any classifier must beat."""
        return float(self.counts.sum(1).max() / max(1, self.counts.sum()))

    def per_label(self) -> list[LabelScore]:
        """Scores of each label, in the labels' order."""
        columns = [column.tolist() for column in (*per_label(self.counts), self.counts.sum(1))]
        return [LabelScore(*row) for row in zip(self.labels, *columns, strict=True)]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "data": self.data,
            "n": self.n,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "majority_accuracy": self.majority,
            "labels": list(self.labels),
            "confusion": self.counts.tolist(),
            "per_label": [score.__dict__ for score in self.per_label()],
        }


def accuracy(counts: Counts) -> float:
    """Share of the diagonal."""
    return float(np.trace(counts) / max(1, counts.sum()))


def macro_f1(counts: Counts) -> float:
    """Mean F1 over the labels that occur or were answered, as scikit-learn averages them."""
    occurs = (counts.sum(0) + counts.sum(1)) > 0
    return float(per_label(counts)[2][occurs].mean()) if occurs.any() else 0.0


def per_label(counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 of each label, (n_labels,) each."""
    right = np.diag(counts).astype(np.float64)
    precision = right / np.maximum(1, counts.sum(0))
    recall = right / np.maximum(1, counts.sum(1))
    f1 = 2 * right / np.maximum(1, counts.sum(0) + counts.sum(1))
    return precision, recall, f1
