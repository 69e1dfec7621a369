"""Scores on the validation data, the same way for every objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.training.objectives.objective import Objective, evenly_spaced
from llmkit.training.seeds import Purpose, generators


@torch.no_grad()
def evaluate(
    objective: Objective, model: nn.Module, *, seed: int = 0, most: int = 0, poll: Callable[[], bool] = lambda: False
) -> dict[str, float] | None:
    """Scores over at most `most` batches of the validation data, spread over all of it (0: all).

    None when there are no such data or `poll` asked to stop half way. The corruption is the same each time.
    """
    batches = evenly_spaced(objective.held_out(), most)
    if not batches:
        return None
    device = next(model.parameters()).device
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for picks in batches:
        if poll():
            return None
        batch = objective.collate(picks, generators(seed, Purpose.VALIDATION, picks.draw)).to(device)
        for name, (total, count) in objective.measure(model, batch).items():
            # Sums of millions of terms: float32 would lose the last ones.
            total = total.detach().to("cpu", torch.float64)
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts.get(name, 0) + count
    means: dict[str, Any] = {name: total / max(1, counts[name]) for name, total in sums.items()}
    return objective.scores({name: float(m) if m.ndim == 0 else m.numpy() for name, m in means.items()})
