"""Scores on the validation data, the same way for every objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.training.learner import Learner
from llmkit.training.objectives.objective import Objective, evenly_spaced
from llmkit.training.parallel.spread import Spread
from llmkit.training.seeds import Purpose, generators


@torch.no_grad()
def evaluate(
    objective: Objective,
    model: nn.Module,
    *,
    seed: int = 0,
    most: int = 0,
    poll: Callable[[], bool] = lambda: False,
    spread: Spread | None = None,
) -> dict[str, float] | None:
    """Scores over at most `most` batches of the validation data, spread over all of it (0: all).

    None when there are no such data or `poll` asked to stop half way. The corruption is the same each time.
    spread: how `model` is spread over processes. They take the batches in turn, and all make as many passes, because
    parameters that are cut up come together in each: one that has no batch left takes the last again, uncounted.
    """
    batches = evenly_spaced(objective.held_out(), most)
    if not batches:
        return None
    spread = spread or Spread(Learner(model, objective))
    world, device = spread.world, next(model.parameters()).device
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for number in range(world.rank, -(-len(batches) // world.size) * world.size, world.size):
        if poll():
            return None
        picks = batches[min(number, len(batches) - 1)]
        batch = objective.collate(picks, generators(seed, Purpose.VALIDATION, picks.draw)).to(device)
        is_counted = number < len(batches)
        for name, (total, count) in spread.measure(batch).items():
            # Sums of millions of terms: float32 would lose the last ones.
            total = total.detach().to("cpu", torch.float64) * is_counted
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts.get(name, 0) + count * is_counted
    sums = {name: world.add(total) for name, total in sums.items()}
    counts = dict(zip(counts, (int(n) for n in world.sums(list(counts.values()))), strict=True))
    means: dict[str, Any] = {name: total / max(1, counts[name]) for name, total in sums.items()}
    return objective.scores({name: float(m) if m.ndim == 0 else m.numpy() for name, m in means.items()})
