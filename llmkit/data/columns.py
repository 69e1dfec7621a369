"""Which column of a table holds what, and what its cells may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmkit.errors import InputRefused, LlmkitError, UsageError
from llmkit.suggest import nearest

LABEL_NAMES = (
    "label",
    "labels",
    "sentiment",
    "class",
    "category",
    "target",
    "gold_label",
    "polarity",
    "mood",
    "intent",
    "y",
)
MAX_LABELS = 1000


def text_column(names: list[str], asked: str | None, file: str, number: int) -> str:
    """The column with the text: the one asked for, else "text", else the only one. `number`: the line of these names.

    Raises UsageError, naming what there is, when it cannot be told.
    """
    if asked is not None:
        if asked not in names:
            raise no_column(UsageError, file, number, asked, names)
        return asked
    if "text" in names:
        return "text"
    if len(names) == 1:
        return names[0]
    raise UsageError(
        f"{file}: which field holds the text? there is: {', '.join(map(str, names)) or 'nothing'}",
        "say so, as in --set data.field=NAME",
    )


def no_column(error: type[LlmkitError], file: str, number: int, column: str, names: list[str]) -> LlmkitError:
    """The error for a record that lacks a column."""
    near = nearest(column, [n for n in names if isinstance(n, str)], most=1)
    return error(
        f"{file}:{number}: no field {column!r}; there is: {', '.join(map(str, names)) or 'nothing'}",
        f"did you mean {near[0]!r}?" if near else "say which, as in --set data.field=NAME",
    )


def find_column(name: str, there: list[str], role: str, asked: str | None, usual: Sequence[str]) -> str:
    """The column that was asked for, else the first of the usual ones that is there; UsageError when there is none."""
    if asked is not None:
        if asked in there:
            return asked
        near = nearest(asked, there, most=1)
        raise UsageError(
            f"{name}: no column {asked!r}; there is: {', '.join(there)}", f"did you mean {near[0]!r}?" if near else None
        )
    folded = {column.lower(): column for column in reversed(there)}
    for candidate in usual:
        if candidate in folded:
            return folded[candidate]
    shown_columns = ", ".join(column[:40] for column in there[:20])
    raise UsageError(
        f"{name}: which column holds the {role}? there is: {shown_columns}", f"say so, as in --set data.{role}=COLUMN"
    )


def label_text(name: str, number: int, value: object) -> str:
    """A label as text; raises InputRefused for what cannot be one."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int) or not str(value).strip():
        raise InputRefused(f"{name}:{number}: the label is {'neither a word nor an integer' if value else 'empty'}")
    return str(value).strip()


def label_order(labels: Iterable[str]) -> type[int] | None:
    """What to sort labels by: their number if all are integers."""

    def is_integer(label: str) -> bool:
        return label.lstrip("-").isdecimal() and label.isascii() and len(label) < 10

    return int if all(is_integer(label) for label in labels) else None
