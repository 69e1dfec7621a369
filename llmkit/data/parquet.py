"""Records out of Parquet files, by row group and column, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from llmkit.data.text_in import STDIN, check_readable, shown
from llmkit.errors import InputRefused, UsageError

Choose = Callable[[list[str]], Sequence[str]]
_ROWS = 256  # decoded at a time
_BUFFER = 1 << 16  # bytes of a column read at a time
# Types of Arrow whose values are plain text or numbers.
_SIMPLE = ("is_string", "is_large_string", "is_integer", "is_boolean", "is_floating")


def read_parquet(path: Path, choose: Choose | None = None) -> Iterator[tuple[int, dict[str, object]]]:
    """(number from 1, row) of each record, of the columns that `choose` picks among all names, else of all simple ones.

    Raises UsageError without the package that reads Parquet, InputRefused for a damaged file and for a chosen column
    that holds neither text nor numbers.
    """
    if path == STDIN:
        raise UsageError("Parquet cannot be read from stdin", "name the file")
    check_readable(path)
    pyarrow, parquet = _packages(path)
    broken = (pyarrow.ArrowException, OSError, UnicodeDecodeError, ValueError, NotImplementedError)
    try:
        # No reading ahead: whole row groups would lie in memory.
        file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
        names = list(file.schema_arrow.names)
    except broken as e:
        raise _corrupt(path, e) from None
    with file:
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputRefused(f"{shown(path)}: column {twice!r} is there twice")
        simple = [name for name in names if _is_simple(pyarrow, file.schema_arrow.field(name).type)]
        columns = simple if choose is None else list(dict.fromkeys(choose(names)))
        for name in columns:
            if name in names and name not in simple:
                held = str(file.schema_arrow.field(name).type)
                raise InputRefused(
                    f"{shown(path)}: column {name!r} holds {held[:60]}, not text", "name a column of strings"
                )
        number = 0
        batches = file.iter_batches(_ROWS, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            except broken as e:
                raise _corrupt(path, e) from None
            if batch is None:
                return
            for row in rows:
                number += 1
                yield number, row


def _packages(path: Path) -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(
            f"{shown(path)} is a Parquet file, which needs the pyarrow package", "pip install 'llmkit[parquet]'"
        ) from None


def _is_simple(pyarrow: Any, kind: Any) -> bool:
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    return any(getattr(pyarrow.types, test)(kind) for test in _SIMPLE)


def _corrupt(path: Path, e: Exception) -> InputRefused:
    reason = (str(e).splitlines() or ["it cannot be decoded"])[0][:200].lower()
    return InputRefused(f"{shown(path)} is not a readable Parquet file: {reason}", "copy or download it again")
