"""Pairs from two columns of a table: TSV, CSV, JSONL, JSON or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from llmkit.data.parallel import BothSides, Pair, digest_of_parts
from llmkit.data.rows import read_rows
from llmkit.data.sources import Sha256, Source, file_sha256
from llmkit.data.text_in import shown
from llmkit.errors import InputRefused, UsageError
from llmkit.suggest import nearest

# Column names that go together, the text first.
COUPLES = (
    ("source", "target"),
    ("src", "tgt"),
    ("article", "highlights"),
    ("document", "summary"),
    ("text", "summary"),
    ("question", "answer"),
    ("input", "output"),
    ("prompt", "response"),
    ("text", "target"),
    ("sentence1", "sentence2"),
)


@dataclass(frozen=True)
class ColumnPairs(BothSides):
    """Two columns of tables; a name that is None is looked for among those that usually go together."""

    source: Source
    text: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        if self.source.texts:
            name = shown(self.source.texts[0])
            raise UsageError(
                f"{name} holds one text, where pairs of texts are needed",
                "name the file with the other side in data.target, or use a table (.tsv, .csv, .jsonl, .parquet)",
            )

    def pairs(self) -> Iterator[Pair]:
        """See Pairs. Raises UsageError when the columns cannot be told, InputRefused for a cell that is not text."""
        for path in self.source.files:
            rows = read_rows(path, self.source.errors, partial(self._columns, shown(path)))
            head = next(rows, None)
            if head is None:
                raise InputRefused(f"{shown(path)} has no rows", "a header line and at least one row are expected")
            text, target = self._columns(shown(path), list(head[1]))
            for number, row in chain([head], rows):
                yield Pair(_cell(shown(path), number, text, row), _cell(shown(path), number, target, row))

    def about_bytes(self) -> int:
        """See Pairs."""
        return self.source.about_bytes()

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """See Pairs."""
        return digest_of_parts("columns", self.source.fingerprint(sha256), repr((self.text, self.target)))

    def describe(self) -> str:
        """See Pairs."""
        return f"pairs from {self.source.describe()}"

    def spooled(self, directory: Path) -> ColumnPairs:
        """See Pairs."""
        return replace(self, source=self.source.spooled(directory))

    def _columns(self, name: str, there: list[str]) -> tuple[str, str]:
        for asked in filter(None, (self.text, self.target)):
            if asked not in there:
                near = nearest(asked, there, most=1)
                listed = ", ".join(map(str, there[:20])) or "nothing"
                raise UsageError(
                    f"{name}: no column {asked!r}; there is: {listed}", f"did you mean {near[0]!r}?" if near else None
                )
        for text, target in ((self.text, self.target), *COUPLES):
            text, target = self.text or text, self.target or target
            if text in there and target in there and text != target:
                return text, target
        if self.target and len(there) == 2:
            return next(column for column in there if column != self.target), self.target
        listed = ", ".join(map(str, there[:20]))
        raise UsageError(
            f"{name}: which columns hold the text and its target? there is: {listed}",
            "say so, as in --set data.text=COLUMN --set data.pair=COLUMN",
        )


def _cell(name: str, number: int, column: str, row: dict[str, object]) -> str:
    if column not in row:
        there = ", ".join(map(str, row)) or "nothing"
        raise InputRefused(f"{name}:{number}: no field {column!r}; there is: {there}")
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputRefused(f"{name}:{number}: field {column!r} is not text")
    return value.strip()
