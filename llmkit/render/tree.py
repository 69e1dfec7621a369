"""The layer tree: guides on the left, columns on the right, never wider than the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from llmkit.render.bars import bar
from llmkit.render.safe_text import safe_line


@dataclass(frozen=True)
class Branch:
    """One line: its name, its cells by column name, the share (0 to 1) for its bar, and what hangs below."""

    name: str
    cells: dict[str, str]
    share: float | None = None
    muted: bool = False
    children: Sequence[Branch] = field(default=())


_RIGHT = {"params", "share", "bytes", "mean", "std", "min", "max"}
_DROP = ("bar", "note", "dtype", "share", "bytes", "shape")  # what goes first when the width is short
_BAR = 10


def tree_lines(roots: Sequence[Branch], columns: Sequence[str], width: int, depth: int) -> list[Text]:
    """Lay out the branches down to `depth` levels with the named columns, dropping columns that do not fit."""
    rows = list(_walk(roots, "", depth))
    shown = [c for c in columns if c == "bar" or any(b.cells.get(c) for _, _, b in rows)]
    wish = {c: _BAR if c == "bar" else max(cell_len(safe_line(b.cells.get(c, ""))) for _, _, b in rows) for c in shown}
    names = max((cell_len(g) + cell_len(safe_line(b.name)) + len(_times(b)) for g, _, b in rows), default=0)
    names = min(names, max(16, width // 2))
    for column in (None, *_DROP):
        if column == "bar" and wish.get("shape", 0) > 24:
            wish["shape"] = 24  # a cut list of shapes still says more than a bar
        if column in shown and _total(names, wish, shown) > width:
            shown.remove(column)
    over = _total(names, wish, shown) - width
    if over > 0:
        names = max(8, names - over)
    return [_line(guide, branch, names, shown, wish, width) for guide, _, branch in rows]


def _total(names: int, wish: dict[str, int], shown: Sequence[str]) -> int:
    return names + sum(2 + wish[c] for c in shown)


def _walk(branches: Sequence[Branch], guide: str, depth: int) -> Iterator[tuple[str, int, Branch]]:
    for i, branch in enumerate(branches):
        last = i == len(branches) - 1
        yield guide + ("└─ " if last else "├─ "), depth, branch
        if depth > 1:
            yield from _walk(branch.children, guide + ("   " if last else "│  "), depth - 1)


def _times(branch: Branch) -> str:
    return branch.cells.get("times", "")


def _line(guide: str, branch: Branch, names: int, shown: Sequence[str], wish: dict[str, int], width: int) -> Text:
    line = Text(guide, style="dim", no_wrap=True)
    room = names - cell_len(guide)
    times = _times(branch)
    line.append(fit(safe_line(branch.name), max(1, room - len(times))), style="dim" if branch.muted else "bold")
    line.append(times, style="cyan")
    line.append(" " * max(0, names - line.cell_len))
    for column in shown:
        line.append("  ")
        if column == "bar":
            text = bar(branch.share or 0, _BAR)
            line.append(text + " " * (_BAR - len(text)), style="blue")
            continue
        value = fit(safe_line(branch.cells.get(column, "")), wish[column])
        pad = " " * (wish[column] - cell_len(value))
        style = {"note": "cyan", "share": "dim", "shape": "", "params": ""}.get(column, "dim")
        line.append(pad + value if column in _RIGHT else value + pad, style=style)
    line.rstrip()
    line.truncate(width)
    return line


def fit(text: str, columns: int) -> str:
    """Cut `text` to `columns` terminal columns, with `…` where something is missing; wide characters count as two."""
    if cell_len(text) <= columns:
        return text
    return set_cell_size(text, max(0, columns - 1)).rstrip() + "…" if columns > 0 else ""
