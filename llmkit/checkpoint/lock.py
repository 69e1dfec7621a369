"""One process per run directory: an flock on run.lock, which the kernel releases however its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit.checkpoint.files import make_directories
from llmkit.errors import RunInUse, StorageError

NAME = "run.lock"
_MOST_TRIES = 100


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Own `directory` inside the block. Raises RunInUse at once if another process does, naming it.

    Whether the lock is free is decided by flock alone: process numbers are only told, never trusted.
    """
    path = directory / NAME
    fd = _acquire(path)
    try:
        record = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.truncate(fd, 0)
        os.pwrite(fd, json.dumps(record).encode(), 0)
    except OSError:  # a full disk must not keep a run from resuming; the lock holds without the record
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.truncate(fd, 0)
        os.close(fd)


def _acquire(path: Path) -> int:
    tries = 0
    while True:
        try:
            make_directories(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and (tries := tries + 1) < _MOST_TRIES:
                continue  # whoever held it put nothing there, and has just taken the directory away
            raise StorageError(f"{path}: {error.strerror}", "check that the store is yours to write") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            try:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise _in_use(path.parent, fd) from None
                raise StorageError(f"{path}: cannot lock: {error.strerror}") from error
            finally:
                os.close(fd)
        if _is_current(path, fd):
            return fd
        os.close(fd)  # the file was deleted between open and lock: what we hold protects nothing


def _is_current(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _in_use(directory: Path, fd: int) -> RunInUse:
    record = _record(fd)
    who = "another process"
    if record:
        who = f"process {record['pid']} on host {record['host']}, started {record['started']}"
    return RunInUse(
        f"run directory {directory} is in use by {who}", "wait for it, stop it, or choose another with --run"
    )


def _record(fd: int) -> dict[str, Any] | None:
    """Who holds the lock, once the holder has written it down; it may be about to, so wait a little."""
    for _ in range(50):
        with contextlib.suppress(ValueError, OSError):
            record = json.loads(os.pread(fd, 4096, 0))
            if isinstance(record, dict) and record.keys() == {"pid", "host", "started"}:
                return record
        time.sleep(0.02)
    return None
