"""Where this process stands among those of one run, as torchrun tells it. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from llmkit.errors import UsageError
from llmkit.recipe.schema import Recipe


@dataclass(frozen=True)
class Place:
    """rank: number of this process among `size`; local_rank: among those of its machine.

    attempt: how often torchrun started the processes before. On several machines each counts for itself, so there it
    is 0, and torchrun is to be told to make all connections anew (docs/distributed.md).
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    attempt: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks, and owns the run's directory."""
        return self.rank == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """As RANK, WORLD_SIZE and LOCAL_RANK say; alone without them. UsageError when they cannot be right."""
        if "WORLD_SIZE" not in environment or "RANK" not in environment:
            return cls()
        try:
            rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
            local = int(environment.get("LOCAL_RANK", rank))
            is_one_machine = int(environment.get("LOCAL_WORLD_SIZE", -1)) == size
            attempt = int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)) if is_one_machine else 0
        except ValueError:
            rank = size = local = -1
            attempt = 0
        if not 0 <= rank < size or local < 0:
            raise UsageError(
                "RANK, WORLD_SIZE and LOCAL_RANK in the environment are not as torchrun sets them",
                "unset them, or start the processes with torchrun",
            )
        return cls(rank, size, local, attempt)


def refuse_uneven(recipe: Recipe, size: int) -> None:
    """Raise UsageError for a batch that cannot be divided evenly among `size` processes."""
    batch = recipe.train.batch_size
    if batch % size:
        below = batch // size * size
        near = f"{below} or {below + size}" if below else str(size)
        raise UsageError(
            f"train.batch_size is {batch}, which {size} processes cannot share evenly",
            f"set train.batch_size={near}; each process takes its part of every batch",
        )
