"""Where to compute."""

from __future__ import annotations

import torch

from llmkit.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" is CUDA, else MPS, else the processor. Raises UsageError if it is not here."""
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
