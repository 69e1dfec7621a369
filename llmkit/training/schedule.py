"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state. No torch here."""

from __future__ import annotations

import math
from typing import Protocol

# wsd ("warm-up, stable, decay"; Hu et al. 2024, MiniCPM) falls over this last share of the run.
WSD_DECAY = 0.4


class ScheduleSettings(Protocol):
    """The part of the recipe's `train` section that shapes the learning rate."""

    @property
    def steps(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def min_lr(self) -> float: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup_steps(self) -> int: ...


def learning_rate(step: int, settings: ScheduleSettings) -> float:
    """Learning rate of the step with index `step` (the first is 0).

    It rises linearly over `warmup_steps` steps to `lr` and falls to `min_lr * lr` at the last step, in the shape that
    `schedule` names; `constant` stays, and `inverse_sqrt` falls with the root of the step, wherever the run ends.
    """
    warmup = min(settings.warmup_steps, settings.steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "inverse_sqrt":  # Vaswani et al. 2017, equation 3, its highest rate named outright
        return settings.lr * max(settings.min_lr, math.sqrt(max(1, warmup) / (step + 1)))
    # The last step still learns: with min_lr 0 it takes the smallest rate above 0, not none.
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.lr * (settings.min_lr + (1 - settings.min_lr) * _shape(settings.schedule, min(1.0, progress)))


def first_long_step(steps: int, long_share: float) -> int:
    """Index of the first step with long examples; `steps` when there is none."""
    return steps - round(long_share * steps)


def _shape(schedule: str, progress: float) -> float:
    """Height between 0 and 1 of the curve after warm-up, at `progress` between 0 and 1."""
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "wsd":
        return min(1.0, (1.0 - progress) / WSD_DECAY)
    return 0.5 * (1.0 + math.cos(math.pi * progress))
