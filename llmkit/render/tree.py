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
    frame: bool = False  # only holds other lines together: what is below counts as being on its level


_RIGHT = {"params", "share", "bytes", "mean", "std", "min", "max"}
_DROP = ("bar", "share", "dtype", "note", "bytes", "shape")  # what goes first when the width is short
_BAR, _SHAPES, _NOTE = 10, 22, 12


def tree_lines(roots: Sequence[Branch], columns: Sequence[str], width: int, depth: int) -> list[Text]:
    """Lay out the branches down to `depth` levels with the named columns, dropping columns that do not fit."""
    rows = list(_walk(roots, "", depth))
    # Bar and note share the last column: lines inside folded layers have words where others have a bar.
    ordered = [*(c for c in columns if c not in ("bar", "note")), *(c for c in ("bar", "note") if c in columns)]
    shown = [c for c in ordered if c == "bar" or any(b.cells.get(c) for _, _, b in rows)]
    wish = {c: _wish(c, rows) for c in shown}
    names = max((cell_len(g) + cell_len(safe_line(b.name)) + cell_len(_times(b)) for g, _, b in rows), default=0)
    names = min(names, max(16, width // 2))
    for column in ("", *_DROP):
        if column in shown:
            shown.remove(column)
        _squeeze(names, wish, shown, width)
        if _total(names, wish, shown) <= width:
            break
    over = _total(names, wish, shown) - width
    if over > 0:
        names = max(8, names - over)
    return [
        _line(guide, branch, names, shown, wish, width, depth <= 1 and not branch.frame)
        for guide, depth, branch in rows
    ]


def _wish(column: str, rows: Sequence[tuple[str, int, Branch]]) -> int:
    if column == "bar":
        return _BAR
    told = [b for _, depth, b in rows if column != "shape" or (depth <= 1 and not b.frame) or not b.children]
    return max((cell_len(safe_line(b.cells.get(column, ""))) for b in told), default=0)


def _squeeze(names: int, wish: dict[str, int], shown: Sequence[str], width: int) -> None:
    """Cut the list of shapes as far as it still says something: more than a dropped column would."""
    over = _total(names, wish, shown) - width
    if over > 0 and "shape" in shown:
        wish["shape"] = max(min(wish["shape"], _SHAPES), wish["shape"] - over)
    over = _total(names, wish, shown) - width
    if over > 0 and "note" in shown and "bar" not in shown:
        wish["note"] = max(min(wish["note"], _NOTE), wish["note"] - over)


def _total(names: int, wish: dict[str, int], shown: Sequence[str]) -> int:
    last = max((wish[c] for c in shown if c in ("bar", "note")), default=-2)
    return names + sum(2 + wish[c] for c in shown if c not in ("bar", "note")) + 2 + last


def _walk(branches: Sequence[Branch], guide: str, depth: int) -> Iterator[tuple[str, int, Branch]]:
    for i, branch in enumerate(branches):
        last = i == len(branches) - 1
        yield guide + ("└─ " if last else "├─ "), depth, branch
        below = depth if branch.frame else depth - 1
        if below > 0:
            yield from _walk(branch.children, guide + ("   " if last else "│  "), below)


def _times(branch: Branch) -> str:
    return safe_line(branch.cells.get("times", ""))


def _line(
    guide: str, branch: Branch, names: int, shown: Sequence[str], wish: dict[str, int], width: int, is_leaf: bool
) -> Text:
    line = Text(no_wrap=True)
    line.append(guide, "dim")
    room = names - cell_len(guide)
    times = _times(branch)
    line.append(fit(safe_line(branch.name), max(1, room - cell_len(times))), style="dim" if branch.muted else "bold")
    line.append(times, style="cyan")
    line.append(" " * max(0, names - line.cell_len))
    for column in shown:
        if column != "note" or "bar" not in shown:
            line.append("  ")
        if column == "bar" and branch.share:
            line.append(bar(branch.share, _BAR), style="blue")
        if column in ("bar", "note"):
            continue
        told_below = column == "shape" and branch.children and not is_leaf
        value = "" if told_below else fit(safe_line(branch.cells.get(column, "")), wish[column])
        pad = " " * (wish[column] - cell_len(value))
        style = {"share": "dim", "shape": "", "params": ""}.get(column, "dim")
        line.append(pad + value if column in _RIGHT else value + pad, style=style)
    if "note" in shown:
        if branch.share and "bar" in shown and branch.cells.get("note"):
            line.append(" ")
        line.append(safe_line(branch.cells.get("note", "")), style="cyan")
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line


def fit(text: str, columns: int) -> str:
    """Cut `text` to `columns` terminal columns, with `…` where something is missing; wide characters count as two."""
    if cell_len(text) <= columns:
        return text
    return set_cell_size(text, max(0, columns - 1)).rstrip() + "…" if columns > 0 else ""
