"""When a checkpoint of a run can not be written: go on without it for a while, or give up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import StorageError
from llmkit.training.events import Listener, Saved, Warned
from llmkit.training.progress import Progress

# A full disk may be emptied while the run goes on; after this many failed saves in a row it is given up.
MOST_FAILED_SAVES = 3


@dataclass(frozen=True)
class Commit:
    """What a save left on disk: its directory and its size in bytes."""

    path: Path
    size: int


class Saver:
    """Saves through `write` (none: nothing is saved) and tells listeners.

    saved_step: the step of the newest checkpoint, -1 for none. is_first: whether this process is the one that tells
    the user; of several processes all save together and fail together.
    """

    def __init__(
        self, write: Callable[[Progress], Commit] | None, emit: Listener, *, saved_step: int, is_first: bool
    ) -> None:
        self.write, self.emit, self.saved_step, self.is_first = write, emit, saved_step, is_first
        self.failed_in_a_row = 0

    def save(self, progress: Progress, *, last: bool) -> None:
        """Write a checkpoint. last: no later one could make up for it.

        Raises StorageError when the disk does not take it and it is the last, or the third in a row.
        """
        if self.write is None:
            return
        began, step = time.perf_counter(), progress.step
        try:
            commit = self.write(progress)
        except (StorageError, OSError) as error:
            self.failed_in_a_row += 1
            reason = error.message if isinstance(error, StorageError) else (error.strerror or str(error))
            if last or self.failed_in_a_row >= MOST_FAILED_SAVES:
                given_up = StorageError(
                    f"checkpoint at step {step} cannot be written: {reason}",
                    f"make room, then run the same command: {self._afterwards()}",
                )
                given_up.is_told = not self.is_first
                raise given_up from error
            self.emit(Warned(step, f"checkpoint not written, the run goes on: {reason}"))
            return
        self.failed_in_a_row, self.saved_step = 0, step
        self.emit(Saved(step, str(commit.path), commit.size, time.perf_counter() - began))

    def _afterwards(self) -> str:
        """What the same command does after this session ends without a further checkpoint."""
        if self.saved_step > 0:
            return f"it goes on from step {self.saved_step}"
        return "nothing was saved yet, so it starts anew"
