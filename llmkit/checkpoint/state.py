"""Training state beside a model: tensors in state.safetensors, everything else in state.json. Never a pickle.

Processes that each hold a part of the tensors write state-00001-of-00002.safetensors and so on.

JSON knows neither NaN nor infinity, tuples nor bytes, and random generators and loss scalers have them; each is kept
as an object with one marked key, so that `load_state` returns exactly what `save_state` was given.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.checkpoint.files import open_inside, read_small, write_new
from llmkit.checkpoint.strict_json import parse_object
from llmkit.errors import InputRefused

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, VALUES = "state.safetensors", "state.json"
_MAX_VALUES_BYTES = 64 * 2**20
_PART = re.compile(r"state-(\d{5})-of-(\d{5})\.safetensors")


class StateFiles:
    """The names of the files of a training state: `name in StateFiles()`."""

    def __contains__(self, name: object) -> bool:
        return name in (TENSORS, VALUES) or (isinstance(name, str) and _PART.fullmatch(name) is not None)


def part_name(number: int, count: int) -> str:
    """The file of one of several parts of the tensors, counted from 1."""
    return f"state-{number:05d}-of-{count:05d}.safetensors"


def save_state(directory: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write both files into `directory`; values as in `save_values`."""
    from llmkit.checkpoint.tensors import write_tensors

    write_tensors(directory / TENSORS, tensors, {"format": "pt"})
    save_values(directory, values)


def save_values(directory: Path, values: Mapping[str, Any]) -> None:
    """Write the file of the values. They may be nested dicts with text keys, lists, tuples, text, bytes, bools,
    None, integers of up to 128 bits and any floats."""
    text = json.dumps({"schema": "llmkit/state/1", "values": _encode(values)}, allow_nan=False)
    write_new(directory / VALUES, [text.encode(), b"\n"])


def load_state(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote. InputRefused if there is no training state or it is damaged."""
    with open_state(directory) as tensors:
        return dict(tensors), load_values(directory)


@contextlib.contextmanager
def open_state(directory: Path) -> Iterator[Mapping[str, Tensor]]:
    """The tensors of a training state by name, each read when it is asked for. InputRefused as `load_state`."""
    from llmkit.checkpoint.tensors import TensorFile

    with contextlib.ExitStack() as stack:
        files = []
        for name in _tensor_files(directory):
            try:
                fd = open_inside(directory, name)
            except FileNotFoundError:
                raise _no_state(directory) from None
            stack.callback(os.close, fd)
            files.append(TensorFile(fd, str(directory / name)))
        tensors: Mapping[str, Tensor] = ChainMap(*files)  # type: ignore[arg-type]  # only read from
        if len(tensors) != sum(map(len, files)):
            raise InputRefused(f"{directory} holds a tensor of the training state twice")
        yield tensors


def _tensor_files(directory: Path) -> list[str]:
    """state.safetensors, or the names of all parts."""
    try:
        present = set(os.listdir(directory))
    except FileNotFoundError:
        raise _no_state(directory) from None
    if TENSORS in present:
        return [TENSORS]
    parts = sorted(name for name in present if _PART.fullmatch(name))
    if not parts or parts != [part_name(i + 1, len(parts)) for i in range(len(parts))]:
        raise _no_state(directory)
    return parts


def _no_state(directory: Path) -> InputRefused:
    return InputRefused(f"{directory} holds no training state, or not all of it; it cannot be resumed")


def load_values(directory: Path) -> dict[str, Any]:
    """Only the values that `save_state` was given; needs no torch."""
    where = str(directory / VALUES)
    try:
        body = parse_object(read_small(directory, VALUES, _MAX_VALUES_BYTES), where, largest=2**128)
    except FileNotFoundError:
        raise _no_state(directory) from None
    values = body.get("values")
    if body.get("schema") != "llmkit/state/1" or not isinstance(values, dict):
        raise InputRefused(f"{where}: not a training state this version of llmkit knows")
    try:
        return {name: _decode(value) for name, value in values.items()}
    except (TypeError, ValueError) as error:
        raise InputRefused(f"{where}: {error}") from error


def has_state(directory: Path) -> bool:
    """Whether training can go on from `directory`."""
    try:
        return (directory / VALUES).is_file() and bool(_tensor_files(directory))
    except InputRefused:
        return False


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        assert abs(value) <= 2**128, value
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(v) for v in value]}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    if isinstance(value, Mapping):
        assert all(isinstance(k, str) and not k.startswith("$") for k in value), f"keys must be text without $: {value}"
        return {k: _encode(v) for k, v in value.items()}
    raise TypeError(f"a training state cannot hold a {type(value).__name__}")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, inner),) = value.items()
        if kind == "$float":
            return float(inner)
        if kind == "$bytes":
            return bytes.fromhex(inner)
        if kind == "$tuple":
            return tuple(_decode(v) for v in inner)
    return {k: _decode(v) for k, v in value.items()}
