"""Curves in a terminal: braille dots for what is learned, a mark for each validation, axes with round numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from rich.text import Text

from llmkit.render.curves import Array, Axis, Curve, pieces_of, smoothed, thinned, x_axis, y_axis

COLORS = ("cyan", "yellow", "magenta", "green", "bright_blue", "red", "bright_white", "bright_black")
MARKS = "●▲■◆▼★○△□◇▽☆"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Bits of the eight dots of a braille character by (column, row) of the dot.
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_LETTERS_IN_A_LINE = 4
_GAP_BETWEEN_MARKS = 2


def mark_of(run: int) -> str:
    """The sign of a run's validations."""
    return MARKS[run % len(MARKS)]


def letter_of(run: int) -> str:
    """The sign of a run's training curve where there are no colours."""
    return LETTERS[run % len(LETTERS)]


class Canvas:
    """A grid of braille characters. A cell shows the dots of a line in it, else those that are faint."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.dots = np.zeros((2, rows, columns), dtype=np.int64)  # of faint layers, of lines
        self.styles: list[list[list[str]]] = [[[""] * columns for _ in range(rows)] for _ in range(2)]
        self.signs: dict[tuple[int, int], tuple[str, str]] = {}

    def dot(self, x: int, y: int, style: str, *, faint: bool = False) -> None:
        """Set the dot in column x (of 2 a cell) and row y (of 4 a cell, from the top); outside it is lost."""
        if 0 <= x < 2 * self.columns and 0 <= y < 4 * self.rows:
            row, column, layer = y // 4, x // 2, 0 if faint else 1
            self.dots[layer, row, column] |= _BITS[x % 2][y % 4]
            self.styles[layer][row][column] = style

    def scatter(self, x: Array, y: Array, style: str) -> None:
        """Faint dots at the places x, y, shares of width and height."""
        for i, j in zip(self._across(x).tolist(), self._down(y).tolist(), strict=True):
            self.dot(i, j, style, faint=True)

    def line(self, x: Array, y: Array, style: str) -> None:
        """A line through the places x, y, shares of width and height, x rising; cut where it leaves the canvas."""
        across = self._across(x)
        places = np.arange(across[0], across[-1] + 1)
        heights = self._down(np.interp((places + 0.5) / (2 * self.columns), x, y))
        before = int(heights[0])
        for place, height in zip(places.tolist(), heights.tolist(), strict=True):
            step = 1 if height >= before else -1
            start = before + step if height != before else before
            for dot in range(max(-1, min(4 * self.rows, start)), max(-1, min(4 * self.rows, height)) + step, step):
                self.dot(place, dot, style)
            before = height

    def sign(self, x: float, y: float, sign: str, style: str) -> None:
        """A character on top of the dots at a place."""
        column, row = int(self._across(np.array([x]))[0]) // 2, int(self._down(np.array([y]))[0]) // 4
        if 0 <= column < self.columns and 0 <= row < self.rows:
            self.signs[row, column] = (sign, style)

    def _across(self, x: Array) -> Array:
        return np.clip((x * 2 * self.columns).astype(np.int64), 0, 2 * self.columns - 1)

    def _down(self, y: Array) -> Array:
        return np.clip((1 - y) * (4 * self.rows - 1), -(10**6), 10**6).round().astype(np.int64)

    def text(self, row: int, behind: str = " ") -> Text:
        """One line of characters. behind: what stands where there is nothing."""
        line = Text(no_wrap=True)
        faint, strong = self.dots[:, row].tolist()
        cells = []
        for column in range(self.columns):
            if (row, column) in self.signs:
                cells.append(self.signs[row, column])
            elif strong[column]:
                cells.append((chr(0x2800 + strong[column]), self.styles[1][row][column]))
            elif faint[column]:
                cells.append((chr(0x2800 + faint[column]), self.styles[0][row][column]))
            else:
                cells.append((behind, "dim" if behind != " " else ""))
        for style, alike in groupby(cells, key=lambda cell: cell[1]):  # a span for each cell would be slow to print
            line.append("".join(sign for sign, _ in alike), style)
        return line


def plot_lines(
    curves: Sequence[Curve], columns: int, rows: int, *, kind: str = "steps", colored: bool = True
) -> list[Text]:
    """The picture in `columns` x (`rows` + 2) characters; kind: what x counts (steps, tokens, seconds).

    Without colours each run's line carries its letter, and what is only told by faintness, the loss of single batches,
    is left out.
    """
    height = y_axis(curves, max(2, rows // 3))
    wide = max(map(len, height.labels), default=1)
    canvas = Canvas(max(8, columns - wide - 3), rows)
    across = _roomy(curves, kind, canvas.columns)
    for run, curve in enumerate(curves):
        _draw(canvas, curve, run, across, height, colored=colored, alone=len(curves) == 1)
    lines = []
    # The row each number of the axis stands beside, from the top.
    at = {int(canvas._down(height.share(t))) // 4: label for t, label in zip(height.ticks, height.labels, strict=True)}
    for row in range(rows):
        label = at.get(row)
        line = Text(f"{label or '':>{wide}} {'┤' if label else '│'}", "dim", no_wrap=True)
        lines.append(line.append_text(canvas.text(row, "┈" if label else " ")))
    return [*lines, *_below(across, canvas.columns, wide)]


def _draw(canvas: Canvas, curve: Curve, run: int, across: Axis, height: Axis, *, colored: bool, alone: bool) -> None:
    color = COLORS[run % len(COLORS)] if colored else ""
    pieces = smoothed(curve, most=4 * canvas.columns)
    if colored:
        for x, y in pieces_of(curve):
            x, y = thinned(x, y, 8 * canvas.columns)
            canvas.scatter(across.share(x), height.share(y), f"dim {color}")
    for x, y in [*pieces, *([tuple(np.array(curve.joined).T)] if curve.joined else [])]:
        canvas.line(across.share(x), height.share(y), color)
    if not (colored or alone):
        for x, y in pieces:
            # Letters of different runs stand at different places, as lines that cross would hide one of them.
            span = float(x[-1] - x[0])
            for i in range(_LETTERS_IN_A_LINE):
                place = float(x[0]) + span * (i + 0.5 + 0.37 * (run % 3 - 1)) / _LETTERS_IN_A_LINE
                where = float(np.interp(place, x, y))
                canvas.sign(float(across.share(place)), float(height.share(where)), letter_of(run), "bold")
    last = -10.0
    for place, value in curve.validation:
        column = float(across.share(place)) * canvas.columns
        if column - last >= _GAP_BETWEEN_MARKS or place == curve.validation[-1][0]:
            canvas.sign(float(across.share(place)), float(height.share(value)), mark_of(run), f"bold {color}".strip())
            last = column


def _roomy(curves: Sequence[Curve], kind: str, columns: int) -> Axis:
    """The axis with the most numbers that stand apart from each other."""
    for ticks in range(max(2, columns // 8), 1, -1):
        found = x_axis(curves, kind, ticks)
        apart = columns / max(1, len(found.ticks))
        if max(map(len, found.labels), default=0) + 3 <= apart:
            return found
    return x_axis(curves, kind, 1)


def _below(across: Axis, columns: int, wide: int) -> list[Text]:
    """The axis under the picture: a line with a notch for each number, and the numbers."""
    line, numbers = ["─"] * columns, [" "] * (columns + wide + 2)
    end = -1
    for tick, label in zip(across.ticks, across.labels, strict=True):
        column = min(columns - 1, int(across.share(tick) * columns))
        start = wide + 2 + column - len(label) // 2
        start = min(max(start, 0), columns + wide + 2 - len(label))
        if start <= end + 1:
            continue
        line[column] = "┬"
        numbers[start : start + len(label)] = label
        end = start + len(label)
    rule = Text(" " * wide + " └" + "".join(line), "dim", no_wrap=True)
    return [rule, Text("".join(numbers).rstrip(), "dim", no_wrap=True)]
