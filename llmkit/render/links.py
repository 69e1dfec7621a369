"""Attention as a list to read aloud: query → key, a bar, the weight. Works without colour and in any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from llmkit.render.bars import bar
from llmkit.render.labels import label, left, right


class Link(NamedTuple):
    """One line of the list; `where` is shown last, for example the head it belongs to."""

    query: str
    query_at: int
    key: str
    key_at: int
    weight: float
    where: str = ""


def link_lines(links: Sequence[Link], width: int, *, indent: int = 4) -> list[Text]:
    """Lay the links out as aligned columns in at most `width`; the bar takes what the words leave, up to 16."""
    names = [(_end(link.query, link.query_at), _end(link.key, link.key_at)) for link in links]
    most = max(6, (width - indent - 12) // 2)
    queries = min(most, max((cell_len(q) for q, _ in names), default=0))
    keys = min(most, max((cell_len(k) for _, k in names), default=0))
    places = max((cell_len(link.where) for link in links), default=0)
    room = width - indent - queries - 3 - keys - 2 - 5 - (places + 2 if places else 0)
    columns = min(16, room)
    lines = []
    for link, (query, key) in zip(links, names, strict=True):
        line = Text(" " * indent + right(query, queries), no_wrap=True)
        line.append(" → ", "dim")
        line.append(left(key, keys), "bold")
        if columns >= 4:
            line.append("  ")
            line.append(left(bar(link.weight, columns), columns), "green")
        line.append(f" {link.weight:4.2f}")
        if link.where:
            line.append(f"  {link.where}", "dim")
        line.truncate(width)
        lines.append(line)
    return lines


def _end(text: str, position: int) -> str:
    return f"{label(text)}@{position}"
