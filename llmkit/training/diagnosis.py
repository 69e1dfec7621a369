"""Where the first number that is not finite came from. Slow, and only used when a run is over because of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.training.learner import Learner
from llmkit.training.objectives.objective import Batch


def first_bad_output(learner: Learner, batches: Sequence[Batch]) -> str | None:
    """Name of the first parameter or layer output, in order of computation, that is not finite; None if all are."""
    for name, parameter in learner.learning().items():
        if not is_finite(parameter):
            return f"weights {name}"
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not is_finite(output):
                found.append(f"{name.removeprefix('model.')} output")

        return look

    leaves = [(n, m) for n, m in learner.named_modules() if n and not any(m.children())]
    hooks = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            for batch in batches:
                sums = learner(batch)
                if not found and not all(is_finite(s) for s in sums.values()):
                    found.append("the loss itself")
                if found:
                    break
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def first_bad_gradient(parameters: Mapping[str, Tensor]) -> str | None:
    """Name of the last parameter whose gradient is not finite: backwards, it is where the trouble began."""
    bad = [n for n, p in parameters.items() if p.grad is not None and not is_finite(p.grad)]
    return f"gradient of {bad[-1]}" if bad else None


def largest_gradient(parameters: Mapping[str, Tensor]) -> str:
    """Which gradient is the largest, where all are finite and only their squares are not."""
    found = {n: float(p.grad.abs().max()) for n, p in parameters.items() if p.grad is not None and p.grad.numel()}
    if not found:  # a process that holds no rows of any
        return "unknown"
    name = max(found, key=lambda name: found[name])
    return f"none, but the gradient of {name} is as large as {found[name]:.1e}"


def is_finite(tensor: Tensor) -> bool:
    """Whether every number is."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
