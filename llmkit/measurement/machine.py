"""The machine that was measured, as far as it explains the figures; nothing that says whose it is."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores, memory, accelerator and versions. No host name, user or path."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": _threads(),
        "memory_bytes": memory_bytes(),
        "device": _device_name(device),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "tokenizers")},
    }


def cpu_model() -> str:
    """The processor's own name, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.lower().startswith(("model name", "hardware")):
                    return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Main memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch else None


def _device_name(device: str) -> str:
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(device))
    return device


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
