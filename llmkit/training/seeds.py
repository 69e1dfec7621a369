"""Every random draw of a run as a function of (seed, purpose, step): resuming needs no generator state."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.data.order import mixed


class Purpose(IntEnum):
    """What a draw is for. The numbers are part of the promise that a seed gives the same run; never renumber."""

    WEIGHTS = 1
    DROPOUT = 2
    CORRUPTION = 3
    VALIDATION = 4
    SAMPLE = 5
    ORDER = 6
    OFFSET = 7


def seed_torch(seed: int, purpose: Purpose, step: int = 0, rank: int = 0) -> None:
    """Set torch's global generators for one purpose at one step; on each process of a run others."""
    torch.manual_seed(mixed(seed, purpose, step, *([rank] if rank else [])) >> 1)


def generator(seed: int, purpose: Purpose, *parts: int) -> np.random.Generator:
    """A numpy generator of its own for one purpose at one place, for example (step, micro-batch)."""
    return np.random.Generator(np.random.PCG64(mixed(seed, purpose, *parts)))


def generators(seed: int, purpose: Purpose, draws: NDArray[np.integer]) -> list[np.random.Generator]:
    """One generator per example, each a function of (seed, its draw): what happens to an example at random depends
    neither on the batch it comes in nor on who makes it."""
    return [generator(seed, purpose, int(draw)) for draw in draws]


def uniform(rngs: Sequence[np.random.Generator], width: int) -> NDArray[np.float64]:
    """Numbers from [0, 1), (len(rngs), width): each row from its own generator."""
    return np.stack([rng.random(width) for rng in rngs])
