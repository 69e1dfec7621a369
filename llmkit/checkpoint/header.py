"""The header of a safetensors file, read and checked in plain Python: names, dtypes, shapes and places of tensors.

Everything the format promises is checked before a byte of tensor data is touched, and some more (names that could
control a terminal, duplicate keys, sizes that only an attack would have). The cost depends on the number of tensors,
not on the size of the file. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from llmkit.checkpoint.files import open_inside, read_exactly
from llmkit.checkpoint.strict_json import parse_object
from llmkit.errors import InputRefused, StorageError

MAX_HEADER_BYTES = 16 * 2**20
MAX_TENSORS = 100_000
MAX_NAME = 512
MAX_RANK = 16
# Bits per element; the 4- and 6-bit kinds are only listed, never loaded.
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: `start` and `end` are byte offsets from the header's `data_start`."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def n_bytes(self) -> int:
        return self.end - self.start

    @property
    def n_elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself; tensors in the order of their data."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int


def read_header(path: Path) -> Header:
    """Read and check the header of the safetensors file at `path`.

    Raises InputRefused with the path and the reason if anything is wrong, StorageError if the file cannot be read.
    """
    try:
        fd = open_inside(path.parent, path.name)
    except FileNotFoundError:
        raise StorageError(f"{path}: no such file") from None
    try:
        return header_of(fd, str(path))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)


def header_of(fd: int, where: str) -> Header:
    """Like `read_header`, for an open file; `where` names it in errors."""
    size = os.fstat(fd).st_size
    if size < 8:
        raise InputRefused(f"{where}: {'empty' if size == 0 else 'too short'}; not a safetensors file")
    length = int.from_bytes(read_exactly(fd, 8, 0), "little")
    if length > MAX_HEADER_BYTES:
        raise InputRefused(f"{where}: not a safetensors file, or a header over {MAX_HEADER_BYTES:,} bytes ({length:,})")
    if 8 + length > size:
        raise InputRefused(f"{where}: cut short: the header needs {8 + length:,} bytes, the file has {size:,}")
    return parse_header(read_exactly(fd, length, 8), size - 8 - length, where)


def parse_header(text: bytes, data_bytes: int, where: str) -> Header:
    """Check header text against the number of data bytes that follow it."""
    if not text.startswith(b"{"):
        raise InputRefused(f"{where}: the header does not start with '{{'; not a safetensors file")
    # Counted before parsing: a 16 MiB header of nothing but brackets would take hundreds of megabytes as objects.
    if (
        text.count(b'"dtype"') > MAX_TENSORS
        or text.count(b"[") > 3 * MAX_TENSORS
        or text.count(b",") > 20 * MAX_TENSORS
    ):
        raise InputRefused(f"{where}: more than {MAX_TENSORS:,} tensors")
    entries = parse_object(text, where, largest=2**63 - 1, deepest=None)
    metadata = _metadata(entries.pop("__metadata__", {}), where)
    if len(entries) > MAX_TENSORS:
        raise InputRefused(f"{where}: more than {MAX_TENSORS:,} tensors")
    tensors = {name: _tensor(name, entry, where) for name, entry in entries.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    expected = 0
    for name, info in ordered.items():
        if info.start != expected:
            fault = "overlaps another tensor" if info.start < expected else "leaves a hole before it"
            raise InputRefused(f"{where}: tensor {name!r} {fault} (at byte {info.start:,}, expected {expected:,})")
        expected = info.end
    if expected != data_bytes:
        fault = "cut short" if expected > data_bytes else "too long"
        raise InputRefused(f"{where}: {fault}: tensors take {expected:,} bytes, the file holds {data_bytes:,}")
    return Header(ordered, metadata, 8 + len(text))


def _metadata(entry: Any, where: str) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise InputRefused(f"{where}: __metadata__ must map text to text")
    return entry


def _tensor(name: str, entry: Any, where: str) -> TensorInfo:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InputRefused(f"{where}: tensor name {name[:80]!r} is empty, too long or not printable")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputRefused(f"{where}: tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise InputRefused(f"{where}: tensor {name!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _is_counts(shape) or len(shape) > MAX_RANK:
        raise InputRefused(f"{where}: tensor {name!r} has a shape that is not a short list of sizes")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InputRefused(f"{where}: tensor {name!r} has impossible data_offsets")
    if prod(shape) * bits != (offsets[1] - offsets[0]) * 8:
        raise InputRefused(
            f"{where}: tensor {name!r} of shape {shape} and dtype {dtype} does not fill "
            f"the {offsets[1] - offsets[0]:,} bytes it claims"
        )
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _is_counts(value: Any) -> bool:
    """A list of integers >= 0. (bool is an int in Python, so the type is compared, not tested.)"""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
