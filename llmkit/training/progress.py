"""Where a run stands: what a checkpoint remembers, how fast it goes, what is due. No torch here."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

# Losses kept for the mean of the log and for telling a spike from noise.
MEMORY = 64
# Nats above the median below which a loss is no spike: single batches of a task almost learned differ by as much.
SMALLEST_SPIKE = 0.5


@dataclass
class Progress:
    """All that a resumed run needs besides weights and optimizer state: plain values, exact in JSON.

    step: optimizer steps done. evaluated: step of the last validation. best: its best score so far and where.
    recent: the parts of the last losses of this stage, oldest first. tokens: seen so far. skipped: steps left out for
    numbers that are not finite.
    """

    step: int = 0
    evaluated: int = 0
    sampled: int = 0
    best_score: float | None = None
    best_step: int = 0
    tokens: int = 0
    stage: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    recent: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=MEMORY))
    scores: dict[str, float] = field(default_factory=dict)

    def to_values(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "recent": list(self.recent), "scores": dict(self.scores)}

    def remember(self, parts: dict[str, float]) -> str | None:
        """Note the parts of a step's loss; a warning if it is a spike beside the recent ones."""
        loss, spike = sum(parts.values()), None
        if len(self.recent) == MEMORY:
            losses = [sum(earlier.values()) for earlier in self.recent]
            middle = statistics.median(losses)
            spread = statistics.median(abs(x - middle) for x in losses)
            if loss > middle + max(6 * spread, 0.1 * abs(middle), SMALLEST_SPIKE):
                spike = f"loss spike: {loss:.4g}, the recent median is {middle:.4g}"
        self.recent.append(parts)
        return spike

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Progress:
        """The inverse of `to_values`."""
        return cls(**{**values, "recent": deque(values["recent"], maxlen=MEMORY)})


class Window:
    """Time and counts between two lines of the log, validation and saving not counted."""

    def __init__(self) -> None:
        self.examples = 0
        self.total = 0.0
        self.restart(0)

    def restart(self, tokens: int) -> None:
        """Begin at a total of `tokens`."""
        self.began, self.paused, self.tokens, self.examples = time.perf_counter(), 0.0, tokens, 0

    def lap(self, tokens: int) -> tuple[float, int, int]:
        """Seconds, tokens and examples since the last lap."""
        seconds = max(1e-9, time.perf_counter() - self.began - self.paused)
        self.total += seconds
        counts = tokens - self.tokens, self.examples
        self.restart(tokens)
        return seconds, *counts

    def pause(self) -> _Pause:
        """While this is held, time does not count."""
        return _Pause(self)


class _Pause:
    def __init__(self, window: Window) -> None:
        self.window = window

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.window.paused += time.perf_counter() - self.began


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether something that happens every `every` steps (0: only at the end) happens after step `step`."""
    return step >= steps or (every > 0 and step % every == 0)
