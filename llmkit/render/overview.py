"""The first screen of attention: one cell per head with the letter of its pattern and how much of it, in percent."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from rich.text import Text

from llmkit.render.palette import Palette, ink_on, kind_color

KINDS = {"p": "previous", "s": "sink", "l": "local", "i": "induction", "d": "duplicate", "c": "content", "b": "broad"}
_GUTTER = 5


def overview_lines(heads: Mapping[tuple[int, int], tuple[str, float]], width: int, palette: Palette) -> list[Text]:
    """Draw {(layer, head): (letter, score 0 to 1)}; a layer is a row, wrapped in bands when heads are many."""
    layers = sorted({layer for layer, _ in heads})
    columns = sorted({head for _, head in heads})
    cell = next((c for c in (6, 4) if _GUTTER + c * len(columns) <= width), 4)
    per_line = max(1, (width - _GUTTER) // cell)
    lines: list[Text] = []
    for start in range(0, len(columns), per_line):
        band = columns[start : start + per_line]
        if start:
            lines.append(Text(""))
        lines.append(Text(" " * _GUTTER + "".join(f"{f'h{h}':^{cell}}" for h in band).rstrip(), style="dim"))
        for layer in layers:
            line = Text(f"{f'L{layer}':<{_GUTTER}}", style="")
            for head in band:
                if (layer, head) in heads:
                    _append_cell(line, *heads[layer, head], cell, palette)
            lines.append(line)
    lines += _legend({letter for letter, _ in heads.values()}, width, palette)
    for line in lines:
        line.no_wrap = True
        line.truncate(width)
    return lines


def _append_cell(line: Text, letter: str, score: float, cell: int, palette: Palette) -> None:
    value = min(99, max(0, round(100 * score)))
    text = f" {letter} {value:>2}" if cell == 6 else f"{letter}{value:>2}"
    if palette == "none":
        line.append(text)
    else:
        color = kind_color(letter, score, palette)
        line.append(text + (" " if cell == 6 else ""), Style.parse(f"bold {ink_on(color)} on {color}"))
        text += " " if cell == 6 else ""
    line.append(" " * (cell - len(text)))


def _legend(present: set[str], width: int, palette: Palette) -> list[Text]:
    lines = [Text(" " * _GUTTER)]
    for letter, word in KINDS.items():
        if letter not in present:
            continue
        if lines[-1].cell_len > _GUTTER and lines[-1].cell_len + 2 + len(word) > width:
            lines.append(Text(" " * _GUTTER))
        style = Style.null() if palette == "none" else Style.parse(f"bold {kind_color(letter, 0.9, palette)}")
        lines[-1].append(letter, style)
        lines[-1].append(f" {word}   ", "dim")
    for line in lines:
        line.rstrip()
    return lines
