"""How what learns is spread over the processes of a run: whole in one, copied to each (DDP), or cut up (FSDP)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from llmkit.training.learner import Learner
from llmkit.training.objectives.objective import Batch, Measured
from llmkit.training.parallel.world import ALONE, World


class Spread:
    """A learner whole in one process; its children spread it over several.

    parameters: what the optimizer updates, by name; where parameters are cut up, this process's rows of each.
    """

    kind = ""
    is_cut = False

    def __init__(self, learner: Learner, world: World = ALONE) -> None:
        self.learner, self.world = learner, world
        self.parameters: Mapping[str, nn.Parameter] = learner.learning()
        # Shapes of the whole parameters.
        self.shapes = {name: tuple(p.shape) for name, p in self.parameters.items()}

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Sums of the loss terms of this process's part of a batch, with gradient."""
        found: Mapping[str, Tensor] = self.learner(batch)
        return found

    def measure(self, batch: Batch) -> Measured:
        """What the objective measures on a batch of validation data; every process must call it equally often."""
        found: Measured = self.learner(batch, measure=True)
        return found

    def micro_batch(self, is_last: bool) -> AbstractContextManager[Any]:
        """Around one forward and backward pass; gradients need not be added up over processes before the last."""
        return contextlib.nullcontext()

    def forget_gradients(self) -> None:
        """Before a step."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def settle_gradients(self) -> None:
        """After the last backward pass: `parameters` have the gradients of the whole step from here on."""

    def across(self, norm: float) -> float:
        """The norm of all gradients, from that of the gradients in `parameters`."""
        return norm

    def assembled(self) -> AbstractContextManager[Any]:
        """Inside, every process has the whole model and may use it alone. All must enter."""
        return contextlib.nullcontext()

    def whole(self, names: Sequence[str], parts: Sequence[Tensor]) -> list[Tensor]:
        """Whole tensors of the shapes of the parameters `names` from this process's rows of each. All must call it."""
        return list(parts)

    def part(self, name: str, whole: Tensor) -> Tensor:
        """This process's rows of a tensor of the shape of parameter `name`."""
        return whole


def parameter_of(state: str) -> str | None:
    """The parameter that a tensor of optimizer state belongs to: adamw.mean.head.bias -> head.bias; else None."""
    return state.split(".", 2)[2] if state.count(".") > 1 else None


class Copied(Spread):
    """A whole copy in each process, kept alike by adding up gradients: PyTorch's DistributedDataParallel."""

    kind = "ddp"

    def __init__(self, learner: Learner, world: World) -> None:
        from torch.nn.parallel import DistributedDataParallel

        super().__init__(learner, world)
        device = next(iter(self.parameters.values())).device
        # With find_unused_parameters a part that is not used in a step is no error, and buckets stay as they were made:
        # rebuilt after the first step, they would add up in another order than those of a run that is resumed.
        self.wrapped = DistributedDataParallel(
            learner,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,
        )
        self.wrapped.register_comm_hook(None, lambda state, bucket: _sum(bucket))

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """See Spread."""
        found: Mapping[str, Tensor] = self.wrapped(batch)
        return found

    def micro_batch(self, is_last: bool) -> AbstractContextManager[Any]:
        """See Spread."""
        return contextlib.nullcontext() if is_last else self.wrapped.no_sync()


def _sum(bucket: Any) -> Any:
    """Add gradients up; DistributedDataParallel would take the mean, but losses are divided by the counts of all."""
    import torch.distributed as dist

    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])


def spread_over(learner: Learner, kind: str, world: World, device: Any) -> Spread:
    """The learner spread over `world` as the recipe's train.parallel says; in one process it stays as it is.

    device: where this process computes. A learner that is to be cut may still lie on the processor.
    """
    if world.size == 1:
        return Spread(learner, world)
    if kind == "ddp":
        return Copied(learner.to(device), world)
    from llmkit.training.parallel.cut import Cut

    return Cut(learner, world, device)
