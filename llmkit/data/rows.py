"""Records one by one out of TSV, CSV, JSONL, JSON and Parquet files, with the line each began on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from llmkit.data.parquet import read_parquet
from llmkit.data.text_in import MAX_RECORD, STDIN, Errors, shown, text_chunks, text_lines
from llmkit.errors import InputRefused

Row = dict[str, object]
Line = tuple[int, str]
MAX_JSON = 1 << 28
"""Characters a .json file (read whole) may have; larger ones belong in .jsonl."""

PACKED = (".gz", ".zst")
TABLE_KINDS = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}


def kind_of(path: Path) -> str:
    """The kind of a file by its name, of which .gz or .zst at the end does not count: one of TABLE_KINDS, or "text"."""
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return TABLE_KINDS.get(Path(name).suffix, "text")


def read_rows(
    path: Path, errors: Errors = "strict", choose: Callable[[list[str]], Sequence[str]] | None = None
) -> Iterator[tuple[int, Row]]:
    """(line, row) of each record; tables need a header line, JSON records may also be plain strings (column "text").

    TSV has no quoting, so a quotation mark is a quotation mark; CSV is quoted as usual and checked strictly. Stdin has
    no name to tell its kind, so its first line does: a { makes it JSONL, a tab TSV, and anything else CSV. choose:
    given the names of all columns, those that are needed; Parquet has its columns apart, other files give them all.
    Raises InputRefused naming file and line.
    """
    kind = kind_of(path)
    if kind == "parquet":
        return read_parquet(path, choose)
    if kind == "json":
        return _json(path, errors)
    lines = text_lines(path, errors)
    if path == STDIN:
        kind, lines = _told_by_first_line(lines)
    if kind == "jsonl":
        return _jsonl(path, lines)
    if kind == "csv":
        return _table(path, _csv(path, lines), "CSV text that holds commas must be quoted")
    return _table(path, ((n, line.split("\t")) for n, line in lines if line), "is a tab missing, or one too many?")


def _told_by_first_line(lines: Iterator[Line]) -> tuple[str, Iterator[Line]]:
    """The kind of a table without a name, and all its lines."""
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return "csv", lines
    kind = "jsonl" if first[1].lstrip().startswith("{") else "tsv" if "\t" in first[1] else "csv"
    return kind, chain([first], lines)


def _table(path: Path, lines: Iterable[tuple[int, list[str]]], hint: str) -> Iterator[tuple[int, Row]]:
    header: list[str] = []
    for number, cells in lines:
        if not header:
            header = [cell.strip() for cell in cells]
            if len(set(header)) != len(header):
                twice = next(name for name in header if header.count(name) > 1)
                raise InputRefused(f"{shown(path)}:{number}: column {twice!r} is named twice in the header")
            continue
        if len(cells) != len(header):
            raise InputRefused(f"{shown(path)}:{number}: {len(cells)} columns where the header has {len(header)}", hint)
        yield number, dict(zip(header, cells, strict=True))


def _csv(path: Path, lines: Iterator[Line]) -> Iterator[tuple[int, list[str]]]:
    started = 1
    previous = csv.field_size_limit(MAX_RECORD)
    # The csv module wants line ends kept, else a quoted newline is lost.
    reader = csv.reader((line + "\n" for _, line in lines), strict=True)
    try:
        for cells in reader:
            if cells:
                yield started, cells
            started = reader.line_num + 1
    except csv.Error as e:
        raise InputRefused(
            f"{shown(path)}:{started}: broken CSV ({e})", "check the quotation marks of that row"
        ) from None
    finally:
        csv.field_size_limit(previous)


def read_jsonl(path: Path, errors: Errors = "strict") -> Iterator[tuple[int, Row]]:
    """`read_rows` for JSONL, whatever the file is called."""
    return _jsonl(path, text_lines(path, errors))


def _jsonl(path: Path, lines: Iterator[Line]) -> Iterator[tuple[int, Row]]:
    for number, line in lines:
        if line.strip():
            try:
                record = json.loads(line)
            except json.JSONDecodeError as e:
                raise InputRefused(f"{shown(path)}:{number}: not JSON ({e.msg.lower()} at column {e.colno})") from None
            except RecursionError:
                raise InputRefused(f"{shown(path)}:{number}: JSON nested too deeply") from None
            except ValueError:
                raise InputRefused(f"{shown(path)}:{number}: JSON with a number of too many digits") from None
            if "\\u" in line:
                refuse_half_pairs(record, f"{shown(path)}:{number}")
            yield number, _row(path, number, record)


def _json(path: Path, errors: Errors) -> Iterator[tuple[int, Row]]:
    parts, size = [], 0
    for chunk in text_chunks(path, errors):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_JSON:
            raise InputRefused(
                f"{shown(path)}: a .json file over {MAX_JSON >> 20} MiB", "use .jsonl, one record per line"
            )
    if not "".join(parts).strip():
        return
    try:
        data = json.loads("".join(parts))
    except json.JSONDecodeError as e:
        raise InputRefused(
            f"{shown(path)}:{e.lineno}: not JSON ({e.msg.lower()} at column {e.colno})",
            "one record per line? name it .jsonl" if e.msg == "Extra data" else None,
        ) from None
    except RecursionError:
        raise InputRefused(f"{shown(path)}: JSON nested too deeply") from None
    except ValueError:
        raise InputRefused(f"{shown(path)}: JSON with a number of too many digits") from None
    refuse_half_pairs(data, shown(path))
    if not isinstance(data, list):
        raise InputRefused(f"{shown(path)}: a list of records is expected, not {_named(data)}")
    for number, record in enumerate(data, 1):
        yield number, _row(path, number, record)


def refuse_half_pairs(record: object, where: str) -> None:
    """An escape such as \\ud800 alone is legal JSON, but no text: it can be neither encoded nor written."""
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InputRefused(f"{where}: half of a surrogate pair; this is no text", "remove the \\ud... escape") from None


def _row(path: Path, number: int, record: object) -> Row:
    if isinstance(record, str):
        return {"text": record}
    if not isinstance(record, dict):
        raise InputRefused(f"{shown(path)}:{number}: a record must be an object or a string, not {_named(record)}")
    return record


def _named(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
