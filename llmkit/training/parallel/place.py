"""Where this process stands among those of one run, as torchrun tells it. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from llmkit.data.text_in import is_read_once
from llmkit.errors import UsageError
from llmkit.recipe.schema import Recipe
from llmkit.training.schedule import first_long_step


@dataclass(frozen=True)
class Place:
    """rank: number of this process among `size`; local_rank: among the `local_size` of its machine.

    attempt: how often torchrun started the processes before. On several machines each counts for itself, so there it
    is 0, and torchrun is to be told to make all connections anew (docs/distributed.md).
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
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
            local_size = int(environment.get("LOCAL_WORLD_SIZE", local + 1))
            is_one_machine = int(environment.get("LOCAL_WORLD_SIZE", -1)) == size
            attempt = int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)) if is_one_machine else 0
        except ValueError:
            rank = size = local = local_size = -1
            attempt = 0
        if not 0 <= rank < size or not 0 <= local < local_size:
            raise UsageError(
                "RANK, WORLD_SIZE and LOCAL_RANK in the environment are not as torchrun sets them",
                "unset them, or start the processes with torchrun",
            )
        if size > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
            raise UsageError(
                f"WORLD_SIZE is {size}, and MASTER_ADDR and MASTER_PORT do not say where the processes meet",
                "start them with torchrun, or unset WORLD_SIZE to train in one process",
            )
        return cls(rank, size, local, local_size, attempt)


def refuse_to_spread(recipe: Recipe, size: int) -> None:
    """Raise UsageError for a recipe that `size` processes cannot share: text from stdin, an uneven batch, long
    examples that are fewer than they are, or gradients that cannot be added up."""
    if size == 1:
        return
    for key in ("train", "target", "validation", "validation_target"):
        given = getattr(recipe.data, key)
        for name in () if given is None else [given] if isinstance(given, str) else given:
            if is_read_once(name):
                what = "one stdin" if name == "-" else f"the pipe {name}"
                raise UsageError(f"data.{key}: {size} processes cannot read {what}", "write the text to a file")
    batch = recipe.train.batch_size
    if batch % size:
        below = batch // size * size
        near = f"{below} or {below + size}" if below else str(size)
        raise UsageError(
            f"train.batch_size is {batch}, which {size} processes cannot share evenly",
            f"set train.batch_size={near}; each process takes its part of every batch",
        )
    if recipe.train.parallel == "fsdp" and recipe.model is not None and recipe.model.fields.get("layer_drop"):
        # Each process drops blocks of its own; what is cut up has to have gradients on all or none.
        raise UsageError(
            "a model that drops layers (model.layer_drop) cannot be cut up (train.parallel: fsdp)",
            "set train.parallel=ddp, or model.layer_drop=0",
        )
    t, longest = recipe.train, recipe.model.fields.get("max_seq_len") if recipe.model else None
    if longest and longest > t.seq_len and first_long_step(t.steps, recipe.objective.long_share) < t.steps:
        later = max(1, batch * t.seq_len // longest)
        if later < size:
            raise UsageError(
                f"the last steps have {later} long examples each (objective.long_share), too few for {size} processes",
                f"set train.batch_size={-(-size * longest // t.seq_len // size) * size}, or objective.long_share=0",
            )
