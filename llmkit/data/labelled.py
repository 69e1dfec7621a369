"""Labelled texts for classification, from TSV, CSV, JSONL or JSON tables, or the moods of built-in stories."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from llmkit.data.columns import LABEL_NAMES, MAX_LABELS, find_column, label_order, label_text
from llmkit.data.rows import kind_of, read_rows
from llmkit.data.sources import DEFAULT_STORIES, STORIES, open_source
from llmkit.data.split import VALIDATION_STORIES
from llmkit.data.text_in import STDIN, Errors, shown
from llmkit.errors import InputRefused, UsageError

TEXT_NAMES = (
    "sentence",
    "text",
    "review",
    "sentence1",
    "premise",
    "question1",
    "content",
    "comment",
    "tweet",
    "title",
    "body",
    "phrase",
)
PAIR_NAMES = {
    "sentence1": "sentence2",
    "premise": "hypothesis",
    "question1": "question2",
    "text1": "text2",
    "text_a": "text_b",
}


@dataclass(frozen=True)
class Example:
    """A text, its second text if it is a pair, its label as an index into Table.labels, and the line it stood on."""

    text: str
    label: int
    pair: str | None = None
    line: int = 0


@dataclass(frozen=True)
class TableReport:
    """n_empty: rows without text, left out; n_duplicates: rows equal to an earlier one in text; n_conflicts: those of
    them whose label differs; n_overlap: rows whose text is also in the other table."""

    name: str
    n_rows: int
    per_label: tuple[tuple[str, int], ...]
    n_empty: int
    n_duplicates: int
    n_conflicts: int
    n_overlap: int | None = None

    def lines(self) -> list[str]:
        """What a reader should know, one fact a line; oddities only where there are some."""
        shares = ", ".join(f"{label} {100 * n / self.n_rows:.0f}%" for label, n in self.per_label[:12])
        more = ", ..." if len(self.per_label) > 12 else ""
        found = [f"{self.name}: {self.n_rows:,} rows, {len(self.per_label)} labels ({shares}{more})"]
        if self.n_empty:
            found.append(f"{self.n_empty:,} rows without text left out")
        if self.n_duplicates:
            conflict = f", {self.n_conflicts:,} of them with another label" if self.n_conflicts else ""
            found.append(f"{self.n_duplicates:,} rows repeat an earlier text{conflict}")
        if self.n_overlap:
            found.append(f"{self.n_overlap:,} rows are also in the training table")
        return found


@dataclass(frozen=True)
class Table:
    """A labelled table in file order.

    labels: sorted, by number if all are integers, so that their order does not depend on that of the rows; columns: the
    names of text, pair and label column.
    """

    name: str
    rows: tuple[Example, ...]
    labels: tuple[str, ...]
    columns: tuple[str, str | None, str]
    n_empty: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def report(self, training: Table | None = None) -> TableReport:
        """Balance, repeats and, given the training table, overlap with it."""
        counts = Counter(row.label for row in self.rows)
        first: dict[tuple[str, str | None], int] = {}
        duplicates = conflicts = 0
        for row in self.rows:
            known = first.setdefault((row.text, row.pair), row.label)
            conflicts += known != row.label
        duplicates = len(self.rows) - len(first)
        overlap = None
        if training is not None:
            trained = {(row.text, row.pair) for row in training.rows}
            overlap = sum((row.text, row.pair) in trained for row in self.rows)
        per_label = tuple((label, counts[i]) for i, label in enumerate(self.labels))
        return TableReport(self.name, len(self.rows), per_label, self.n_empty, duplicates, conflicts, overlap)


def read_table(
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    stories: int = DEFAULT_STORIES,
    seed: int = 0,
    held_out: bool = False,
    errors: Errors = "strict",
) -> Table:
    """Read one labelled table, "-" being stdin, or (path "stories") texts and moods of `stories` built-in stories.

    text, pair, label: column names; where None, the usual names are looked for. labels: those of the training table, in
    its order, when this is a validation table. held_out: take the validation stories. Rows without text are left out
    and counted. Raises UsageError when a column cannot be found (the message lists them), InputRefused naming file and
    line for a broken row or a label that `labels` lacks.
    """
    if (name := os.fspath(path)) == STORIES:
        return _story_table(stories, seed, VALIDATION_STORIES if held_out else 0, labels)
    source = open_source(name, errors=errors)
    if len(source.files) != 1:
        raise UsageError(f"{name} names {len(source.files)} files where one table is expected", "name one of them")
    file = source.files[0]
    name = shown(file)
    if file != STDIN and kind_of(file) == "text":
        raise InputRefused(
            f"{name}: not a table by its name", "tables end in .tsv, .csv, .jsonl or .json (also .gz, .zst) or .parquet"
        )
    found = read_rows(file, errors)
    head = next(found, None)
    if head is None:
        raise InputRefused(f"{name} has no rows", "a header line and at least one row are expected")
    columns = _columns(name, list(head[1]), text, pair, label)
    return _table(name, _triples(name, head, found, columns), columns, labels)


def _columns(
    name: str, there: list[str], text: str | None, pair: str | None, label: str | None
) -> tuple[str, str | None, str]:
    text_column = find_column(name, there, "text", text, TEXT_NAMES)
    pair_column = find_column(name, there, "pair", pair, ()) if pair else None
    if text is None and pair is None and PAIR_NAMES.get(text_column.lower()) in there:
        pair_column = PAIR_NAMES[text_column.lower()]
    return text_column, pair_column, find_column(name, there, "label", label, LABEL_NAMES)


def _triples(
    name: str,
    head: tuple[int, dict[str, object]],
    rest: Iterable[tuple[int, dict[str, object]]],
    columns: tuple[str, str | None, str],
) -> Iterator[tuple[int, str, str | None, str]]:
    text, pair, label = columns
    for number, row in chain([head], rest):
        for column in filter(None, columns):
            if column not in row:
                raise InputRefused(
                    f"{name}:{number}: no field {column!r}; there is: {', '.join(map(str, row)) or 'nothing'}"
                )
        second = _words(name, number, pair, row[pair]) if pair else None
        yield number, _words(name, number, text, row[text]), second, label_text(name, number, row[label])


def _words(name: str, number: int, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputRefused(f"{name}:{number}: field {column!r} is not text")
    return value.strip()


def _table(
    name: str,
    triples: Iterable[tuple[int, str, str | None, str]],
    columns: tuple[str, str | None, str],
    labels: Sequence[str] | None,
) -> Table:
    index: dict[str, int] = {label: i for i, label in enumerate(labels or ())}
    rows: list[Example] = []
    n_empty = 0
    for number, text, pair, label in triples:
        if not text:
            n_empty += 1
            continue
        if label not in index:
            if labels is not None:
                raise InputRefused(
                    f"{name}:{number}: label {label!r} is not among the training labels: {', '.join(labels[:12])}"
                )
            if len(index) == MAX_LABELS:
                raise InputRefused(
                    f"{name}:{number}: more than {MAX_LABELS} different labels in column {columns[2]!r}",
                    "is that the right column? say which, as in --set data.label=COLUMN",
                )
            index[label] = len(index)
        rows.append(Example(text, index[label], pair, number))
    if not rows:
        raise InputRefused(f"{name} has no rows with text")
    if labels is not None:
        return Table(name, tuple(rows), tuple(labels), columns, n_empty)
    ordered = sorted(index, key=label_order(index))
    place = {index[label]: i for i, label in enumerate(ordered)}
    rows = [Example(row.text, place[row.label], row.pair, row.line) for row in rows]
    return Table(name, tuple(rows), tuple(ordered), columns, n_empty)


def _story_table(count: int, seed: int, start: int, labels: Sequence[str] | None) -> Table:
    from llmkit.data.stories import MOODS, stories

    triples = ((i, story.text, None, story.mood) for i, story in enumerate(stories(count, seed, start=start)))
    return _table(STORIES, triples, ("text", None, "mood"), labels or MOODS)
