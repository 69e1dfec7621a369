"""Any drawing for the terminal as an SVG of the same look: block characters become rectangles, so no seams show."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from llmkit.render.svg import ACCENT, DIM, INK, PAPER, Sheet

_SIZE, _ADVANCE, _LINE = 14.0, 8.43, 19.0
_MARGIN = 26
_ANSI = {"green": ACCENT, "cyan": "#39c5cf", "blue": "#58a6ff", "yellow": "#d29922", "red": "#f85149"}
_EIGHTHS = "▏▎▍▌▋▊▉█"


def screen_svg(lines: Sequence[Text], *, title: str, subtitle: str = "") -> str:
    """Draw `lines` of terminal text under a title."""
    sheet = Sheet()
    sheet.text(_MARGIN, _MARGIN + 14, title, 17, more=' font-weight="700"')
    if subtitle:
        sheet.text(_MARGIN, _MARGIN + 36, subtitle, 12.5, DIM)
    top = _MARGIN + (54 if subtitle else 34)
    console = Console(width=1000, color_system="truecolor", force_terminal=True)
    for i, line in enumerate(lines):
        x = float(_MARGIN)
        for segment in line.render(console, end=""):
            _draw(sheet, segment.text, segment.style or Style.null(), x, top + i * _LINE)
            x += cell_len(segment.text) * _ADVANCE
    widest = max((line.cell_len for line in lines), default=0)
    width = max(2 * _MARGIN + widest * _ADVANCE, 420, 2 * _MARGIN + len(title) * 10.4)
    return sheet.page(width, top + len(lines) * _LINE + _MARGIN - 8, title)


def _draw(sheet: Sheet, text: str, style: Style, x: float, y: float) -> None:
    fill = _hex(style.color, DIM if style.dim else INK)
    if style.bgcolor is not None:
        sheet.rect(x, y, cell_len(text) * _ADVANCE, _LINE, _hex(style.bgcolor, PAPER))
    for found in re.finditer(f"█+[{_EIGHTHS}]?|[{_EIGHTHS}]|▀+|▄+|[^{_EIGHTHS}▀▄]+", text):
        piece, at = found.group(), x + cell_len(text[: found.start()]) * _ADVANCE
        if piece[0] in "▀▄":
            half = y if piece[0] == "▀" else y + _LINE / 2
            sheet.rect(at, half, len(piece) * _ADVANCE + 0.1, _LINE / 2, fill)
        elif piece[0] in _EIGHTHS:
            eighths = sum(_EIGHTHS.index(char) + 1 for char in piece)
            sheet.rect(at, y + 4, eighths * _ADVANCE / 8, _LINE - 8, fill, 2)
        else:
            _words(sheet, piece, at, y, fill, style)


def _words(sheet: Sheet, run: str, x: float, y: float, fill: str, style: Style) -> None:
    weight = ' font-weight="700"' if style.bold else ""
    for found in re.finditer(r"[^ ]+", run):
        # Word by word, each with its width pinned: columns align whatever monospace font the reader has.
        at = x + cell_len(run[: found.start()]) * _ADVANCE
        more = f' textLength="{cell_len(found.group()) * _ADVANCE:g}"{weight}'
        sheet.text(at, y + 14, found.group(), _SIZE, fill, more=more)


def _hex(color: Color | None, default: str) -> str:
    if color is None or color.is_default:
        return default
    return _ANSI.get(color.name) or color.get_truecolor().hex
