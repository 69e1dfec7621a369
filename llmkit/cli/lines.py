"""Lines for commands that answer line by line: read ahead when input is fast, answer at once when it is slow."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from llmkit.data.text_in import MAX_RECORD, STDIN, shown, text_lines
from llmkit.errors import InputRefused
from llmkit.tokenization.byte_input import PARQUET, refused_parquet
from llmkit.tokenization.stream import before_refusal

PATIENCE = 0.02
"""Seconds to wait for more lines before answering those at hand."""


def windows(path: Path, size: int) -> Iterator[list[tuple[int, str]]]:
    """Groups of at most `size` lines, each with its number from 1, without line ends.

    A group ends early when input pauses, so that a person or a program that waits for an answer gets it.
    Raises InputRefused for bytes that are not UTF-8, naming the line, after the lines before it.
    """
    if path == STDIN and (descriptor := _stdin_descriptor()) is not None:
        yield from _paced(descriptor, size)
        return
    lines = text_lines(path)
    refusal = None
    while refusal is None:
        group, refusal = before_refusal(islice(lines, size), lambda line: line)
        if not group:
            break
        yield group
    if refusal is not None:
        raise refusal


def read_stdin_text() -> str:
    """All of stdin as text; raises InputRefused when it is not UTF-8."""
    if sys.stdin is None:
        return ""
    try:
        data = sys.stdin.buffer.read()
        if data.startswith(PARQUET):
            raise refused_parquet("stdin")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputRefused(f"stdin: byte {error.start} is not valid UTF-8", "convert it: iconv -t UTF-8") from None


def _stdin_descriptor() -> int | None:
    """The descriptor behind stdin if it can be waited for; files and Windows pipes are read as they come."""
    if sys.platform == "win32" or sys.stdin is None:
        return None
    try:
        return sys.stdin.fileno()
    except (OSError, ValueError):
        return None


def _paced(descriptor: int, size: int) -> Iterator[list[tuple[int, str]]]:
    # Read from the descriptor itself: lines inside Python's own buffer could not be waited for.
    group: list[tuple[int, str]] = []
    number, unfinished, held = 0, [b""], 0
    while True:
        if group and not select.select([descriptor], [], [], PATIENCE)[0]:
            yield group
            group = []
        block = os.read(descriptor, 1 << 16)
        if number == held == 0 and block.startswith(PARQUET):
            raise refused_parquet("stdin")
        first, *following = block.split(b"\n")
        unfinished.append(first)
        held += len(first)
        if held > MAX_RECORD:
            if group:
                yield group
            raise InputRefused(
                f"stdin: line {number + 1} is longer than {MAX_RECORD:,} bytes", "give one text per line"
            )
        ended = following if block else [b""] * bool(held)  # the last line may lack its line end
        for rest in ended:
            number += 1
            try:
                group.append((number, _text(b"".join(unfinished), number)))
            except InputRefused:
                if group:
                    yield group
                raise
            unfinished, held = [rest], len(rest)
            if len(group) == size:
                yield group
                group = []
        if not block:
            break
    if group:
        yield group


def _text(line: bytes, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode("utf-8").removeprefix("\ufeff" if number == 1 else "")
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{shown(STDIN)}: line {number}, byte {error.start} is not valid UTF-8", "convert it: iconv -t UTF-8"
        ) from None
