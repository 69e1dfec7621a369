"""Make a directory appear complete or not at all: the protocol every checkpoint is written by.

    1 create a temporary directory beside the final one      5 fsync the temporary directory
    2 let the caller write its files into it                 6 rename it to its final name
    3 fsync every file, take its sha256                      7 fsync the parent
    4 write manifest.json, fsync it

A process killed before 6 leaves a temporary directory that no reader looks at and the next owner of the run deletes;
after 6 the checkpoint is whole. A power loss cannot reorder this: what 6 makes visible was made durable in 3 to 5.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmkit.checkpoint import manifest as manifests
from llmkit.checkpoint.files import fsync_directory, fsync_file, remove_tree, write_new
from llmkit.checkpoint.manifest import FileRecord, Manifest
from llmkit.errors import StorageError

# Only names of exactly this form are ever deleted as left-overs.
LEFT_OVER = re.compile(r"\.(?:tmp|trash)-[A-Za-z0-9][A-Za-z0-9._-]*-\d+-[0-9a-f]{8}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Returns what it has measured, and made durable, of the files itself.
Write = Callable[[Path], "Mapping[str, FileRecord] | None"]


class Staged:
    """A checkpoint that is written, durable and described, but not yet visible under its name."""

    def __init__(self, final: Path, write: Write, *, step: int | None, parent: int | None, meta: Mapping[str, Any]):
        """Write the files into a temporary directory beside `final`.

        Whatever goes wrong, the temporary directory is dropped again; OSError becomes StorageError.
        """
        self.final = final
        self.path = temporary_name(final, "tmp")
        try:
            os.mkdir(self.path)
            known = write(self.path)
            self.manifest = self._settle(step, parent, meta, known or {})
        except BaseException as error:
            self.drop()
            raise _as_storage_error(error, f"checkpoint {final} was not saved") from error

    def _settle(
        self, step: int | None, parent: int | None, meta: Mapping[str, Any], known: Mapping[str, FileRecord]
    ) -> Manifest:
        files = sorted(self.path.iterdir())
        for path in files:
            assert stat.S_ISREG(os.lstat(path).st_mode), f"{path}: a checkpoint holds plain files only"
        with ThreadPoolExecutor(max_workers=1) as flusher:  # the disk works while the processor hashes
            flushed = [flusher.submit(fsync_file, path) for path in files if path.name not in known]
            manifest = manifests.describe(self.path, step=step, parent=parent, meta=meta, known=known)
            for done in flushed:
                done.result()
        write_new(self.path / manifests.NAME, [manifest.to_bytes()])
        fsync_file(self.path / manifests.NAME)
        fsync_directory(self.path)
        return manifest

    def publish(self) -> None:
        """Give the directory its name. `final` must not exist, or be an empty directory."""
        try:
            os.rename(self.path, self.final)
            fsync_directory(self.final.parent)
        except OSError as error:
            raise _as_storage_error(error, f"checkpoint {self.final} was not saved") from error

    def drop(self) -> None:
        """Delete what was written; nothing is left to delete once `publish` has renamed it."""
        remove_tree(self.path)


def temporary_name(final: Path, kind: str) -> Path:
    """A name beside `final` that no one can predict: `.tmp-NAME-PID-RANDOM`; `kind` is tmp or trash."""
    return final.with_name(f".{kind}-{final.name}-{os.getpid()}-{secrets.token_hex(4)}")


def remove_left_overs(directory: Path) -> None:
    """Delete temporary and trash directories of dead processes. The caller must own `directory` (hold its lock)."""
    for path in directory.iterdir():
        if LEFT_OVER.fullmatch(path.name) and stat.S_ISDIR(os.lstat(path).st_mode):
            remove_tree(path)


def _as_storage_error(error: BaseException, what: str) -> BaseException:
    if not isinstance(error, OSError):
        return error
    hint = "free some space or choose another --store" if error.errno in _FULL else None
    return StorageError(f"{what}: {error.strerror or error}", hint)
