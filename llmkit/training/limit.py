"""The most arithmetic this machine does in matrix products: measured once for each number format, then remembered.

The measurement takes a tenth of a second before the first step. It is made in the first few runs and the best result
kept, as another program may have been in the way; a run that does better raises the limit, since what has been done can
be done. Results lie in the user's cache directory; where that cannot be written, every run measures for itself.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

# Runs that measure before the best result is taken for good.
_MEASURED_BY = 3
_SIDE = {"cpu": 1024, "cuda": 4096, "mps": 2048}
_ROUNDS = 3
_MOST_SECONDS = 0.1  # of one product
_MOST_BYTES = 1 << 16


def matrix_limit(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations per second at best; None where it cannot be measured."""
    key = _key(device, dtype)
    known = _read().get(key)
    if known is not None and known[1] >= _MEASURED_BY:
        return known[0]
    try:
        measured = _measure(device, dtype)
    except RuntimeError:  # no kernel for this format, or no memory left
        return known[0] if known else None
    best = max(measured, known[0] if known else 0.0)
    _write(key, best, (known[1] if known else 0) + 1)
    return best


def raise_limit(device: torch.device, dtype: torch.dtype, reached: float) -> None:
    """Remember that more was done than the limit said could be."""
    key = _key(device, dtype)
    best, times = _read().get(key, (0.0, 0))
    if reached > best:
        _write(key, reached, times)


def cache_file() -> Path:
    """Where limits are remembered: $XDG_CACHE_HOME/llmkit, by default ~/.cache/llmkit."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path("~/.cache").expanduser()) / "llmkit" / "limits.json"


def ways_to_multiply(a: Tensor, b: Tensor, result: Tensor) -> list[Callable[[], object]]:
    """The kernels that compute a b: the framework's choice, and oneDNN's, which is faster on some processors."""
    ways: list[Callable[[], object]] = [partial(torch.mm, a, b, out=result)]
    is_offered = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if is_offered and a.device.type == "cpu" and a.dtype is torch.float32:
        ways.append(partial(torch.ops.mkldnn._linear_pointwise, a, b.t(), None, "none", [], ""))
    return ways


@torch.inference_mode()
def _measure(device: torch.device, dtype: torch.dtype) -> float:
    side = _SIDE.get(device.type, 1024)
    if device.type == "cpu":
        # Some processors emulate some formats: there a large product would take many seconds.
        seconds = _best(device, dtype, side // 4, rounds=1)
        while side > 64 and seconds * (side / (_SIDE["cpu"] // 4)) ** 3 > _MOST_SECONDS:
            side //= 2
    return 2.0 * side**3 / _best(device, dtype, side, rounds=_ROUNDS)


def _best(device: torch.device, dtype: torch.dtype, side: int, *, rounds: int) -> float:
    """Seconds of the fastest product of two square matrices, by the best way there is."""
    # No random numbers: those of the run must not depend on whether this was measured.
    a, b = (torch.full((side, side), value, device=device, dtype=dtype) for value in (0.5, 0.25))
    best = math.inf
    for work in ways_to_multiply(a, b.t(), torch.empty_like(a)):
        work()
        for _ in range(rounds):
            _wait(device)
            began = time.perf_counter()
            work()
            _wait(device)
            best = min(best, time.perf_counter() - began)
    return max(best, 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _key(device: torch.device, dtype: torch.dtype) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    precision = f" {torch.get_float32_matmul_precision()}" if dtype is torch.float32 else ""
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{device.type}, {name}, {str(dtype).removeprefix('torch.')}{precision}{threads}, torch {torch.__version__}"


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.lower().startswith(("model name", "hardware")):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _read() -> dict[str, tuple[float, int]]:
    """What is remembered: operations per second and how often they were measured. What is no such thing is left out."""
    try:
        with cache_file().open("rb") as file:
            body = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RuntimeError, RecursionError):  # RuntimeError: nobody knows where home is
        return {}
    found = {}
    for key, entry in body.items() if isinstance(body, dict) else ():
        is_pair = isinstance(entry, list) and len(entry) == 2 and all(type(v) in (int, float) for v in entry)
        if is_pair and 0 < entry[0] < 1e21 and 0 <= entry[1] < 1e6:
            found[key] = (float(entry[0]), int(entry[1]))
    return found


def _write(key: str, limit: float, times: int) -> None:
    """Best effort: two runs that write at once lose one of the results, and nothing else."""
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            temporary.write_text(json.dumps({**_read(), key: (limit, times)}, indent=1), encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
