"""Bytes to records and running text, streaming: memory does not grow with the input or with its lines.

A record is a line. Its terminator is no part of it, but passes through: a last line without one stays without one,
which is how ids in a pipe turn back into the same bytes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal, NamedTuple, TypeVar

from llmkit.errors import InputRefused, LlmkitError, UsageError
from llmkit.suggest import did_you_mean
from llmkit.tokenization.cuts import safe_cut

T = TypeVar("T")
R = TypeVar("R")
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
    """Blocks of UTF-8 as text. Raises InputRefused with the offset of the first byte that is not UTF-8, after what
    comes before it."""
    base, pending = 0, b""
    for block in chain(blocks, [None]):
        pending += block or b""
        try:
            text, used = codecs.utf_8_decode(pending, errors, block is None)
        except UnicodeDecodeError as error:
            if error.start:
                yield pending[: error.start].decode()
            raise InputRefused(
                f"{name}: byte {base + error.start} (0x{pending[error.start]:02x}) is not valid UTF-8",
                _not_utf8_hint(name),
            ) from None
        base, pending = base + used, pending[used:]
        if text:
            yield text


def _not_utf8_hint(name: str) -> str:
    for suffix in (".gz", ".zst"):
        if name.endswith(suffix):
            return f"its name ends in {suffix}, but it is not packed so; is it what it should be?"
    return "convert the input to UTF-8, or add --errors replace"


def before_refusal(items: Iterable[T], do: Callable[[T], R]) -> tuple[list[R], LlmkitError | None]:
    """What `do` gives for the items before the first one that is refused, and that refusal.

    So that the good records of a batch can be answered before the bad one ends the work.
    """
    done: list[R] = []
    try:
        for item in items:
            done.append(do(item))
    except LlmkitError as refusal:
        return done, refusal
    return done, None


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
        joined: list[Part] = []
        for part in batch:
            held.append(part.text)
            size += len(part.text)
            if size > MAX_RECORD:
                if joined:
                    yield joined
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
    """The text under `field` of each JSON record.

    Raises InputRefused with the line; UsageError when it is the first record that lacks the field, as it is the name
    that is wrong then. The texts before come first.
    """
    is_first = True

    def text_of(numbered: tuple[int, Part]) -> Part:
        nonlocal is_first
        number, part = numbered
        record = _json_object(part.text, f"{name}:{number}")
        if field not in record:
            hint = did_you_mean(field, list(record)) or "there is: " + ", ".join(list(record)[:20])
            raise (UsageError if is_first else InputRefused)(f"{name}:{number}: no field {field!r}", hint)
        is_first = False
        text = record[field]
        if not isinstance(text, str):
            raise InputRefused(f"{name}:{number}: field {field!r} is not text")
        if not _is_unicode(text):
            raise InputRefused(f"{name}:{number}: half of a surrogate pair in the field {field!r}")
        return Part(text, True, True)

    for batch in _numbered(whole(batches, name)):
        yield from _in_order(before_refusal(((n, part) for n, part in batch if part.text.strip()), text_of))


def _numbered(batches: Iterable[list[Part]]) -> Iterator[list[tuple[int, Part]]]:
    """Each part with the number of its line."""
    number = 1
    for batch in batches:
        numbered = []
        for part in batch:
            numbered.append((number, part))
            number += part.last
        yield numbered


def _in_order(found: tuple[list[R], LlmkitError | None]) -> Iterator[list[R]]:
    done, refusal = found
    if done:
        yield done
    if refusal is not None:
        raise refusal


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


def id_lists(
    batches: Iterable[list[Part]], name: str, check: Callable[[list[int], str], None]
) -> Iterator[list[tuple[list[int], Part]]]:
    """The ids written in each part, in decimal with spaces between.

    check: called with ids and where they stand, to refuse those that stand for nothing. Raises InputRefused with the
    line, after what comes before it.
    """

    def ids_of(numbered: tuple[int, Part]) -> tuple[list[int], Part]:
        number, part = numbered
        if (wrong := _NOT_IDS.search(part.text)) is not None:
            raise InputRefused(
                f"{name}:{number}: {wrong.group()[:40]!r} is not a token id",
                "--decode reads ids separated by spaces, as --ids writes them",
            )
        try:
            ids = [int(word) for word in part.text.split()]
        except ValueError:
            raise InputRefused(f"{name}:{number}: a number is far too long for a token id") from None
        check(ids, f"{name}:{number}")
        return ids, part

    for batch in _numbered(batches):
        yield from _in_order(before_refusal(batch, ids_of))


def json_id_lists(
    batches: Iterable[list[Part]], name: str, check: Callable[[list[int], str], None]
) -> Iterator[list[tuple[list[int], Part]]]:
    """The "ids" of each JSON record; otherwise as `id_lists`."""

    def ids_of(numbered: tuple[int, Part]) -> tuple[list[int], Part]:
        number, part = numbered
        ids = _json_object(part.text, f"{name}:{number}").get("ids")
        if not isinstance(ids, list) or not all(type(i) is int and i >= 0 for i in ids):
            raise InputRefused(f"{name}:{number}: 'ids' is not a list of token ids")
        check(ids, f"{name}:{number}")
        return ids, part

    for batch in _numbered(whole(batches, name)):
        yield from _in_order(before_refusal(((n, part) for n, part in batch if part.text.strip()), ids_of))
