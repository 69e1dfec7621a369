"""The largest memory that a function has at any moment beyond what was there before."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch


def peak_of(run: Callable[[], object], device: torch.device) -> int | None:
    """Call `run` and return the most bytes that its tensors had at once; None where nobody keeps count.

    On the processor the profiler sees every allocation of a tensor, so the number is exact and the same each time,
    unlike the memory of the process. What libraries allocate for themselves is not in it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    if device.type != "cpu":
        run()
        return None
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it greets on stderr
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        run()
    now = most = 0
    try:
        results = profile.kineto_results
        for event in results.events() if results is not None else ():
            if event.name() == "[memory]":
                now += event.nbytes()
                most = max(most, now)
    except AttributeError:  # not a public interface
        return None
    return most or None
