"""Every parameter cut into rows, one part in each process: PyTorch's FSDP2 (Zhao et al. 2023, arXiv:2304.11277).

Only the block that computes is whole, for as long as it computes. This module imports torch's distributed tensors,
which takes a second: it is imported by runs that use them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from llmkit.nn.wiring import Stack
from llmkit.training.learner import Learner
from llmkit.training.objectives.objective import Batch, Measured
from llmkit.training.parallel.spread import Spread
from llmkit.training.parallel.world import World, gather_rows


class Cut(Spread):
    """Parameters, gradients and optimizer state cut along their first dimension; see Spread.

    `parameters` share memory with the rows that FSDP keeps: what updates them need not know of it.
    """

    kind = "fsdp"
    is_cut = True

    def __init__(self, learner: Learner, world: World, device: torch.device) -> None:
        super().__init__(learner, world)
        self.shapes = {name.removeprefix("model."): tuple(p.shape) for name, p in learner.named_parameters()}
        mesh = init_device_mesh(device.type, (world.size,))
        for block in blocks(learner):
            fully_shard(block, mesh=mesh)
        fully_shard(learner, mesh=mesh, reshard_after_forward=False)
        self.modules = [m for m in learner.modules() if isinstance(m, FSDPModule)]
        for module in self.modules:
            # Losses are divided by the counts of all processes already; and gloo only knows plain sums.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        self.rows: dict[str, Any] = {n.removeprefix("model."): p for n, p in learner.named_parameters()}
        self.names = {id(p): name for name, p in self.rows.items()}
        self.parameters = {name: nn.Parameter(p.to_local()) for name, p in self.rows.items() if p.requires_grad}
        for name, parameter in self.parameters.items():
            assert len(parameter) == self._rows_of(name)[1] - self._rows_of(name)[0], name

    def measure(self, batch: Batch) -> Measured:
        """See Spread."""
        found = super().measure(batch)
        self.learner.reshard()  # type: ignore[operator]  # without a backward pass its own parameters would stay whole
        return found

    def forget_gradients(self) -> None:
        """See Spread."""
        super().forget_gradients()
        for name in self.parameters:
            self.rows[name].grad = None

    def settle_gradients(self) -> None:
        """See Spread."""
        for name, parameter in self.parameters.items():
            gradient = self.rows[name].grad
            parameter.grad = None if gradient is None else gradient.to_local()

    def across(self, norm: float) -> float:
        """See Spread."""
        return float(self.world.sums([norm**2])[0] ** 0.5)

    @contextlib.contextmanager
    def _assembled(self) -> Iterator[None]:
        self.learner._get_fsdp_state()._lazy_init()  # type: ignore[operator]  # else the first block would be the root
        for module in self.modules:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            for module in self.modules:
                module.reshard()
                module.set_reshard_after_forward(module is not self.learner, recurse=False)
                _forget_passes(module)

    def assembled(self) -> AbstractContextManager[Any]:
        """See Spread. Takes the memory of the whole model."""
        return self._assembled()

    @torch.no_grad()
    def whole(self, names: Sequence[str], parts: Sequence[Tensor]) -> list[Tensor]:
        """See Spread; all in one message."""
        longest = sum(self._chunk(name) * _width(self.shapes[name]) for name in names)
        mine = parts[0].new_zeros(longest)
        torch.cat([part.reshape(-1) for part in parts], out=mine[: sum(part.numel() for part in parts)])
        rows = mine.new_empty(self.world.size * longest)
        with self.world.guard():
            gather_rows(rows, mine)
        found = []
        at = [rank * longest for rank in range(self.world.size)]
        for name in names:
            shape, pieces = self.shapes[name], []
            for rank in range(self.world.size):
                start, stop = self._rows_of(name, rank)
                n = (stop - start) * _width(shape)
                pieces.append(rows[at[rank] : at[rank] + n])
                at[rank] += n
            found.append(torch.cat(pieces).view(shape))
        return found

    def part(self, name: str, whole: Tensor) -> Tensor:
        """See Spread."""
        start, stop = self._rows_of(name)
        return whole[start:stop]

    def _chunk(self, name: str) -> int:
        return -(-self.shapes[name][0] // self.world.size)

    def _rows_of(self, name: str, rank: int | None = None) -> tuple[int, int]:
        """Start and end of a process's rows; the last ones may have fewer, or none, as torch.chunk has it."""
        rank = self.world.rank if rank is None else rank
        n, chunk = self.shapes[name][0], self._chunk(name)
        return min(rank * chunk, n), min((rank + 1) * chunk, n)


def _forget_passes(module: Any) -> None:
    """Forget the order in which blocks ran, which FSDP notes and the next backward pass fetches parameters by.

    Where one process ran the model alone its order would differ from the others', and they would wait for each other
    forever. Private to torch, which clears these lists after a backward pass only.
    """
    state = module._get_fsdp_state()
    for group in getattr(state, "_fsdp_param_groups", None) or [state._fsdp_param_group]:
        if group is not None:
            group._post_forward_indices.clear()
            group.comm_ctx.post_forward_order.clear()


def _width(shape: Sequence[int]) -> int:
    """Elements in a row."""
    return torch.Size(shape[1:]).numel()


def blocks(learner: Learner) -> list[nn.Module]:
    """Blocks that can be put together one at a time; whatever is in none of them is whole during the whole pass.

    They must be called as modules and by all processes alike, and share no parameter with anything outside.
    """
    owners = Counter(id(p) for m in set(learner.modules()) for p in m._parameters.values() if p is not None)
    found: dict[int, nn.Module] = {}
    for stack in learner.modules():
        if type(stack) is not Stack:
            continue
        for block in stack.blocks:
            inside = Counter(id(p) for m in set(block.modules()) for p in m._parameters.values() if p is not None)
            if inside and all(owners[i] == n for i, n in inside.items()):
                found[id(block)] = block
    return list(found.values())
