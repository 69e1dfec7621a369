"""Whether a run's checkpoints find room on the disk, asked before the first step. No torch here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmkit.checkpoint.files import free_bytes
from llmkit.checkpoint.store import space_needed
from llmkit.errors import StorageError
from llmkit.recipe.schema import TrainSettings
from llmkit.units import size

# What a checkpoint holds besides tensors: the tokenizer, the recipe, the manifest.
SMALL_FILES = 1 << 20


def refuse_full_disk(where: Path, checkpoint: int, train: TrainSettings, *, step: int = 0, kept: int = 0) -> None:
    """Raise StorageError when the checkpoints to come do not fit at `where`, which need not exist yet.

    checkpoint: bytes of the tensors of one; step: where the run goes on; kept: how many of its checkpoints are there.
    """
    place = next(p for p in (where.absolute(), *where.absolute().parents) if p.exists())
    try:
        free = free_bytes(place)
    except OSError as error:
        raise StorageError(f"{place}: {error.strerror}") from error
    count = max(1, most_at_once(train, step, kept) - kept)
    need = space_needed(checkpoint + SMALL_FILES, count)
    if need > free:
        how_many = "a checkpoint needs" if count == 1 else f"{count} checkpoints at a time need"
        keep = _fitting_keep(checkpoint, train, free, step, kept)
        fix = f"add --set train.keep={keep}" if keep else "free some space"
        raise StorageError(
            f"no room for what the run saves: {how_many} {size(need)} in {where}, {size(free)} are free",
            f"{fix}, or choose another --store",
        )


def _fitting_keep(checkpoint: int, train: TrainSettings, free: int, step: int, kept: int) -> int:
    """The most checkpoints that could be kept; 0 when not even one beside the one being written finds room."""
    for keep in range(train.keep - 1, 0, -1):
        count = max(1, most_at_once(replace(train, keep=keep), step, kept) - kept)
        if space_needed(checkpoint + SMALL_FILES, count) <= free:
            return keep
    return 0


def most_at_once(train: TrainSettings, step: int = 0, kept: int = 0) -> int:
    """Checkpoints that are on the disk together: those kept, and the one being written before an older one goes."""
    return min(train.keep + 1, kept + _saves_left(train, step))


def _saves_left(train: TrainSettings, step: int) -> int:
    last = train.steps - 1  # the save after the last step comes in any case
    return 1 + (max(0, last // train.save_every - step // train.save_every) if train.save_every else 0)
