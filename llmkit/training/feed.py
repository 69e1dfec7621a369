"""Batches, made in a thread of their own while the step before is computed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from llmkit.data.mapped import let_go
from llmkit.recipe.schema import TrainSettings
from llmkit.training.objectives.objective import Batch, Objective, Picks
from llmkit.training.parallel.world import ALONE, World
from llmkit.training.seeds import Purpose, generators

_PAGES_HELD = 16
"""Steps after which the pages of the text are given back: else all of it would count as memory in use in the end."""


class Feed:
    """The micro-batches of each step, a function of the seed and the step alone; one step ahead is enough.

    On several processes each makes its part of every micro-batch: together they see what one would see.
    """

    def __init__(self, objective: Objective, settings: TrainSettings, world: World = ALONE) -> None:
        self.objective, self.settings, self.world = objective, settings, world
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._next: tuple[int, Future[list[Batch]]] | None = None

    def picks(self, step: int) -> list[Picks]:
        """The examples of one step, by micro-batch."""
        s = self.settings
        first = step * s.accumulate * s.batch_size
        wholes = [self.objective.picks(first + m * s.batch_size, s.batch_size) for m in range(s.accumulate)]
        return [whole.part(*self.world.share(len(whole.index))) for whole in wholes]

    def make(self, step: int) -> list[Batch]:
        """The batches of a step, made here and now."""
        if step % _PAGES_HELD == 0:
            let_go()
        seed = self.settings.seed
        return [self.objective.collate(p, generators(seed, Purpose.CORRUPTION, p.draw)) for p in self.picks(step)]

    def take(self, step: int) -> list[Batch]:
        """The batches of a step; those of the next are begun."""
        ready = self._next[1].result() if self._next is not None and self._next[0] == step else self.make(step)
        if step + 1 < self.settings.steps:
            self._next = step + 1, self._worker.submit(self.make, step + 1)
        return ready

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)
