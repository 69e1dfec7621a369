"""What every objective offers the training loop, which never asks which one it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

B = TypeVar("B", bound="Batch")
T = TypeVar("T")

# oneDNN builds and keeps a kernel for every new shape of a matrix product, which costs more than some padding does:
# batches come in a few round widths, and masked positions in round numbers.
WIDTH_STEP = 8
TARGET_STEP = 128
NO_TARGET = -100  # what cross_entropy ignores


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tensors of one forward pass. counts: how many terms each part of the loss sums over."""

    counts: Mapping[str, int]
    n_examples: int
    n_tokens: int

    def to(self: B, device: torch.device) -> B:
        """The same batch with its tensors on `device`."""
        if device.type == "cpu":
            return self
        tensors = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)


@dataclass(frozen=True)
class Loss:
    """Sums of the loss terms by part, for example {"masked": ..., "pair": ...}, each over batch.counts[part] terms.

    Sums and not means: the loop divides by the counts of the whole step, so that two micro-batches of 8 give the
    gradient of one batch of 16 even when they hold different numbers of targets.
    """

    sums: Mapping[str, Tensor]
    counts: Mapping[str, int]

    @property
    def total(self) -> Tensor:
        """The loss of this batch alone: the parts' means, added."""
        return sum_of([self.sums[part] / max(1, self.counts[part]) for part in self.sums])


@dataclass(frozen=True)
class Picks:
    """Which examples make a batch: `index` within the data, `epoch` of the pass over it. Shapes (n,), (n,).

    stage: which of several objectives they are for.
    """

    epoch: NDArray[np.int64]
    index: NDArray[np.int64]
    stage: int = 0


class Objective(Protocol):
    """A task to learn: how a batch is made, what it costs, and how well the validation data goes.

    The model is one of llmkit.models.shells; the batch is what this objective's own `collate` made.
    """

    n_examples: int

    def picks(self, first: int, count: int) -> Picks:
        """The `count` examples from global position `first` on; a pure function of the seed."""

    def collate(self, picks: Picks, rng: np.random.Generator) -> Batch:
        """Examples to tensors. Whatever is corrupted at random is drawn from `rng`."""

    def loss(self, model: Any, batch: Any) -> Loss:
        """Sums of the loss terms, with gradient."""

    def evaluate(self, model: Any, poll: Callable[[], bool]) -> dict[str, float] | None:
        """Scores on the validation data, "loss" first; None when `poll` asked to stop half way or there is none."""

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """What the model says now: (what it was given, what it made of it)."""


def sum_of(tensors: list[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def evenly_spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of `items`, spread over all of them; 0 means all."""
    if not most or most >= len(items):
        return items
    return [items[i * len(items) // most] for i in range(most)]


def round_up(n: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-n // step) * step


def padded_width(longest: int, most: int) -> int:
    """The width of a batch whose longest row has `longest` tokens: a round one, but beyond `most` none wider."""
    return max(longest, min(round_up(longest, WIDTH_STEP), most))
