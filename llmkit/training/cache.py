"""The store's cache of tokenized text, shared by its runs. No torch here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from llmkit.errors import RunInUse, StorageError

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
            for left in (*cache.glob(".tmp-*"), *cache.glob("*/.tmp-*"), *cache.glob("*/target/.tmp-*")):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield cache
    finally:
        os.close(fd)


def clear_cache(store: Path, *, dry_run: bool = False) -> list[tuple[str, int]]:
    """Delete all tokenized texts and learned tokenizers: (name, bytes) of each. A later run makes what it needs anew.

    A run that trains on one of them keeps its open files. Raises RunInUse while one prepares its text.
    """
    cache = store / NAME
    if not cache.is_dir():
        return []
    try:
        fd = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entries = sorted(path for path in cache.iterdir() if path.name != "lock")
            found = [(path.name, _size(path)) for path in entries]
            for path in entries if not dry_run else ():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        finally:
            os.close(fd)
    except BlockingIOError as error:
        raise RunInUse(f"{cache} is in use: a run prepares its text", "wait until it trains") from error
    except OSError as error:
        raise StorageError(f"{cache}: {error.strerror}", "check that the store is yours to write") from error
    return found


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
