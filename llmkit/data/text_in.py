"""Bytes to text, streaming: files, gzip, Zstandard and stdin as bounded chunks of checked UTF-8.

Memory stays flat whatever the size of the input or of its lines.
"""

from __future__ import annotations

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from llmkit.errors import InputRefused, LlmkitError, StorageError, UsageError
from llmkit.tokenization.byte_input import FROM_PARQUET, PARQUET, UNPACKABLE

Errors = Literal["strict", "replace"]
STDIN = Path("-")
CHUNK = 1 << 18
"""Bytes asked for at a time."""
MAX_RECORD = 1 << 26
"""Characters allowed on one line of a record file (JSONL, TSV, CSV); plain text has no such bound."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MAGIC = {
    PARQUET: ("a Parquet file", FROM_PARQUET),
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    b"BZh": ("bzip2 data", "unpack it first: bunzip2"),
    b"\xfd7zXZ\x00": ("xz data", "unpack it first: unxz"),
    b"%PDF": ("a PDF", "extract its text first"),
    b"\xff\xfe": ("UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"),
}


_CALLED: dict[Path, str] = {}


class NotText(InputRefused):
    """Bytes that are not UTF-8, or NUL; errors="replace" reads on."""


def shown(path: Path) -> str:
    """The name of an input in messages."""
    return "stdin" if path == STDIN else _CALLED.get(path, str(path))


def is_read_once(name: str | Path) -> bool:
    """Whether what is named can be read only once: stdin, or a pipe."""
    path = Path(name).expanduser()
    try:
        return path == STDIN or (path.exists() and not (path.is_file() or path.is_dir()))
    except (OSError, ValueError):
        return False


def call(path: Path, name: str) -> None:
    """Have messages say `name`, by which the user knows what is in the file at `path`."""
    _CALLED[path] = name


def packing_of(path: Path) -> str | None:
    """How a file is packed, by its first bytes: "gzip", "zstd", or None. Pipes are left alone."""
    if path == STDIN or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return None
    return "gzip" if head[:2] == _GZIP else "zstd" if head == _ZSTD else None


def check_readable(path: Path) -> None:
    """Raise StorageError or InputRefused unless `path` is stdin or something that can be read as a file."""
    if path == STDIN:
        if sys.stdin is None:
            raise StorageError("stdin is closed", "name a file, or put text into a pipe")
        return
    try:
        if path.is_dir():
            raise InputRefused(f"{path} is a directory, not a file", f"name its files, as in '{path}/*.txt'")
        if not path.exists():
            beside = f"no such directory: {path.parent}" if not path.parent.exists() else None
            raise StorageError(f"no such file: {path}", beside)
    except (OSError, ValueError) as e:
        raise _io_error(path, e) from None


def text_chunks(path: Path, errors: Errors = "strict") -> Iterator[str]:
    """The text of one input in chunks (at least one character each); joined, they are the text exactly.

    A leading byte order mark is dropped. With errors="replace", bytes that are not UTF-8 become U+FFFD and NUL is kept.
    Raises NotText with the byte offset (in the unpacked data) of the first byte that is not UTF-8 or is NUL, after the
    text before it.
    """
    base = 0  # bytes decoded so far
    pending = b""
    for chunk in chain(byte_chunks(path), [None]):
        data = pending + (chunk or b"")
        text, used, refusal = _decoded(path, data, base, errors, final=chunk is None)
        pending = data[used:]
        if base == 0:
            text = text.removeprefix("\ufeff")
        if text:
            yield text
        if refusal is not None:
            raise refusal
        base += used


def _decoded(path: Path, data: bytes, base: int, errors: Errors, *, final: bool) -> tuple[str, int, NotText | None]:
    """The text, how many bytes it took, and what is wrong with the byte after these."""
    refusal = None
    try:
        text, used = codecs.utf_8_decode(data, errors, final)
    except UnicodeDecodeError as e:
        text, used = data[: e.start].decode(), e.start
        refusal = NotText(
            f"{shown(path)}: byte {base + used} (0x{data[used]:02x}) is not valid UTF-8", _not_text_hint(path)
        )
    if errors == "strict" and "\0" in text:
        text, used = text[: text.index("\0")], data.index(b"\0")
        refusal = NotText(
            f"{shown(path)}: byte {base + used} is NUL; this does not look like text", "is it a binary file?"
        )
    return text, used, refusal


def _not_text_hint(path: Path) -> str:
    if path.suffix in (".gz", ".zst"):
        return f"its name ends in {path.suffix}, but it is not packed so; is it what it should be?"
    return "convert it: iconv -f LATIN1 -t UTF-8"


def text_lines(path: Path, errors: Errors = "strict") -> Iterator[tuple[int, str]]:
    """Lines with their number from 1, without \\n or \\r\\n at the end. Raises InputRefused for one over MAX_RECORD."""
    number, parts, held = 0, [], 0
    for chunk in text_chunks(path, errors):
        lines = chunk.split("\n")
        parts.append(lines[0])
        held += len(lines[0])
        for following in lines[1:]:
            number += 1
            yield number, "".join(parts).removesuffix("\r")
            parts, held = [following], len(following)
        if held > MAX_RECORD:
            raise InputRefused(
                f"{shown(path)}: line {number + 1} is longer than {MAX_RECORD:,} characters",
                "one record per line is expected; text without records belongs in a .txt file",
            )
    if last := "".join(parts):
        yield number + 1, last.removesuffix("\r")


def byte_chunks(path: Path) -> Iterator[bytes]:
    """The unpacked bytes of one input; gzip and Zstandard are known by their first bytes, whatever the name."""
    with _opened(path) as stream:
        try:
            while chunk := stream.read(CHUNK):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as e:
            kind = "zstd" if isinstance(stream, _Unzstd) else "gzip"
            raise InputRefused(f"{shown(path)}: corrupt {kind} data ({str(e).lower()})", UNPACKABLE) from None
        except OSError as e:
            raise _io_error(path, e) from None
        except Exception as e:
            if type(e).__name__ != "ZstdError":
                raise
            raise InputRefused(f"{shown(path)}: corrupt zstd data ({str(e).lower()})", UNPACKABLE) from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    check_readable(path)
    try:
        raw: BinaryIO = sys.stdin.buffer if path == STDIN else path.open("rb", buffering=CHUNK)
    except (OSError, ValueError) as e:
        raise _io_error(path, e) from None
    try:
        head = raw.peek(8)[:8] if isinstance(raw, io.BufferedReader) else b""
        if head[:2] == _GZIP:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        elif head[:4] == _ZSTD:
            yield _unpacked_zstd(path, raw)
        else:
            for magic, (what, fix) in _MAGIC.items():
                if head.startswith(magic):
                    raise InputRefused(f"{shown(path)} is {what}, not UTF-8 text", fix)
            yield raw
    except OSError as e:
        raise _io_error(path, e) from None
    finally:
        if path != STDIN:
            raw.close()


def _unpacked_zstd(path: Path, raw: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            f"{shown(path)} is zstd data, which needs the zstandard package", "pip install 'llmkit[zstd]'"
        ) from None
    return cast(BinaryIO, _Unzstd(zstandard.ZstdDecompressor(), raw))


class _Unzstd:
    """Reads Zstandard frames one after the other; unlike the package's own reader it notices a cut-off end."""

    def __init__(self, decompressor: Any, raw: BinaryIO) -> None:
        self.decompressor, self.raw = decompressor, raw
        self.frame: Any = None
        self.rest = b""

    def read(self, _size: int) -> bytes:
        while True:
            # A few bytes can stand for 128 KiB each, so little is unpacked at a time.
            data = self.rest or self.raw.read(1024)
            if not data:
                if self.frame is not None:
                    raise EOFError("zstd data ends in the middle")
                return b""
            if self.frame is None:
                self.frame = self.decompressor.decompressobj()
            text: bytes = self.frame.decompress(data)
            self.rest = self.frame.unused_data if self.frame.eof else b""
            if self.frame.eof:
                self.frame = None
            if text:
                return text


def _io_error(path: Path, e: Exception) -> LlmkitError:
    return StorageError(f"cannot read {shown(path)}: {(getattr(e, 'strerror', None) or str(e)).lower()}")
