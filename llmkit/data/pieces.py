"""Documents in pieces that fit into memory, cut where a tokenizer notices least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

PIECE = 1 << 18
"""Characters of a file's text held at a time."""


class Piece(NamedTuple):
    """Text of one document, or of a part of a long one; `first` says that a new document begins here.

    running: it is a part of running text, not a record; code: what the document is about, where that is asked for;
    origin: which of several sources it is from; again: it has been read before, for its source counts more than once.
    """

    text: str
    first: bool
    running: bool = False
    code: str | None = None
    origin: int = 0
    again: bool = False


def cut(chunks: Iterator[str]) -> Iterator[str]:
    """Regroup chunks into pieces of at most PIECE characters (plus one chunk), cut where a tokenizer notices least."""
    held: list[str] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size > PIECE:
            text = "".join(held)
            at = cut_place(text)
            yield text[:at]
            held, size = [text[at:]], len(text) - at
    if size:
        yield "".join(held)


def cut_place(text: str) -> int:
    """Where to cut a text: in its second half, before the end of a blank line if there is one, else after a line end,
    else before a space, else at its end."""
    # Before the last newline of a blank line, after a lone newline, before a space: in each case byte-level BPE splits
    # words exactly as it would in the uncut text.
    half = len(text) // 2
    if (at := text.rfind("\n\n", half)) >= 0 or (at := text.rfind("\n", half)) >= 0:
        return at + 1
    return at if (at := text.rfind(" ", half)) > 0 else len(text)
