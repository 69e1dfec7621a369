"""Training state beside a model: tensors in state.safetensors, everything else in state.json. Never a pickle.

JSON knows neither NaN nor infinity, tuples nor bytes, and random generators and loss scalers have them; each is kept
as an object with one marked key, so that `load_state` returns exactly what `save_state` was given.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.checkpoint.files import open_inside, read_small, write_new
from llmkit.checkpoint.strict_json import parse_object
from llmkit.errors import InputRefused

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, VALUES = "state.safetensors", "state.json"
_MAX_VALUES_BYTES = 64 * 2**20


def save_state(directory: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write both files into `directory`. Values may be nested dicts with text keys, lists, tuples, text, bytes, bools,
    None, integers of up to 128 bits and any floats."""
    from llmkit.checkpoint.tensors import write_tensors

    text = json.dumps({"schema": "llmkit/state/1", "values": _encode(values)}, allow_nan=False)
    write_tensors(directory / TENSORS, tensors, {"format": "pt"})
    write_new(directory / VALUES, [text.encode(), b"\n"])


def load_state(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote. InputRefused if there is no training state or it is damaged."""
    from llmkit.checkpoint.tensors import TensorFile

    values = load_values(directory)
    try:
        fd = open_inside(directory, TENSORS)
    except FileNotFoundError:
        raise InputRefused(f"{directory} holds no training state; it cannot be resumed") from None
    try:
        return dict(TensorFile(fd, str(directory / TENSORS))), values
    finally:
        os.close(fd)


def load_values(directory: Path) -> dict[str, Any]:
    """Only the values that `save_state` was given; needs no torch."""
    where = str(directory / VALUES)
    try:
        body = parse_object(read_small(directory, VALUES, _MAX_VALUES_BYTES), where, largest=2**128)
    except FileNotFoundError:
        raise InputRefused(f"{directory} holds no training state; it cannot be resumed") from None
    values = body.get("values")
    if body.get("schema") != "llmkit/state/1" or not isinstance(values, dict):
        raise InputRefused(f"{where}: not a training state this version of llmkit knows")
    try:
        return {name: _decode(value) for name, value in values.items()}
    except (TypeError, ValueError) as error:
        raise InputRefused(f"{where}: {error}") from error


def has_state(directory: Path) -> bool:
    """Whether training can go on from `directory`."""
    return (directory / VALUES).is_file() and (directory / TENSORS).is_file()


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
