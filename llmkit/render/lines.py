"""Lines of talk on a terminal: broken between words, and short of the fields that find no room."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from llmkit.render.console import is_terminal, width
from llmkit.render.safe_text import safe_text


class Field(NamedTuple):
    """A part of a line that stands or falls as a whole. rank: 0 stays, the others go, the largest first."""

    text: str
    rank: int
    style: str = "default"


def fitting(fields: Sequence[Field], columns: int, gap: int = 2) -> list[Field]:
    """The fields, in order, that fit into `columns` with `gap` between: a number cut short reads as another one."""
    kept = list(fields)
    while sum(len(f.text) for f in kept) + gap * (len(kept) - 1) > columns:
        weakest = max(range(len(kept)), key=lambda i: (kept[i].rank, i))
        if kept[weakest].rank == 0:
            break
        del kept[weakest]
    return kept


def talk(text: str, stream: TextIO) -> str:
    """`text` as `stream` should get it: nothing in it drives a terminal, which gets it broken between words."""
    clean = safe_text(text)
    return wrapped(clean, width(stream)) if is_terminal(stream) else clean


def wrapped(text: str, columns: int) -> str:
    """`text` with line ends between words, so that no line is wider than `columns` if words are not."""
    return "\n".join(
        "\n".join(
            textwrap.wrap(
                line,
                columns,
                break_long_words=False,  # a path must stay one that can be copied
                break_on_hyphens=False,
                expand_tabs=False,
                replace_whitespace=False,
            )
        )
        if len(line) > columns
        else line
        for line in text.split("\n")
    )
