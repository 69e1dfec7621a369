"""Digests of files that have not changed since they were last read: gigabytes need not be read at every start.

A file counts as unchanged while its size, inode and times of change are those noted. As in git's index, a note is
believed only when the file was last changed well before the note was made: within one tick of the clock a second
change would not show.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from llmkit.data.sources import file_sha256

WORTH = 1 << 22
"""Bytes; what is smaller is read again."""
SETTLED_NS = 3 * 10**9


class KnownFiles:
    """sha256 of files, noted in a directory of the cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def sha256(self, path: Path) -> str:
        """The digest of a file's bytes, from the note if there is a good one; raises StorageError."""
        now = time.time_ns()
        state = state_of(path)
        if state is None or state[0] < WORTH:
            return file_sha256(path)
        name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
        note = self.directory / f"known-{name}.json"
        if (known := _read(note)) and known.get("state") == state and is_settled(state, known.get("noted_ns")):
            return str(known["sha256"])
        digest = file_sha256(path)
        if state_of(path) == state:
            write_note(note, {"sha256": digest, "state": state, "noted_ns": now})
        return digest


def state_of(path: Path) -> list[int] | None:
    """Size, times of change, inode and device of a file; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def is_settled(state: list[int], noted_ns: object) -> bool:
    """Whether a note made at that time would have seen any change since."""
    return isinstance(noted_ns, int) and max(state[1], state[2]) + SETTLED_NS < noted_ns


def write_note(path: Path, values: dict[str, object]) -> None:
    """Write a note whole or not at all; that it cannot be written costs time only."""
    temporary = None
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".tmp-note-", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(values, file)
        os.replace(temporary, path)
        temporary = None
    if temporary is not None:
        Path(temporary).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("sha256"), str) else None
