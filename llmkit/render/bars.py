"""Bars of block characters, in eighths of a column."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, columns: int) -> str:
    """A bar that fills `share` (0 to 1) of `columns`; anything above zero is seen."""
    if not share > 0 or columns < 1:  # also NaN
        return ""
    eighths = max(1, round(min(share, 1.0) * columns * 8))
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def span_bar(low: float, middle: float, high: float, top: float, columns: int) -> str:
    """A line from `low` to `high` with a mark at `middle`, on a scale from 0 to `top`: `   ├──┼─┤`."""
    if not top > 0 or columns < 3:
        return ""
    at = [min(columns - 1, max(0, round(v / top * (columns - 1)))) for v in (low, middle, high)]
    cells = [" "] * (at[2] + 1)
    for i in range(at[0], at[2] + 1):
        cells[i] = "─"
    if at[2] > at[0]:
        cells[at[0]], cells[at[2]] = "├", "┤"
    cells[at[1]] = "┼" if at[2] > at[0] else "│"
    return "".join(cells)
