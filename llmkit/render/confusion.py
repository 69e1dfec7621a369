"""A classifier's scores and its confusion table as plain lines, narrow enough for any terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.render.safe_text import safe_line

MOST_LABELS = 12
_WIDEST_LABEL = 16


def confusion_lines(result: Mapping[str, Any]) -> list[str]:
    """Lines for `Result.as_json()`: the scores, then a row a label; too many labels show the most confused pairs."""
    head = (
        f"{result['data']}: accuracy {100 * result['accuracy']:.2f}%, macro F1 {100 * result['macro_f1']:.2f}% on "
        f"{result['n']:,} texts (always the most frequent label: {100 * result['majority_accuracy']:.2f}%)"
    )
    labels, counts = list(result["labels"]), result["confusion"]
    if len(labels) > MOST_LABELS:
        return [head, *_worst_pairs(labels, counts)]
    names = [_short(label) for label in labels]
    cell = max(max(map(len, names)), len(f"{max(map(max, counts)):,}")) + 2
    first = max(max(map(len, names)), len("true \\ said"))
    lines = [head, "true \\ said".ljust(first) + "".join(n.rjust(cell) for n in names) + "   precision  recall      F1"]
    for name, row, score in zip(names, counts, result["per_label"], strict=True):
        numbers = "".join(f"{n:,}".rjust(cell) for n in row)
        rates = "".join(f"{100 * score[k]:.1f}%".rjust(w) for k, w in (("precision", 12), ("recall", 8), ("f1", 8)))
        lines.append(name.ljust(first) + numbers + rates)
    return lines


def _worst_pairs(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[str]:
    pairs = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    worst = sorted(pairs, key=lambda p: (-p[0], p[1], p[2]))[:10]
    return ["most confused:", *(f"  {n:,} x {_short(labels[i])} taken for {_short(labels[j])}" for n, i, j in worst)]


def _short(label: str) -> str:
    label = safe_line(label)
    return label if len(label) <= _WIDEST_LABEL else label[: _WIDEST_LABEL - 1] + "…"
