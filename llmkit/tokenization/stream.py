"""Bytes to records and running text, streaming: memory does not grow with the input or with its lines.

A record is a line. Its terminator is no part of it, but passes through: a last line without one stays without one,
which is how ids in a pipe turn back into the same bytes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from llmkit.errors import InputRefused, UsageError
from llmkit.suggest import did_you_mean
from llmkit.tokenization.cuts import safe_cut

Errors = Literal["strict", "replace"]
MAX_PART = 1 << 16  # characters of a record held at a time; also of a word, longer ones are cut
MAX_RECORD = 1 << 24  # characters of a record that is needed as a whole
_NOT_IDS = re.compile(r"[^0-9 \t\r]+")


class Part(NamedTuple):
    """A record or a part of a long one. last: the record ends here; newline: with a line end."""

    text: str
    last: bool
    newline: bool


def decoded(blocks: Iterable[bytes], name: str, errors: Errors = "strict") -> Iterator[str]:
    """Blocks of UTF-8 as text. Raises InputRefused with the offset of the first byte that is not UTF-8."""
    base, pending = 0, b""
    for block in blocks:
        pending += block
        text, used = _decode(pending, base, name, errors, final=False)
        base, pending = base + used, pending[used:]
        if text:
            yield text
    text, _ = _decode(pending, base, name, errors, final=True)
    if text:
        yield text


def _decode(data: bytes, base: int, name: str, errors: Errors, *, final: bool) -> tuple[str, int]:
    try:
        return codecs.utf_8_decode(data, errors, final)
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{name}: byte {base + error.start} (0x{data[error.start]:02x}) is not valid UTF-8",
            "convert the input to UTF-8, or add --errors replace",
        ) from None


def records(texts: Iterable[str]) -> Iterator[list[Part]]:
    """The lines of a text, as many at a time as arrive together, so that nothing waits for more input."""
    held, middle = "", False
    for text in texts:
        *lines, held = (held + text).split("\n")
        batch = []
        for line in lines:
            batch += _parts(line, last=True)
            middle = False
        if len(held) > MAX_PART:
            *parts, rest = _parts(held, last=False)
            batch += parts
            held, middle = rest.text, True
        if batch:
            yield batch
    if held or middle:
        yield [Part(held, True, False)]


def _parts(line: str, *, last: bool) -> list[Part]:
    parts, start = [], 0
    while len(line) - start > MAX_PART:
        end = safe_cut(line, start + 1, start + MAX_PART)
        parts.append(Part(line[start:end], False, False))
        start = end
    return [*parts, Part(line[start:] if start else line, last, last)]


def whole(batches: Iterable[list[Part]], name: str) -> Iterator[list[Part]]:
    """The same records in one part each. Raises InputRefused for one over MAX_RECORD characters."""
    held: list[str] = []
    size = 0
    for batch in batches:
        joined = []
        for part in batch:
            held.append(part.text)
            size += len(part.text)
            if size > MAX_RECORD:
                raise InputRefused(
                    f"{name}: a record is longer than {MAX_RECORD:,} characters",
                    "--ids, --tokens, --count and --out take records of any length",
                )
            if part.last:
                joined.append(Part("".join(held), True, part.newline))
                held, size = [], 0
        if joined:
            yield joined


def running(texts: Iterable[str]) -> Iterator[str]:
    """Running text in parts whose tokens, joined, are the tokens of the whole."""
    held = ""
    for text in texts:
        held += text
        while len(held) > MAX_PART:
            end = safe_cut(held, 1, len(held) - 1)
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def fields(batches: Iterable[list[Part]], name: str, field: str) -> Iterator[list[Part]]:
    """The text under `field` of each JSON record. Raises InputRefused or UsageError with the line."""
    number = 0
    for batch in whole(batches, name):
        found = []
        for part in batch:
            number += 1
            if not part.text.strip():
                continue
            record = _json_object(part.text, f"{name}:{number}")
            if field not in record:
                hint = did_you_mean(field, list(record)) or "there is: " + ", ".join(list(record)[:20])
                raise UsageError(f"{name}:{number}: no field {field!r}", hint)
            text = record[field]
            if not isinstance(text, str):
                raise InputRefused(f"{name}:{number}: field {field!r} is not text")
            if not _is_unicode(text):
                raise InputRefused(f"{name}:{number}: half of a surrogate pair in the field {field!r}")
            found.append(Part(text, True, True))
        if found:
            yield found


def _is_unicode(text: str) -> bool:
    """Whether `text` can be encoded: JSON may spell one half of a surrogate pair."""
    try:
        return text.isascii() or bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _json_object(line: str, where: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"{where} is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise InputRefused(f"{where} is not a JSON object")
    return record


def id_lists(batches: Iterable[list[Part]], name: str) -> Iterator[list[tuple[list[int], Part]]]:
    """The ids written in each part, in decimal with spaces between. Raises InputRefused with the line."""
    number = 1
    for batch in batches:
        found = []
        for part in batch:
            if (wrong := _NOT_IDS.search(part.text)) is not None:
                raise InputRefused(
                    f"{name}:{number}: {wrong.group()[:40]!r} is not a token id",
                    "--decode reads ids separated by spaces, as --ids writes them",
                )
            try:
                found.append(([int(word) for word in part.text.split()], part))
            except ValueError:
                raise InputRefused(f"{name}:{number}: a number is far too long for a token id") from None
            number += part.last
        yield found


def json_id_lists(batches: Iterable[list[Part]], name: str) -> Iterator[list[tuple[list[int], Part]]]:
    """The "ids" of each JSON record. Raises InputRefused with the line."""
    number = 0
    for batch in whole(batches, name):
        found = []
        for part in batch:
            number += 1
            if part.text.strip():
                ids = _json_object(part.text, f"{name}:{number}").get("ids")
                if not isinstance(ids, list) or not all(type(i) is int and i >= 0 for i in ids):
                    raise InputRefused(f"{name}:{number}: 'ids' is not a list of token ids")
                found.append((ids, part))
        yield found
