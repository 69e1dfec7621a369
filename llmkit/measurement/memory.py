"""Peak memory of one run of a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def peak_bytes(run: Callable[[], object], device: str = "cpu") -> int | None:
    """Call `run` once and return the largest resident memory of the process meanwhile (on CUDA: allocated there).

    None where the system cannot reset its record (only Linux can): an older peak would be mistaken for this one.
    """
    torch: Any = sys.modules.get("torch")
    if device.startswith("cuda") and torch and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return int(torch.cuda.max_memory_allocated(device))
    if not _reset():
        return None
    run()
    return _high_water()


def _reset() -> bool:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
    except (OSError, ValueError, IndexError):
        return None
