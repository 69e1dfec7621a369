"""Pictures for README files and papers: maps as SVG with crisp cells, no scripts, no fonts from anywhere.

Rich can export SVG too, but that file loads its font over the network and draws cells as letters, which leaves seams.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from rich.cells import cell_len

from llmkit.render.grid import Grid, Scale, pool, scaled
from llmkit.render.labels import label
from llmkit.render.links import Link
from llmkit.render.palette import hexed, ink_on, ramp_color, truecolor_ramp
from llmkit.render.safe_text import safe_line
from llmkit.render.tree import fit

FONT = "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
PAPER, FRAME, INK, DIM, FAINT, ACCENT = "#0d1117", "#30363d", "#e6edf3", "#8b949e", "#161c25", "#4dc97c"
_MARGIN = 28
_BAR, _LETTER = 110.0, 7.83  # of the list of links
_MOST_CELLS = 160
_LABEL_COLUMNS = 14


class Sheet:
    """SVG elements in the order of drawing, and the page around them."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, fill: str, radius: float = 0, more: str = "") -> None:
        rounded = f' rx="{radius:g}"' if radius else ""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}"{rounded} fill="{fill}"{more}/>')

    def text(
        self, x: float, y: float, words: str, size: float, fill: str = INK, anchor: str = "start", more: str = ""
    ) -> None:
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        # Control characters are not legal in XML, so the gate for terminals serves here too.
        body = escape(safe_line(words))
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}"{place}{more}>{body}</text>')

    def page(self, width: float, height: float, title: str) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" font-family="{escape(FONT)}">'
        )
        frame = (
            f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="12" fill="{PAPER}" '
            f'stroke="{FRAME}"/>'
        )
        return "\n".join([head, f"<title>{escape(safe_line(title))}</title>", frame, *self.parts, "</svg>", ""])


def heatmap_svg(
    grid: Grid, *, title: str, subtitle: str, links: Sequence[Link] = (), scale: Scale = "sqrt", note: str = ""
) -> str:
    """One head as a labelled map with its strongest links beside it."""
    grid = pool(grid, _MOST_CELLS)
    rows, columns = grid.weights.shape
    cell = min(30.0, max(6.0, round(860 / max(rows, columns, 1))))
    size = min(13.0, max(7.0, cell * 0.55))
    queries = [fit(name, _LABEL_COLUMNS) for name, _ in grid.queries]
    keys = [fit(name, _LABEL_COLUMNS) for name, _ in grid.keys]
    advance = size * 0.602  # width of a letter in the fonts named above
    left = _MARGIN + max(map(cell_len, queries), default=0) * advance + 10
    top = _MARGIN + 54 + max(map(cell_len, keys), default=0) * advance * 0.82 + 8
    sheet = Sheet()
    sheet.text(_MARGIN, _MARGIN + 14, title, 17, more=' font-weight="700"')
    sheet.text(_MARGIN, _MARGIN + 36, subtitle, 12.5, DIM)
    _labels(sheet, grid, queries, keys, left, top, cell, size)
    _cells(sheet, grid, left, top, cell, scale)
    bottom = top + rows * cell
    _legend(sheet, grid, left, bottom + 18, scale, note)
    right = left + columns * cell
    lean = (cell_len(keys[-1]) * advance * 0.58 if keys else 0) + 8  # the last slanted label leaves the map
    causal = rows == columns and bool(np.isnan(grid.weights[0, 1:]).all())
    beside = not causal or _panel(links) + (36 + 26 * len(links)) + 2 * cell > columns * cell
    if links and beside:
        right = _links(sheet, links, right + max(36, lean), top)
    elif links:  # the mask leaves a corner free
        _links(sheet, links, right - _panel(links), top + 6)
    width = max(right + (_MARGIN if links and beside else max(_MARGIN, lean)), 560)
    height = max(bottom + 70, top + 40 + 26 * len(links) + 30 if links else 0)
    return sheet.page(width, height, f"{title}. {subtitle}")


def _labels(
    sheet: Sheet, grid: Grid, queries: list[str], keys: list[str], left: float, top: float, cell: float, size: float
) -> None:
    every = max(1, round(9 / cell)) if cell < 9 else 1
    for i, words in enumerate(queries):
        if i % every == 0:
            sheet.text(left - 9, top + (i + 0.5) * cell + size * 0.36, words, size, INK, "end")
    for j, words in enumerate(keys):
        if j % every == 0:
            x, y = left + (j + 0.5) * cell + size * 0.2, top - 7
            sheet.text(x, y, words, size, INK, more=f' transform="rotate(-55 {x:g} {y:g})"')


def _cells(sheet: Sheet, grid: Grid, left: float, top: float, cell: float, scale: Scale) -> None:
    bright = scaled(grid.weights, scale, grid.top)
    gap = 2.0 if cell >= 14 else 1.0 if cell >= 9 else 0.0
    edge = cell - gap
    for i, row in enumerate(grid.weights):
        for j, weight in enumerate(row):
            x, y = left + j * cell + gap / 2, top + i * cell + gap / 2
            if np.isnan(weight):
                continue
            color = ramp_color(float(bright[i, j]), "truecolor")
            sheet.rect(x, y, edge, edge, color, 3 if cell >= 14 else 0)
            if cell >= 24 and weight >= 0.05:
                ink = "#0d1117" if ink_on(color) == "#000000" else "#ffffff"
                sheet.text(x + edge / 2, y + edge / 2 + 3.8, f"{100 * weight:.0f}", 10.5, ink, "middle")


def _legend(sheet: Sheet, grid: Grid, left: float, y: float, scale: Scale, note: str) -> None:
    ramp = truecolor_ramp()[::2]
    for i, rgb in enumerate(ramp):
        sheet.rect(left + 14 + 4 * i, y, 4.5, 10, hexed(rgb))
    end = left + 14 + 4 * len(ramp) + 8
    sheet.text(left, y + 9, "0", 11, DIM)
    pooled = f", pooled {grid.pooled}x by the maximum" if grid.pooled > 1 else ""
    sheet.text(end, y + 9, f"{100 * grid.top:.0f} %  ({scale} scale)", 11, DIM)
    sheet.text(left, y + 30, f"rows look, columns are looked at{pooled}{'; ' + note if note else ''}", 11, DIM)


def _links(sheet: Sheet, links: Sequence[Link], x: float, top: float) -> float:
    """Draw the list with its left edge at `x`; returns its right edge."""
    sheet.text(x, top + 10, "strongest links", 12.5, DIM)
    pairs = _ends(links)
    arrow = x + max(cell_len(q) for q, _ in pairs) * _LETTER + 12
    bars = arrow + 20 + max(cell_len(k) for _, k in pairs) * _LETTER + 14
    for i, (link, (query, key)) in enumerate(zip(links, pairs, strict=True)):
        y = top + 40 + 26 * i
        sheet.text(arrow - 10, y, query, 13, INK, "end")
        sheet.text(arrow, y, "→", 13, DIM)
        sheet.text(arrow + 20, y, key, 13, INK, more=' font-weight="700"')
        sheet.rect(bars, y - 10, _BAR, 12, FAINT, 3)
        sheet.rect(bars, y - 10, max(2.0, _BAR * min(1.0, link.weight)), 12, ACCENT, 3)
        sheet.text(bars + _BAR + 10, y, f"{link.weight:.2f}", 13, DIM)
    return x + _panel(links)


def _panel(links: Sequence[Link]) -> float:
    """Width of the list of links."""
    pairs = _ends(links)
    words = max((cell_len(q) for q, _ in pairs), default=0) + max((cell_len(k) for _, k in pairs), default=0)
    return words * _LETTER + 46 + _BAR + 10 + 4 * _LETTER


def _ends(links: Sequence[Link]) -> list[tuple[str, str]]:
    return [(fit(label(link.query), 12), fit(label(link.key), 12)) for link in links]
