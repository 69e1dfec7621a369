"""Token labels for maps: short, one line, of known width, and unable to move the cursor."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

from llmkit.render.safe_text import safe_line
from llmkit.render.tree import fit

_BLANK = "␣"


def label(text: str) -> str:
    """A token's text for a label: no space around it (a blank token becomes ␣), nothing that hides or moves text.

    Of stacked combining marks two a letter are kept; joiners and variation selectors go, since terminals disagree
    about their width.
    """
    words = safe_line(unicodedata.normalize("NFC", text))
    kept, marks = [], 0
    for char in words:
        if cell_len(char) > 0:
            marks = 0
        elif (
            unicodedata.category(char) not in ("Mn", "Mc") or 0xFE00 <= ord(char) <= 0xFE0F or (marks := marks + 1) > 2
        ):
            continue
        kept.append(char)
    return "".join(kept).strip() or _BLANK


def right(text: str, columns: int) -> str:
    """`text` cut and right-aligned to exactly `columns`."""
    cut = fit(text, columns)
    return " " * (columns - cell_len(cut)) + cut


def left(text: str, columns: int) -> str:
    """`text` cut and left-aligned to exactly `columns`."""
    cut = fit(text, columns)
    return cut + " " * (columns - cell_len(cut))


def upright(labels: list[str], rows: int) -> list[list[str]]:
    """Labels as columns of letters that stand on the bottom line: a list of lines, each with one cell per label.

    At most `rows` lines; longer labels end in `…`. A cell is a letter (one or two columns wide) or empty.
    """
    stacks = []
    for text in labels:
        letters = [c for c in unicodedata.normalize("NFC", text) if cell_len(c) > 0]
        stacks.append([*letters[: rows - 1], "…"] if len(letters) > rows else letters)
    height = max((len(s) for s in stacks), default=0)
    return [[s[i - (height - len(s))] if i >= height - len(s) else "" for s in stacks] for i in range(height)]
