"""Plain tables that fit: columns are dropped before a line would wrap, and cut before the first one goes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmkit.render.labels import left, right
from llmkit.render.safe_text import safe_line

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Column:
    """A column: its title, whether numbers stand to the right, and how dear it is (the lowest goes first)."""

    title: str
    is_right: bool = False
    keep: int = 5
    style: str = ""


Cell = str | Text


def table_lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Text]:
    """Title line and rows in at most `width` columns; the first column is cut if nothing else helps."""
    cells = [[_safe(c) for c in row] for row in rows]
    wide = [max([cell_len(c.title), *(row[i].cell_len for row in cells)], default=0) for i, c in enumerate(columns)]
    shown = [i for i in range(len(columns)) if i == 0 or any(row[i].plain for row in cells)]
    while len(shown) > 1 and sum(wide[i] + 2 for i in shown) - 2 > width:
        over = sum(wide[i] + 2 for i in shown) - 2 - width
        if wide[0] - over >= 24:
            wide[0] -= over
            break
        shown.remove(min(shown[1:], key=lambda i: (columns[i].keep, -i)))
    wide[0] = min(wide[0], width)
    lines = [_join([Text(columns[i].title, "dim") for i in shown], shown, columns, wide)]
    lines += [_join([row[i] for i in shown], shown, columns, wide) for row in cells]
    return lines


def fact_lines(values: Mapping[str, str], width: int) -> list[Text]:
    """A title and its value on a line; a value too long for it goes on below itself, a digest is cut."""
    titles = [safe_line(title) for title in values]
    wide = min(max(map(cell_len, titles), default=0), width // 2)
    room = max(1, width - wide - 2)
    lines = []
    for title, value in zip(titles, values.values(), strict=True):
        clean = safe_line(value)
        if _DIGEST.fullmatch(clean):
            clean = left(clean, room)
        parts = [part.plain for part in Text(clean).wrap(Console(), room, overflow="fold")]
        lines += [Text(f"{left(title if i == 0 else '', wide)}  {part}") for i, part in enumerate(parts or [""])]
    return lines


def _safe(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(safe_line(cell))


def _join(cells: Sequence[Text], shown: Sequence[int], columns: Sequence[Column], wide: Sequence[int]) -> Text:
    line = Text(no_wrap=True)
    for cell, i in zip(cells, shown, strict=True):
        if i != shown[0]:
            line.append("  ")
        pad = " " * max(0, wide[i] - cell.cell_len)
        if cell.cell_len > wide[i]:
            cut = (right if columns[i].is_right else left)(cell.plain, wide[i])
            line.append(cut, cell.style or columns[i].style)
        elif columns[i].is_right:
            line.append(pad).append_text(_styled(cell, columns[i].style))
        else:
            line.append_text(_styled(cell, columns[i].style)).append(pad)
    line.rstrip()
    return line


def _styled(cell: Text, style: str) -> Text:
    if style and not cell.style and not cell.spans:
        return Text(cell.plain, style)
    return cell
