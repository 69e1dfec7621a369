"""Optimizers over plain tensors: AdamW on the fused kernel, and Muon for hidden matrices.

`torch.optim` is not used: constructing one of its optimizers imports the compiler stack, which costs more than a second
of every start (measured: 1.3 s). State is a flat dict of named tensors, ready for a safetensors file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from llmkit.training.learner import Learner
from llmkit.training.muon import Muon, block_heights, hidden_matrices
from llmkit.training.parallel.spread import Spread


class OptimizerSettings(Protocol):
    """The part of the recipe's `train` section that concerns the optimizer."""

    @property
    def optimizer(self) -> str: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def eps(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def rest_lr(self) -> float: ...


class Optimizer(Protocol):
    """Turns the gradients in `parameter.grad` into a step; a parameter without a gradient stays as it is."""

    def step(self, lr: float) -> None: ...
    def state(self) -> dict[str, Tensor]: ...


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Matrices decay, embeddings among them, as in the GPT papers; norms and biases do not. rate: multiplies the learning
    rate of every step.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        rate: float = 1.0,
    ) -> None:
        self.parameters, self.rate = dict(parameters), rate
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.mean = {n: torch.zeros_like(p, memory_format=torch.preserve_format) for n, p in self.parameters.items()}
        self.square = {n: torch.zeros_like(p, memory_format=torch.preserve_format) for n, p in self.parameters.items()}
        device = next(iter(self.parameters.values())).device if self.parameters else torch.device("cpu")
        self.steps = torch.zeros((), device=device)
        self._update = fused_update if fused_works(device) else plain_update

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every parameter that has a gradient, in place."""
        self.steps += 1
        for is_pulled in (True, False):
            names = [n for n, p in self.parameters.items() if p.grad is not None and decays(n, p) == is_pulled]
            if names:
                self._update(
                    [self.parameters[n] for n in names],
                    [self.parameters[n].grad for n in names],  # type: ignore[misc]  # names are those with a gradient
                    [self.mean[n] for n in names],
                    [self.square[n] for n in names],
                    self.steps,
                    lr=lr * self.rate,
                    beta1=self.beta1,
                    beta2=self.beta2,
                    weight_decay=self.weight_decay if is_pulled else 0.0,
                    eps=self.eps,
                )

    def state(self) -> dict[str, Tensor]:
        """The live state tensors by name; copying into them restores a saved state."""
        moments = {f"adamw.mean.{n}": t for n, t in self.mean.items()}
        return {**moments, **{f"adamw.square.{n}": t for n, t in self.square.items()}, "adamw.steps": self.steps}


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay pulls at a parameter. Biases by head, in tables, are biases all the same."""
    return parameter.ndim >= 2 and not name.endswith("bias")


def fused_update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: Tensor,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
) -> None:
    """One AdamW step in PyTorch's fused kernel. A private function of torch, hence `fused_works` and the fallback."""
    torch._fused_adamw_(
        parameters,
        gradients,
        means,
        squares,
        [],
        [steps] * len(parameters),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )


def plain_update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: Tensor,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
) -> None:
    """The same step from public operations, for builds without the fused kernel."""
    count = steps.item()
    for p, g, mean, square in zip(parameters, gradients, means, squares, strict=True):
        p.mul_(1 - lr * weight_decay)
        mean.lerp_(g, 1 - beta1)
        square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        root = square.sqrt().div_((1 - beta2**count) ** 0.5).add_(eps)
        p.addcdiv_(mean, root, value=-lr / (1 - beta1**count))


def fused_works(device: torch.device) -> bool:
    """Whether the fused kernel exists here and takes the arguments we give it."""
    try:
        p, g, mean, square = (torch.full((1,), x, device=device) for x in (1.0, 1.0, 0.0, 0.0))
        steps = torch.ones((), device=device)
        fused_update([p], [g], [mean], [square], steps, lr=0.5, beta1=0.5, beta2=0.5, weight_decay=0.0, eps=1e-8)
        return bool((p - 0.5).abs().item() < 1e-4)
    except (AttributeError, TypeError, RuntimeError, NotImplementedError):
        return False


class Both:
    """Two optimizers that share the parameters of one model."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    def step(self, lr: float) -> None:
        """One step of each."""
        for optimizer in self.optimizers:
            optimizer.step(lr)

    def state(self) -> dict[str, Tensor]:
        """All state tensors; the optimizers prefix their names."""
        return {name: tensor for optimizer in self.optimizers for name, tensor in optimizer.state().items()}


def make_optimizer(learner: Learner, settings: OptimizerSettings, spread: Spread | None = None) -> Optimizer:
    """The optimizer the recipe asks for, over all parameters that learn, however they are spread over processes."""
    parameters = learner.learning() if spread is None else spread.parameters

    def adamw(chosen: Mapping[str, nn.Parameter], rate: float = 1.0) -> AdamW:
        return AdamW(
            chosen,
            beta1=settings.beta1,
            beta2=settings.beta2,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            rate=rate,
        )

    if settings.optimizer == "adamw":
        return adamw(parameters)
    hidden = {n.removeprefix("model.") for n in hidden_matrices(learner)}
    matrices = {n: p for n, p in parameters.items() if n in hidden}
    rest = {n: p for n, p in parameters.items() if n not in matrices}
    heights = {n.removeprefix("model."): h for n, h in block_heights(learner).items()}
    decay, memory = settings.weight_decay, settings.momentum
    muon = Muon(matrices, heights, weight_decay=decay, momentum=memory, spread=spread)
    return Both(muon, adamw(rest, settings.rest_lr))


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[nn.Parameter], limit: float, across: Callable[[float], float] = lambda norm: norm
) -> float:
    """Scale all gradients so that their common norm is at most `limit` (0: leave them); return the norm before.

    across: the norm on all processes, from that on this one. A norm that is not finite is returned as it is and
    nothing is scaled. Costs one device sync.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))) if gradients else 0.0
    norm = across(norm)
    if gradients and limit and limit < norm < float("inf"):
        torch._foreach_mul_(gradients, limit / norm)
    return norm
