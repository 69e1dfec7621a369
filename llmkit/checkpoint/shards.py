"""Which file of a model directory holds which tensor: one model.safetensors, or shards that an index names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmkit.checkpoint.files import open_inside, read_small
from llmkit.checkpoint.header import MAX_HEADER_BYTES, MAX_NAME, MAX_TENSORS, Header, TensorInfo, header_of
from llmkit.checkpoint.strict_json import parse_object
from llmkit.errors import InputRefused, StorageError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARDS = 512  # all are open at once while a model is read, and a process may have 1,024 files
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class StoredTensor(TensorInfo):
    """A tensor and the file it lies in; `start` and `end` count from `data_start` in that file."""

    file: Path
    data_start: int


@dataclass(frozen=True)
class OpenShard:
    """An open weights file whose header was checked."""

    fd: int
    path: Path
    header: Header


def list_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a model directory, from the headers alone, in the order of the data.

    Raises InputRefused for a header, an index or a file name that is not as it must be.
    """
    with open_shards(directory) as shards:
        return {
            name: StoredTensor(i.dtype, i.shape, i.start, i.end, shard.path, shard.header.data_start)
            for shard in shards
            for name, i in shard.header.tensors.items()
        }


@contextlib.contextmanager
def open_shards(directory: Path) -> Iterator[list[OpenShard]]:
    """The open weights files of a model directory; between them they hold each tensor of the index exactly once."""
    with contextlib.ExitStack() as stack:
        shards = []
        # Like transformers: the single file wins where both exist.
        placement = None if _exists(directory, WEIGHTS) else _read_index(directory)
        for name in [WEIGHTS] if placement is None else sorted(set(placement.values())):
            fd = _open(directory, name)
            stack.callback(os.close, fd)
            shards.append(OpenShard(fd, directory / name, header_of(fd, str(directory / name))))
        if placement is not None:
            _check_placement(directory, placement, shards)
        yield shards


def _read_index(directory: Path) -> dict[str, str]:
    """tensor name -> shard name. Nothing is opened before every name in it was checked."""
    where = str(directory / INDEX)
    try:
        body = parse_object(read_small(directory, INDEX, MAX_HEADER_BYTES), where, largest=2**63)
    except FileNotFoundError:
        raise _no_weights(directory) from None
    placement = body.get("weight_map")
    if not isinstance(placement, dict) or not 0 < len(placement) <= MAX_TENSORS:
        raise InputRefused(f"{where}: weight_map must be a table of 1 to {MAX_TENSORS:,} tensors")
    for tensor, shard in placement.items():
        if not 0 < len(tensor) <= MAX_NAME or not tensor.isprintable():
            raise InputRefused(f"{where}: tensor name {tensor[:80]!r} is empty, too long or not printable")
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise InputRefused(
                f"{where}: {str(shard)[:200]!r} is no name of a shard in this directory; nothing was read"
            )
    if len(set(placement.values())) > MAX_SHARDS:
        raise InputRefused(f"{where}: more than {MAX_SHARDS} shards")
    return placement


def _check_placement(directory: Path, placement: dict[str, str], shards: list[OpenShard]) -> None:
    where = str(directory / INDEX)
    promised: dict[str, set[str]] = {}
    for tensor, name in placement.items():
        promised.setdefault(name, set()).add(tensor)
    for shard in shards:
        for tensor in sorted(promised[shard.path.name] ^ shard.header.tensors.keys())[:1]:
            fault = "also holds" if tensor in shard.header.tensors else "does not hold"
            raise InputRefused(f"{where} does not match its shards: {shard.path.name} {fault} {tensor!r}")


def _exists(directory: Path, name: str) -> bool:
    try:
        os.close(open_inside(directory, name))
    except FileNotFoundError:
        return False
    return True


def _open(directory: Path, name: str) -> int:
    try:
        return open_inside(directory, name)
    except FileNotFoundError:
        raise InputRefused(
            f"{directory / name} is missing, and {INDEX} names it", "the download is not whole"
        ) from None


def _no_weights(directory: Path) -> InputRefused:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        raise StorageError(f"{directory}: no such directory") from None
    if pickles := [name for name in names if name.endswith(_PICKLES)]:
        return InputRefused(
            f"{directory} holds its weights as a pickle ({pickles[0][:80]}), which can run code and is never read",
            "look for a safetensors version, or save it anew with transformers: model.save_pretrained(DIR)",
        )
    return InputRefused(f"{directory} holds no {WEIGHTS}", "a model is a directory in Hugging Face layout")
