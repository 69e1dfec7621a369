"""Streams that can be read once only, kept so that they can be read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from llmkit.data.text_in import CHUNK, STDIN, call, check_readable, shown, text_lines
from llmkit.errors import InputRefused, LlmkitError, StorageError

_SPOOLED: dict[Path, Path] = {}
"""Where the streams read in this process were kept: a stream can be read once only."""


def spool(path: Path, directory: Path) -> Path:
    """Copy a stream that can be read once into `directory`, named by its content."""
    check_readable(path)
    if path in _SPOOLED:
        return _SPOOLED[path]
    temporary: str | None = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        handle, temporary = tempfile.mkstemp(prefix=".tmp-stdin-", dir=directory)
        with os.fdopen(handle, "wb") as out:
            stream = sys.stdin.buffer if path == STDIN else path.open("rb")
            while block := stream.read(CHUNK):
                digest.update(block)
                out.write(block)
            is_empty = not out.tell()
        if is_empty:
            os.unlink(temporary)
            raise InputRefused(f"{shown(path)} is empty", "put text into the pipe, or name a file")
        suffix = path.suffix or (".jsonl" if holds_records(Path(temporary)) else "")
        final = directory / f"stdin-{digest.hexdigest()[:32]}{suffix}"
        os.replace(temporary, final)
        _SPOOLED[path] = final
        call(final, shown(path))
        return final
    except OSError as e:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"cannot keep {shown(path)} in {directory}: {(e.strerror or str(e)).lower()}") from None


def holds_records(path: Path) -> bool:
    """Whether a stream without a name begins with a JSON object on a line of its own: nobody trains on its braces."""
    with contextlib.suppress(LlmkitError, ValueError, RecursionError):
        first = next((line for _, line in text_lines(path, "replace") if line.strip()), "")
        return isinstance(json.loads(first), dict)
    return False
