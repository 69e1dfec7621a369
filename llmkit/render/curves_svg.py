"""Curves as a picture for README files and papers: one SVG with nothing outside it, on a card of its own colour.

Runs are told apart by colour, by the shape of their validation marks and by the name at the end of the line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

from llmkit.render.curves import Axis, Curve, pieces_of, smoothed, thinned, x_axis, y_axis
from llmkit.render.palette import hexed, oklch
from llmkit.render.svg import DIM, FRAME, INK, Sheet
from llmkit.render.tree import fit

WIDTH, HEIGHT = 860.0, 500.0
_LEFT, _TOP, _BOTTOM = 76.0, 92.0, 62.0
_LETTER = 7.3  # width of a letter of 12 pixels
_NAME_COLUMNS = 26
_MOST_POINTS, _MOST_MARKS = 800, 40
# Hues that the common colour-blindnesses keep apart from their neighbours, all equally light on the card.
_HUES = (235.0, 75.0, 345.0, 155.0, 300.0, 30.0, 190.0, 115.0)


def color_of(run: int) -> str:
    """The colour of a run."""
    return hexed(oklch(0.78 if run < len(_HUES) else 0.62, 0.13, _HUES[run % len(_HUES)]))


def curves_svg(curves: Sequence[Curve], *, title: str, subtitle: str, kind: str = "steps", x_title: str = "") -> str:
    """One picture of all curves: the loss of single batches faint, its mean a line, validations marks."""
    names = [fit(c.name, _NAME_COLUMNS) for c in curves]
    margin = 40 + max(map(cell_len, names), default=0) * _LETTER
    right, bottom = WIDTH - margin, HEIGHT - _BOTTOM
    across, height = x_axis(curves, kind, 8), y_axis(curves, 7)
    frame = _Frame(across, height, _LEFT, right, _TOP, bottom)
    sheet = Sheet()
    sheet.text(28, 42, title, 17, more=' font-weight="700"')
    sheet.text(28, 64, subtitle, 12.5, DIM)
    _axes(sheet, frame, x_title)
    sheet.parts.append(
        f'<clipPath id="plot"><rect x="{_LEFT:g}" y="{_TOP:g}" width="{right - _LEFT + 8:g}" '
        f'height="{bottom - _TOP:g}"/></clipPath><g clip-path="url(#plot)">'
    )
    for run, curve in enumerate(curves):
        _lines(sheet, frame, curve, color_of(run))
    for run, curve in enumerate(curves):
        _marks(sheet, frame, curve, run)
    sheet.parts.append("</g>")
    _names(sheet, frame, curves, names)
    return sheet.page(WIDTH, HEIGHT, f"{title}. {subtitle}")


class _Frame:
    """Where values lie on the sheet."""

    def __init__(self, across: Axis, height: Axis, left: float, right: float, top: float, bottom: float) -> None:
        self.across, self.height = across, height
        self.left, self.right, self.top, self.bottom = left, right, top, bottom

    def x(self, value: float) -> float:
        return round(self.left + float(self.across.share(value)) * (self.right - self.left), 2)

    def y(self, value: float) -> float:
        # A value far outside is cut off by the clip path; a number without end would not be.
        share = float(np.clip(self.height.share(value), -4, 5))
        return round(self.bottom - share * (self.bottom - self.top), 2)


def _axes(sheet: Sheet, frame: _Frame, x_title: str) -> None:
    for tick, words in zip(frame.height.ticks, frame.height.labels, strict=True):
        y = frame.y(tick)
        sheet.rect(frame.left, y - 0.5, frame.right - frame.left, 1, FRAME, more=' opacity="0.6"')
        sheet.text(frame.left - 10, y + 4, words, 12, DIM, "end")
    for tick, words in zip(frame.across.ticks, frame.across.labels, strict=True):
        x = frame.x(tick)
        sheet.rect(x - 0.5, frame.bottom, 1, 6, DIM)
        sheet.text(x, frame.bottom + 22, words, 12, DIM, "middle")
    sheet.rect(frame.left, frame.bottom, frame.right - frame.left, 1, DIM)
    sheet.text((frame.left + frame.right) / 2, frame.bottom + 44, x_title, 12, DIM, "middle")


def _lines(sheet: Sheet, frame: _Frame, curve: Curve, color: str) -> None:
    for pieces, style in (
        ([thinned(x, y, _MOST_POINTS) for x, y in pieces_of(curve)], 'stroke-width="1" opacity="0.28"'),
        (smoothed(curve, most=_MOST_POINTS), 'stroke-width="2.2"'),
        ([tuple(np.array(curve.joined).T)] if curve.joined else [], 'stroke-width="1.6"'),
    ):
        for x, y in pieces:
            points = " ".join(f"{frame.x(a):g},{frame.y(b):g}" for a, b in zip(x, y, strict=True))
            sheet.parts.append(
                f'<polyline points="{points}" fill="none" stroke="{color}" stroke-linejoin="round" {style}/>'
            )


def _marks(sheet: Sheet, frame: _Frame, curve: Curve, run: int) -> None:
    shown = list(curve.validation)
    if len(shown) > _MOST_MARKS:
        every = -(-len(shown) // _MOST_MARKS)
        shown = [*shown[:-1:every], shown[-1]]
    for x, y in shown:
        sheet.parts.append(_shape(run, frame.x(x), frame.y(y), color_of(run)))


def _shape(run: int, x: float, y: float, color: str) -> str:
    """The mark of a run's validations: filled, then hollow shapes, with an edge in the colour of ink."""
    r = 4.5
    corners = {
        1: [(0, -r - 1), (r + 0.5, r - 0.5), (-r - 0.5, r - 0.5)],
        2: [(-r + 0.5, -r + 0.5), (r - 0.5, -r + 0.5), (r - 0.5, r - 0.5), (-r + 0.5, r - 0.5)],
        3: [(0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)],
        4: [(0, r + 1), (r + 0.5, -r + 0.5), (-r - 0.5, -r + 0.5)],
    }.get(run % 5)
    fill = color if run < 5 else "#0d1117"
    paint = f'fill="{fill}" stroke="{INK if run < 5 else color}" stroke-width="1.2"'
    if corners is None:
        return f'<circle cx="{x:g}" cy="{y:g}" r="{r:g}" {paint}/>'
    points = " ".join(f"{x + dx:g},{y + dy:g}" for dx, dy in corners)
    return f'<polygon points="{points}" {paint}/>'


def _names(sheet: Sheet, frame: _Frame, curves: Sequence[Curve], names: Sequence[str]) -> None:
    """The name of each run beside the end of its line, moved apart where they would overlap."""
    ends = []
    for run, curve in enumerate(curves):
        pieces = smoothed(curve, most=_MOST_POINTS)
        x, y = (pieces[-1][0][-1], pieces[-1][1][-1]) if pieces else (curve.validation or [(0.0, 0.0)])[-1]
        ends.append((min(frame.bottom, max(frame.top, frame.y(float(y)))), frame.x(float(x)), run))
    ends.sort()
    gap, floor = 17.0, frame.top - 17
    places = []
    for y, _, _ in ends:
        floor = max(y, floor + gap)
        places.append(floor)
    over = max(0.0, (places[-1] if places else 0) - frame.bottom)
    for place, (_, x, run) in zip(places, ends, strict=True):
        sheet.parts.append(_shape(run, frame.right + 14, place - over, color_of(run)))
        sheet.text(frame.right + 24, place - over + 4, names[run], 12, color_of(run))
        if x < frame.right - 12:  # a run that ended early: lead the eye to its name
            y = next(e[0] for e in ends if e[2] == run)
            sheet.parts.append(
                f'<line x1="{x:g}" y1="{y:g}" x2="{frame.right + 8:g}" y2="{place - over:g}" stroke="{color_of(run)}" '
                'stroke-width="1" stroke-dasharray="2 4" opacity="0.6"/>'
            )
