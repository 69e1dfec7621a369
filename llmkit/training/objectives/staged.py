"""Short examples first, long ones for the last steps: what BERT does to afford its length (Devlin et al. 2018, A.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.objective import Batch, Loss, Measured, Objective, Picks, Plain


class Staged(Plain):
    """One objective up to global position `switch`, another of the same kind from there on.

    The loop goes on asking for `batch_size` examples; the later objective gives `later_batch_size` for them, so that a
    step holds as many tokens as before. Validation and samples are those of the later one all along: comparable over
    the run, and about the examples that the model is for.
    """

    def __init__(
        self, first: Objective, later: Objective, *, switch: int, batch_size: int, later_batch_size: int
    ) -> None:
        self.stages = (first, later)
        self.switch, self.batch_size, self.later_batch_size = switch, batch_size, later_batch_size
        self.n_examples = first.n_examples

    def picks(self, first: int, count: int) -> Picks:
        """See Objective; a batch lies on one side of the switch."""
        if first < self.switch:
            return self.stages[0].picks(first, count)
        assert count == self.batch_size, (count, self.batch_size)
        batch = (first - self.switch) // self.batch_size
        return replace(self.stages[1].picks(batch * self.later_batch_size, self.later_batch_size), stage=1)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        return [replace(picks, stage=1) for picks in self.stages[1].held_out()]

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> Batch:
        """See Objective."""
        return self.stages[picks.stage].collate(picks, rngs)

    def loss(self, model: Any, batch: Any) -> Loss:
        """See Objective; both objectives count alike."""
        return self.stages[0].loss(model, batch)

    def measure(self, model: Any, batch: Any) -> Measured:
        """See Objective."""
        return self.stages[1].measure(model, batch)

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """See Objective."""
        return self.stages[1].scores(means)

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """See Objective."""
        return self.stages[picks.stage].preview(picks, rngs)

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """See Objective."""
        return self.stages[1].sample(model, step)
