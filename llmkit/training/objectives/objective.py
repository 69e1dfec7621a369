"""What every objective offers the training loop, which never asks which one it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmkit.training.objectives.glimpse import Glimpse

B = TypeVar("B", bound="Batch")
T = TypeVar("T")

# oneDNN builds and keeps a kernel for every new shape of a matrix product, which costs more than some padding does:
# batches come in a few round widths, and masked positions in round numbers.
WIDTH_STEP = 8
TARGET_STEP = 128
NO_TARGET = -100  # what cross_entropy ignores
# Sums over a batch and how many terms they have, by name. A sum may be of any shape; with 0 terms it is wanted as is.
Measured = Mapping[str, tuple[Tensor, int]]


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
        moved: dict[str, Any] = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
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
    """Which examples make a batch: `index` within the data, `epoch` of the pass over it, `draw`, the number that an
    example's random draws follow from. Shapes (n,) each.

    stage: which of several objectives they are for. held_out: they are of the validation data.
    """

    epoch: NDArray[np.int64]
    index: NDArray[np.int64]
    draw: NDArray[np.int64]
    stage: int = 0
    held_out: bool = False

    def part(self, start: int, stop: int) -> Picks:
        """Some of them, in order."""
        here = slice(start, stop)
        return replace(self, epoch=self.epoch[here], index=self.index[here], draw=self.draw[here])


def joined(parts: Sequence[Picks]) -> Picks:
    """Picks of one kind, one after the other."""
    epoch, index, draw = (np.concatenate(of) for of in zip(*((p.epoch, p.index, p.draw) for p in parts), strict=True))
    return replace(parts[0], epoch=epoch, index=index, draw=draw)


def held_out(index: NDArray[np.integer], stage: int = 0) -> Picks:
    """Examples of the validation data, which look the same each time."""
    chosen = index.astype(np.int64)
    return Picks(np.zeros_like(chosen), chosen, chosen, stage, held_out=True)


def is_cut(model: nn.Module) -> bool:
    """Whether the parameters lie in parts on several processes (llmkit.training.parallel.cut). The parts come together
    in each pass, so that all processes must make equally many, whatever their batches hold."""
    return any(hasattr(parameter, "to_local") for parameter in model.parameters())


class Objective(Protocol):
    """A task to learn: how a batch is made, what it costs, and how well the validation data goes.

    The model is one of llmkit.models.shells or two_towers; the batch is what this objective's own `collate` made.
    n_examples: in an epoch. partner: a second network that learns along, if there is one.
    """

    n_examples: int
    partner: nn.Module | None

    @property
    def remarks(self) -> Sequence[str]:
        """What the user should know before the first step."""

    def picks(self, first: int, count: int) -> Picks:
        """The `count` examples from global position `first` on; a pure function of the seed."""

    def held_out(self) -> Sequence[Picks]:
        """The batches of the validation data; none when there are no such data."""

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> Batch:
        """Examples to tensors. Whatever is corrupted at random in example i is drawn from rngs[i]; pure otherwise, as
        it is called ahead of the step, in another thread."""

    def loss(self, model: Any, batch: Any) -> Loss:
        """Sums of the loss terms, with gradient."""

    def measure(self, model: Any, batch: Any) -> Measured:
        """What `scores` needs to know of a batch of validation data, as sums."""

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Scores from the means of what was measured (numbers, or arrays where sums have a shape); "loss" first."""

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """What the model says now: (what it was given, what it made of it)."""

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """Each example before and after what `collate` does to it."""

    def state(self) -> dict[str, Tensor]:
        """What must survive a resume besides weights: tensors with a row for each of its examples of a micro-batch."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""

    def left_out(self) -> None:
        """A step was not taken, because a number in it is not finite: forget what it left behind."""


class Plain:
    """What most objectives say to the rarer questions: no second network, no samples, nothing to remember."""

    partner: nn.Module | None = None

    @property
    def remarks(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """Nothing."""
        return None

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing to take back."""

    def left_out(self) -> None:
        """Nothing to forget."""


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


def by_length(lengths: NDArray[np.integer], size: int) -> list[Picks]:
    """Batches of the validation data: `size` examples of similar length each."""
    order = np.argsort(lengths, kind="stable")
    return [held_out(order[i : i + size]) for i in range(0, len(order), size)]


def round_up(n: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-n // step) * step


def padded_width(longest: int, most: int) -> int:
    """The width of a batch whose longest row has `longest` tokens: a round one, but beyond `most` none wider."""
    return max(longest, min(round_up(longest, WIDTH_STEP), most))
