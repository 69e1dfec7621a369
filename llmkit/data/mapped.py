"""Numbers that lie in files and are read as they are needed: they take no memory that the system cannot have back."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakSet

from llmkit.errors import StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPEN: WeakSet[mmap.mmap] = WeakSet()


def mapped(file: Path | IO[bytes], dtype: str) -> NDArray[Any]:
    """The numbers in a file that is not empty; a plain array, which is faster to cut up than a memmap."""
    import numpy as np

    array = np.memmap(file, dtype=dtype, mode="r")
    _OPEN.add(array._mmap)  # type: ignore[attr-defined]
    return np.asarray(array)


def let_go() -> None:
    """Give back the pages of all mapped files that were read so far. What is read again comes from the file.

    They would be taken back when memory is short, but until then they count as this process's memory.
    """
    if hasattr(mmap, "MADV_DONTNEED"):
        for file in list(_OPEN):
            with suppress(OSError):  # pages that are locked into memory stay
                file.madvise(mmap.MADV_DONTNEED)


def stowed(blocks: Iterable[Sequence[NDArray[Any]]], dtypes: Sequence[str], place: Path | None) -> list[NDArray[Any]]:
    """Columns that are made block by block, laid down in files of `place` that have no name; without it, in memory.

    blocks: of each a piece of every column. Raises StorageError when they cannot be written.
    """
    import numpy as np

    if place is None:
        kept = [[column.astype(d) for column, d in zip(block, dtypes, strict=True)] for block in blocks]
        return [np.concatenate([np.zeros(0, d), *(row[i] for row in kept)]) for i, d in enumerate(dtypes)]
    # Whoever cleared the cache meanwhile has done no harm: what is laid down has no name anyway.
    place = place if place.is_dir() else None
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile(dir=place)) for _ in dtypes]
            for block in blocks:
                for file, column, dtype in zip(files, block, dtypes, strict=True):
                    file.write(column.astype(dtype).data)
                let_go()
            return [_mapped_whole(file, dtype) for file, dtype in zip(files, dtypes, strict=True)]
    except OSError as e:
        raise StorageError(
            f"cannot note in {place or tempfile.gettempdir()} where examples begin: {(e.strerror or str(e)).lower()}",
            "free some space, or use another store",
        ) from None


def _mapped_whole(file: IO[bytes], dtype: str) -> NDArray[Any]:
    """What was written; the map keeps it, also when the file is closed."""
    import numpy as np

    file.flush()
    return mapped(file, dtype) if file.tell() else np.zeros(0, dtype)
