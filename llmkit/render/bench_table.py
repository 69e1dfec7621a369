"""The table of measurements: rate, spread as a line, share of the limit as a bar, memory, change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from llmkit.render.bars import bar, span_bar
from llmkit.render.table import Cell, Column, table_lines
from llmkit.units import count, percent, size

_SPREAD, _SHARE = 14, 10


class Row(NamedTuple):
    """One measured case. change: (relative change, whether it is clear of noise) against a baseline."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    share: float | None
    limit: str
    peak_bytes: int | None
    change: tuple[float, bool] | None


def bench_lines(rows: Sequence[Row], width: int) -> list[Text]:
    """Lay the rows out in at most `width` columns. The spread is drawn on a scale from 0 to the row's own p90."""
    columns = [
        Column("case", keep=9, style="bold"),
        Column("median", True, keep=9),
        Column("p10-p90", True, keep=6, style="dim"),
        Column("spread", keep=2),
        Column("of limit", True, keep=8),
        Column("", keep=3),
        Column("limit", keep=4, style="dim"),
        Column("memory", True, keep=5, style="dim"),
        Column("change", True, keep=8),
    ]
    return table_lines(columns, [_cells(row) for row in rows], width)


def _cells(row: Row) -> list[Cell]:
    return [
        row.name,
        f"{number(row.median)} {row.unit}/s",
        f"{number(row.low)}-{number(row.high)}",
        Text(span_bar(row.low, row.median, row.high, row.high, _SPREAD), "cyan"),
        "" if row.share is None else percent(row.share),
        "" if row.share is None else Text(bar(row.share, _SHARE), "blue"),
        row.limit,
        "" if row.peak_bytes is None else size(row.peak_bytes),
        _change(row.change),
    ]


def _change(change: tuple[float, bool] | None) -> Cell:
    """A sign and an arrow, so that nothing rests on colour; `~` when noise explains it."""
    if change is None:
        return ""
    ratio, clear = change
    if not clear:
        return Text(f"{ratio:+.1%} ~", "dim")
    return Text(f"{ratio:+.1%} {'▲' if ratio > 0 else '▼'}", "green" if ratio > 0 else "red")


def number(value: float) -> str:
    """Three significant digits: 0.0123, 4.56, 18.2 k."""
    return count(value) if value >= 1000 else f"{value:.3g}" if value < 99.95 else f"{value:.0f}"
