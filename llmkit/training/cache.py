"""The store's cache of tokenized text, shared by its runs. No torch here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from llmkit.errors import StorageError

NAME = ".cache"


@contextlib.contextmanager
def text_cache(store: Path) -> Iterator[Path]:
    """The cache directory, for building corpora in; first cleared of what processes left that were killed at it.

    Whoever builds holds the lock shared, whoever clears holds it alone: so nobody's work is taken for a left-over.
    """
    cache = store / NAME
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fd = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise StorageError(f"{cache}: {error.strerror}", "check that the store is yours to write") from error
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in cache.glob(".tmp-*"):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield cache
    finally:
        os.close(fd)
