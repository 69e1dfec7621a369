"""Hashes under which vectors that point the same way fall into one bucket (Andoni et al. 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hashing:
    """rounds: hashes of each vector. buckets: how many, or their factors; none: twice as many as chunks, about.

    seed: of the random rotations; None: new ones for each pass in training, the same ones otherwise. max_seq_len: of
    the model; it bounds how many buckets there are before they are made of two factors.
    """

    rounds: int = 1
    buckets: tuple[int, ...] = ()
    seed: int | None = None
    max_seq_len: int = 4096

    def __call__(self, vectors: Tensor, seen: Tensor | None, chunk: int, *, training: bool) -> Tensor:
        """Buckets of vectors (batch, heads, seq, head_dim): (batch, heads, rounds * seq), each round with its own.

        What is not seen, (batch or 1, seq) booleans, has a bucket to itself, the last one.
        """
        factors = self.buckets or self._usual(vectors.shape[2], chunk)
        shape = (vectors.shape[1], vectors.shape[3], self.rounds, sum(factors) // 2)
        if training and self.seed is None:
            rotations = torch.randn(shape, device=vectors.device)
        else:
            rotations = _seeded(shape, self.seed or 0, str(vectors.device))
        # In float32 whatever the dtype, or neighbouring buckets could not be told from each other.
        with torch.autocast(vectors.device.type, enabled=False):
            rotated = torch.einsum("bmtd,mdhr->bmhtr", vectors.float(), rotations)
        number, product = torch.zeros((), dtype=torch.long, device=vectors.device), 1
        for part, factor in zip(rotated.split([factor // 2 for factor in factors], -1), factors, strict=True):
            number = number + product * torch.cat([part, -part], -1).argmax(-1)
            product *= factor
        if seen is not None:
            number = number.where(seen[:, None, None, :], product)
        own = torch.arange(self.rounds, device=vectors.device)[:, None] * (product + 1)
        return (number + own).flatten(2)

    def _usual(self, seq: int, chunk: int) -> tuple[int, ...]:
        power = (2 * (seq // chunk)).bit_length() - 1
        if 2**power <= 2 * max(int(math.sqrt(self.max_seq_len // chunk)), chunk):
            return (2**power,)
        return 2 ** (power // 2), 2 ** (power - power // 2)


def _seeded(shape: tuple[int, ...], seed: int, device: str) -> Tensor:
    """Normal numbers that depend on nothing else; the global generator stays as it is."""
    # Devices draw different numbers for the same seed, and a model must sort its text alike on all of them.
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu").to(device)


# What torch.compiler.assume_constant_result does, without its import of the compiler: 1.5 s of every start.
_seeded._dynamo_marked_constant = True  # type: ignore[attr-defined]
