"""Blocks of bytes from files and stdin, unpacked, handed on as soon as they arrive."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit.errors import InputRefused, StorageError, UsageError

BLOCK = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # neither can start UTF-8 text

UNPACKABLE = "it is damaged or cut short; copy or download it again"
PARQUET = b"PAR1"  # how every such file begins
FROM_PARQUET = (
    'convert it to JSON lines: python -c "import pandas; '
    "pandas.read_parquet('IN').to_json('OUT.jsonl', orient='records', lines=True)\""
)


def shown(name: str) -> str:
    """The name of an input in messages."""
    return "stdin" if name == "-" else name


def byte_blocks(name: str) -> Iterator[bytes]:
    """The bytes of a file, or of stdin for "-"; gzip and Zstandard are unpacked.

    Raises StorageError for what cannot be read, InputRefused for a directory or corrupt packed data.
    """
    if name == "-":
        if sys.stdin is not None:
            yield from _blocks(name, sys.stdin.buffer)
        return
    if Path(name).is_dir():
        raise InputRefused(f"{name} is a directory, not a file", f"name its files, as in '{name}/*.txt'")
    try:
        with open(name, "rb", buffering=BLOCK) as file:
            yield from _blocks(name, file)
    except FileNotFoundError:
        raise StorageError(f"no such file: {name}") from None
    except ValueError as error:  # a NUL in the name
        raise StorageError(f"cannot read {name!r}: {error}") from None


def refused_parquet(name: str) -> InputRefused:
    """The error for a table where text is read; `name` as messages show it."""
    return InputRefused(f"{name} is a Parquet file, not UTF-8 text", FROM_PARQUET)


def _blocks(name: str, file: Any) -> Iterator[bytes]:
    try:
        head = file.peek(4)[:4] if isinstance(file, io.BufferedReader) else b""
        if head == PARQUET:
            raise refused_parquet(shown(name))
        if head.startswith(_GZIP):
            file = gzip.GzipFile(fileobj=file)
        elif head.startswith(_ZSTD):
            file = _unpacked_zstd(name, file)
        while block := file.read1(BLOCK):  # read1: what is there, without waiting for more
            yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputRefused(f"{shown(name)}: corrupt gzip data ({str(error).lower()})", UNPACKABLE) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {shown(name)}: {(error.strerror or str(error)).lower()}") from None
    except InputRefused:
        raise
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise InputRefused(f"{shown(name)}: corrupt zstd data ({str(error).lower()})", UNPACKABLE) from None


def _unpacked_zstd(name: str, file: Any) -> Any:
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            f"{shown(name)} is zstd data, which needs the zstandard package", "pip install 'llmkit[zstd]'"
        ) from None
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
