"""Tensor data of safetensors files: read into tensors, written from tensors.

Both go through plain file descriptors: a reader that was handed an open, checked file cannot be led elsewhere between
check and use, and a writer meets a full disk as an OSError with a number, not as some library's text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.checkpoint.files import write_new
from llmkit.checkpoint.header import DTYPE_BITS, Header, TensorInfo, header_of
from llmkit.errors import InputRefused, StorageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
_FILE_NAMES = {name: dtype for dtype, name in _TORCH_NAMES.items()}


def torch_dtype(dtype: str) -> torch.dtype:
    """torch's dtype for a safetensors dtype; InputRefused for one that this torch cannot hold."""
    import torch

    found = getattr(torch, _TORCH_NAMES.get(dtype, ""), None)
    if not isinstance(found, torch.dtype):
        raise InputRefused(f"tensors of dtype {dtype} cannot be loaded")
    return found


def file_dtype(dtype: torch.dtype) -> str:
    """The safetensors name of a torch dtype."""
    return _FILE_NAMES[str(dtype).removeprefix("torch.")]


def byte_view(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor as bytes (also of dtypes that numpy does not know)."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().data


class TensorFile(Mapping[str, "Tensor"]):
    """The tensors of one open safetensors file, each read when it is asked for, into memory of its own.

    The descriptor stays the caller's to close.
    """

    def __init__(self, fd: int, where: str, header: Header | None = None) -> None:
        """`where` names the file in errors; `header` saves reading it again."""
        self._file = open(fd, "rb", buffering=0, closefd=False)  # noqa: SIM115  # closing it would do nothing
        self.where = where
        self.header = header or header_of(fd, where)

    def __getitem__(self, name: str) -> Tensor:
        import torch

        info = self.header.tensors[name]
        tensor = torch.empty(info.shape, dtype=torch_dtype(info.dtype))
        if info.n_bytes:
            self._read_into(byte_view(tensor), self.header.data_start + info.start)
        return tensor

    def _read_into(self, memory: memoryview, offset: int) -> None:
        try:
            self._file.seek(offset)
            while memory:
                count = self._file.readinto(memory[: 1 << 30])
                if not count:
                    raise InputRefused(f"{self.where} was cut short while it was read")
                memory = memory[count:]
        except OSError as error:
            raise StorageError(f"{self.where}: {error.strerror}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.tensors)

    def __len__(self) -> int:
        return len(self.header.tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a new safetensors file, one tensor in host memory at a time. The same tensors always give the same bytes.

    Wide dtypes come first, then it goes by name, so that every tensor is aligned as the format asks.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in ordered:
        info = TensorInfo(
            file_dtype(tensor.dtype), tuple(tensor.shape), end, end + tensor.numel() * tensor.element_size()
        )
        assert info.n_elements * DTYPE_BITS[info.dtype] == info.n_bytes * 8, (name, info)
        entries[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.start, info.end]}
        end = info.end
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)

    def chunks() -> Iterator[bytes | memoryview]:
        yield len(header).to_bytes(8, "little") + header
        for _, tensor in ordered:
            if tensor.numel():
                yield byte_view(tensor.detach().cpu().contiguous())

    write_new(path, chunks())
