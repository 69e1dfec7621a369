"""Opening, writing and flushing the files of a checkpoint: the only place that talks to the operating system.

Reading never leaves the directory it was given. A file is opened relative to its directory, without following links,
and must be a regular file: a link in a downloaded folder would otherwise make llmkit read anything the user can read,
and a named pipe would make it wait for ever.

One link is followed, because refusing it would break the most common way models lie on a disk: the download cache of
the Hugging Face hub keeps `models--org--name/snapshots/<revision>/model.safetensors` as a link to
`../../blobs/<hex digest>`. It is followed only in exactly that shape, one step, into the `blobs` folder of the same
`models--*` tree; so even a hand-made tree of this form leads nowhere but into itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from llmkit.errors import InputRefused, StorageError

# NONBLOCK: opening a named pipe must return, so that it can be refused. It means nothing for regular files.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_BLOB = re.compile(r"\.\./\.\./blobs/([0-9a-f]{40}|[0-9a-f]{64})")


def open_inside(directory: Path, name: str) -> int:
    """Open the regular file `name` in `directory` for reading and return its descriptor.

    Raises FileNotFoundError if there is none, InputRefused if it is a link (but see the module's text), a pipe, a
    device or a directory, and StorageError for everything else the system refuses.
    """
    assert "/" not in name, name
    path = directory / name
    try:
        directory_fd = os.open(directory, _DIRECTORY)
    except FileNotFoundError:
        raise
    except NotADirectoryError:
        raise InputRefused(
            f"{directory} is a file, not a checkpoint directory", "give the directory it lies in"
        ) from None
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    try:
        try:
            fd = os.open(name, _READ, dir_fd=directory_fd)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EMLINK):  # BSD says EMLINK for a link under NOFOLLOW
                raise
            fd = _open_blob(directory, directory_fd, name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    finally:
        os.close(directory_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputRefused(f"{path} is not a regular file")
    return fd


def _open_blob(directory: Path, directory_fd: int, name: str) -> int:
    """Open the file that a link in a hub cache snapshot stands for; refuse every other link."""
    snapshot = directory.resolve()
    in_cache = snapshot.parent.name == "snapshots" and snapshot.parent.parent.name.startswith("models--")
    link = _BLOB.fullmatch(os.readlink(name, dir_fd=directory_fd))
    if not (in_cache and link):
        raise InputRefused(
            f"{directory / name} is a link; links in checkpoints are not followed",
            "put a copy of the file in its place",
        )
    blobs_fd = os.open("../../blobs", _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory_fd)
    try:
        return os.open(link.group(1), _READ, dir_fd=blobs_fd)
    finally:
        os.close(blobs_fd)


def read_small(directory: Path, name: str, limit: int) -> bytes:
    """Return the whole of a small file; one over `limit` bytes is refused. FileNotFoundError if there is none."""
    fd = open_inside(directory, name)
    try:
        size = os.fstat(fd).st_size
        if size > limit:
            raise InputRefused(f"{directory / name} has {size:,} bytes; at most {limit:,} are read")
        content = read_exactly(fd, size, 0)
    except OSError as error:
        raise StorageError(f"{directory / name}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(content) != size:
        raise InputRefused(f"{directory / name} was cut short while it was read")
    return content


def read_exactly(fd: int, count: int, offset: int) -> bytes:
    """Read `count` bytes at `offset`; fewer only at the end of the file (the system may return them in pieces)."""
    parts = []
    while count > 0:
        part = os.pread(fd, min(count, 1 << 30), offset)
        if not part:
            break
        parts.append(part)
        count -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file that must not exist yet, not even as a link. Not durable until `fsync_file`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o666)
    try:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while view:
                view = view[os.write(fd, view[: 1 << 30]) :]  # Linux writes at most 2 GiB a call
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Make the content of a file survive a power loss."""
    _fsync(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory survive a power loss."""
    _fsync(path, _DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Delete a directory that llmkit made, as far as possible; what cannot be deleted is left for the next time."""
    if path.is_symlink() or path.is_file():
        with contextlib.suppress(OSError):
            os.unlink(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def make_directories(path: Path) -> None:
    """Create a directory and its parents, each durable before anything is put into it."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError:  # another process was faster; if it is no directory, the next step says so
            continue
        fsync_directory(directory.parent)


def free_bytes(path: Path) -> int:
    """Bytes an unprivileged process may still write to the file system of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
