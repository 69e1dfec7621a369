"""One head as a labelled map: rows are queries, columns are keys.

The width decides the form, before anything is drawn: cells of three columns with percentages and the two strongest
keys beside them, plain cells of two columns, half blocks, or a map pooled by the maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.style import Style
from rich.text import Text

from llmkit.render.grid import GUTTER, Floats, Grid, Scale, pool, scaled
from llmkit.render.labels import left, right, upright
from llmkit.render.palette import ASCII_RAMP, Palette, ink_on, ramp_char, ramp_color

HEADER_ROWS = 8
_SIDE = 24  # columns for the two strongest keys beside a row
_STEPS = 12  # of the legend
_NUMBER_FROM = 0.05  # smaller weights are not printed


@dataclass(frozen=True)
class Layout:
    """How a map is drawn: `cell` columns a key, one or two queries a line, `pooled` tokens a cell, keys at the side."""

    form: Literal["numbers", "cells", "halves"]
    cell: int
    pooled: int
    side: int


def choose_layout(tokens: int, width: int, palette: Palette) -> Layout:
    """The most telling form for `tokens` positions that fits into `width` columns."""
    room = max(2, width - GUTTER)
    if 3 * tokens <= room:
        spare = room - 3 * tokens - 2
        return Layout("numbers", 3, 1, min(_SIDE, spare) if spare >= 16 else 0)
    if 2 * tokens <= room:
        return Layout("cells", 2, 1, 0)
    if tokens <= room:
        return Layout("cells" if palette == "none" else "halves", 1, 1, 0)
    return Layout("cells", 2, math.ceil(tokens / max(1, room // 2)), 0)


def heatmap_lines(grid: Grid, width: int, palette: Palette, scale: Scale = "sqrt") -> list[Text]:
    """Draw `grid` in at most `width` columns: key labels, one line per query (or two), legend."""
    layout = choose_layout(max(grid.weights.shape), width, palette)
    if layout.pooled > 1:
        grid = pool(grid, max(1, (width - GUTTER) // 2))
    bright = scaled(grid.weights, scale, grid.top)
    body = _halves(grid, bright, palette) if layout.form == "halves" else _rows(grid, bright, layout, palette)
    lines = [*_key_labels(grid, layout), *body, _legend(grid, scale, palette, width)]
    for line in lines:
        line.no_wrap = True
        line.truncate(width)
    return lines


def _key_labels(grid: Grid, layout: Layout) -> list[Text]:
    lines = []
    for cells in upright([name for name, _ in grid.keys], HEADER_ROWS):
        line = " " * GUTTER
        for cell in cells:
            if layout.cell == 1:
                line += left(cell or " ", 1)
            else:
                line += (" " if layout.cell == 3 else "") + left(cell, 2)
        lines.append(Text(line.rstrip(), style="dim"))
    if layout.side:
        last = lines[-1] if lines else Text()
        last.append(" " * max(0, GUTTER + 3 * len(grid.keys) + 2 - last.cell_len) + "strongest keys, %")
    return lines


def _head_of_row(grid: Grid, row: int) -> str:
    name, position = grid.queries[row]
    mark = f"{position:>2}"
    return right(name, GUTTER - 2 - len(mark)) + f" {mark} "


def _rows(grid: Grid, bright: Floats, layout: Layout, palette: Palette) -> list[Text]:
    lines = []
    for i, row in enumerate(grid.weights):
        line = Text(_head_of_row(grid, i))
        dotted = False
        for j, weight in enumerate(row):
            if np.isnan(weight):
                # One dim dot says where the mask begins; the rest stays the terminal's own background.
                line.append(
                    "·" + " " * (layout.cell - 1) if not dotted and layout.cell > 1 else " " * layout.cell, "dim"
                )
                dotted = True
                continue
            number = f"{100 * weight:>3.0f}" if layout.cell == 3 and weight >= _NUMBER_FROM else " " * layout.cell
            if palette == "none":
                line.append(number if layout.cell == 3 else left(ramp_char(float(bright[i, j]), weight), layout.cell))
            else:
                color = ramp_color(float(bright[i, j]), palette)
                line.append(number, Style.parse(f"{ink_on(color)} on {color}"))
        if layout.side:
            line.append("  ")
            line.append(left(_strongest(grid, i), layout.side), "dim")
        lines.append(line)
    return lines


def _strongest(grid: Grid, row: int) -> str:
    weights = np.nan_to_num(grid.weights[row], nan=-1.0)
    best = [j for j in np.argsort(-weights, kind="stable")[:2] if weights[j] >= 0.005]
    return "  ".join(f"{left(grid.keys[j][0], 9).rstrip()} {100 * weights[j]:.0f}" for j in best)


def _halves(grid: Grid, bright: Floats, palette: Palette) -> list[Text]:
    """Two queries a line: the upper half of a cell is one, the lower half the next."""
    lines = []
    for i in range(0, len(bright), 2):
        line = Text(_head_of_row(grid, i))
        for cell, style in half_cells(bright[i], bright[i + 1] if i + 1 < len(bright) else None, palette):
            line.append(cell, style)
        lines.append(line)
    return lines


def half_cells(upper: Floats, lower: Floats | None, palette: Palette) -> list[tuple[str, Style]]:
    """Pairs of brightness values as half blocks; NaN shows the terminal's background."""
    cells = []
    for j, above in enumerate(upper):
        below = lower[j] if lower is not None else np.float32(np.nan)
        colors = [None if np.isnan(v) else ramp_color(float(v), palette) for v in (above, below)]
        match colors:
            case [None, None]:
                cells.append((" ", Style.null()))
            case [str(one), None]:
                cells.append(("▀", Style.parse(one)))
            case [None, str(two)]:
                cells.append(("▄", Style.parse(two)))
            case [one, two]:
                cells.append(("▀", Style.parse(f"{one} on {two}")))
    return cells


def _legend(grid: Grid, scale: Scale, palette: Palette, width: int) -> Text:
    line = Text(" " * (GUTTER - 2) + "0 ")
    if palette == "none":
        line.append(ASCII_RAMP.strip())
    else:
        for i in range(_STEPS):
            line.append(" ", Style.parse(f"on {ramp_color((i + 0.5) / _STEPS, palette)}"))
    line.append(f" {grid.top:.2f}")
    pooled = f"pooled {grid.pooled}x, maximum" if grid.pooled > 1 else ""
    for words in (pooled, f"{scale} scale", "rows query, columns key"):
        if words and line.cell_len + 2 + len(words) <= width:
            line.append(f"  {words}")
    line.stylize("dim", 0, GUTTER)
    return line
