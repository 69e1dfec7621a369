"""Where to compute."""

from __future__ import annotations

from functools import cache

import torch

from llmkit.errors import UsageError
from llmkit.training.parallel.place import Place


@cache
def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, float32 where it would be emulated."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    try:
        capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    except (AttributeError, RuntimeError):  # an older torch cannot tell
        capabilities = {}
    is_fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if is_fast else torch.float32


def training_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of matrix products that a recipe's train.dtype means on `device`."""
    return fast_dtype(device) if name == "auto" else {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def choose_device(name: str = "auto", place: Place | None = None) -> torch.device:
    """The device called `name`; "auto" is CUDA, else MPS, else the processor. Raises UsageError if it is not here.

    place: of a process among several: its GPU is the one with its number on the machine, and MPS serves only one.
    """
    if place is not None and place.size > 1:
        return _device_among_several(name, place)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.partition(":")[0]
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, False)
    if not found:
        raise UsageError(f"there is no device {name!r} here", "use cpu, or auto to take what there is")
    device = torch.device(name)
    if kind == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise UsageError(f"there is no device {name!r} here", f"there are {torch.cuda.device_count()}")
    return device


def _device_among_several(name: str, place: Place) -> torch.device:
    kind = name.partition(":")[0]
    if kind == "mps" or (kind == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"several processes cannot train on {name!r} here", "use cpu, or auto to take what there is")
    if kind == "cuda" and name != kind:
        raise UsageError(
            f"{place.size} processes cannot train on the one device {name!r}",
            "each takes a GPU of its own: leave --device out, and choose GPUs with CUDA_VISIBLE_DEVICES",
        )
    if kind == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # All of a machine's processes find the same, also those that would have a GPU: none waits for another in vain.
    if place.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{place.local_size} processes on this machine cannot share {torch.cuda.device_count()} GPUs",
            "start one process per GPU (--devices, --nproc-per-node), or add --device cpu",
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)
