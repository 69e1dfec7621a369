"""A run's directory: numbered checkpoints, of which each is either whole and verified or does not exist.

    runs/NAME/run.lock            held by the one process that trains
    runs/NAME/step-000500/        a checkpoint: Hugging Face layout + manifest.json + training state
    runs/NAME/.tmp-*  .trash-*    being written, being deleted; no reader looks at them

There is no pointer to the latest checkpoint: a pointer can be wrong. The newest one that verifies is found by looking.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmkit.checkpoint import lock, manifest
from llmkit.checkpoint.commit import Staged, Write, remove_left_overs, temporary_name
from llmkit.checkpoint.files import free_bytes, fsync_directory, make_directories, remove_tree
from llmkit.checkpoint.manifest import Manifest
from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.units import size

_STEP = re.compile(r"step-\d{6,12}")


@dataclass(frozen=True)
class Checkpoint:
    """One step of a run. Nothing is read until `manifest` or `verify` asks for it."""

    path: Path
    step: int

    @cached_property
    def manifest(self) -> Manifest:
        """Its manifest, checked in itself. InputRefused if it is damaged or missing."""
        return manifest.verify_manifest(self.path, self.step)

    def verify(self, *, content: bool = True) -> None:
        """Check every file; InputRefused with path and reason. Without `content` only names and sizes."""
        manifest.verify(self.path, manifest.verify_manifest(self.path, self.step), content=content)


def step_name(step: int) -> str:
    """The directory name of a step: six digits or more, so that names sort as numbers do."""
    return f"step-{step:06d}"


def step_number(name: str) -> int | None:
    """The step a directory of this name holds; None if it is none. step-0000500 would be a second name of step 500."""
    step = int(name.removeprefix("step-")) if _STEP.fullmatch(name) else None
    return step if step is not None and step_name(step) == name else None


class RunDirectory:
    """The checkpoints of one run. Reading needs nothing; `save` and `prune` need the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locked = False
        self._verified: set[int] = set()  # steps this process wrote or checked, and need not hash again

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Own the directory (created if missing); RunInUse if another process does. Clears what dead ones left.

        A directory in which nothing was put goes again.
        """
        try:
            make_directories(self.path)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}", "check that the store is yours to write") from error
        with lock.hold(self.path):
            self._locked = True
            try:
                remove_left_overs(self.path)
                yield
            finally:
                self._locked = False
                self.remove_if_empty()

    @property
    def is_locked(self) -> bool:
        """Whether this process owns the directory."""
        return self._locked

    def remove_if_empty(self) -> None:
        """Take the directory away if there is nothing in it but the lock, which the caller holds."""
        with contextlib.suppress(OSError):
            if os.listdir(self.path) == [lock.NAME]:
                (self.path / lock.NAME).unlink()
                self.path.rmdir()

    def save(
        self, step: int, write: Write, *, meta: Mapping[str, Any], predicted_bytes: int | None = None
    ) -> Checkpoint:
        """Commit a checkpoint: `write(directory)` puts its files into a fresh directory, which appears only when whole.

        An existing step is never replaced: saving the same bytes again returns it, other bytes are refused
        (InputRefused). An existing directory that does not verify is no step, and makes way. With `predicted_bytes`,
        space is checked before anything is written. Raises StorageError when the disk does not play along; the
        checkpoints before are untouched then, and training may go on.
        """
        assert self._locked, "saving needs the run's lock"
        final = self.path / step_name(step)
        if predicted_bytes is not None:
            self._check_space(predicted_bytes)
        parent = max((c.step for c in self.checkpoints() if c.step < step), default=None)
        staged = Staged(final, write, step=step, parent=parent, meta=meta)
        checkpoint = Checkpoint(final, step)
        try:
            if not (os.path.lexists(final) and self._is_kept(checkpoint, staged)):
                staged.publish()
        finally:
            staged.drop()
        self._verified.add(step)
        return checkpoint

    def _is_kept(self, existing: Checkpoint, staged: Staged) -> bool:
        """Whether the existing step stays and the staged one is dropped. An invalid one is cleared away."""
        try:
            existing.verify()
        except InputRefused:
            self._discard([existing.path])
            return False
        if changed := existing.manifest.differs(staged.manifest):
            raise InputRefused(
                f"checkpoint {existing.path} exists with other content ({', '.join(changed[:3])}); not overwritten",
                "choose another --run, or delete the newer steps",
            )
        return True

    def checkpoints(self) -> list[Checkpoint]:
        """All steps that have a manifest, oldest first. Whether they verify is not checked."""
        return [c for c in self.steps() if (c.path / manifest.NAME).is_file()]

    def latest_valid(self, on_fallback: Callable[[Checkpoint, str], None]) -> Checkpoint | None:
        """The newest checkpoint that verifies in full; each newer one that does not is reported with the reason."""
        for checkpoint in reversed(self.steps()):
            try:
                checkpoint.verify()
            except (InputRefused, StorageError) as error:
                on_fallback(checkpoint, error.message)
            else:
                self._verified.add(checkpoint.step)
                return checkpoint
        return None

    def prune(self, keep: int) -> list[Checkpoint]:
        """Delete all but the newest `keep` (at least 1) checkpoints, counted from the newest that verifies.

        Newer ones that do not verify stay for the user to look at. Returns what was deleted, oldest first.
        """
        assert self._locked, "pruning needs the run's lock"
        doomed = self.to_prune(keep)
        self._discard([c.path for c in doomed])
        return doomed

    def to_prune(self, keep: int) -> list[Checkpoint]:
        """What `prune` would delete."""
        if keep < 1:
            raise UsageError(f"cannot keep {keep} checkpoints", "keep at least 1")
        newest_first = self.checkpoints()[::-1]
        valid = next((i for i, c in enumerate(newest_first) if self._is_valid(c)), None)
        return [] if valid is None else newest_first[valid + keep :][::-1]

    def _is_valid(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.step not in self._verified:
            try:
                checkpoint.verify()
            except (InputRefused, StorageError):
                return False
            self._verified.add(checkpoint.step)
        return True

    def _discard(self, paths: list[Path]) -> None:
        """Rename first: a reader, or a run that dies here, never meets a half-deleted checkpoint under its name."""
        if not paths:
            return
        trash = [temporary_name(path, "trash") for path in paths]
        try:
            for path, aside in zip(paths, trash, strict=True):
                os.rename(path, aside)
            fsync_directory(self.path)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot delete checkpoints: {error.strerror}") from error
        for aside in trash:
            remove_tree(aside)

    def steps(self) -> list[Checkpoint]:
        """All directories named like a step, oldest first, also those without a manifest."""
        try:
            with os.scandir(self.path) as entries:
                found = [step_number(e.name) for e in entries if e.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error
        return [Checkpoint(self.path / step_name(step), step) for step in sorted(s for s in found if s is not None)]

    def _check_space(self, predicted_bytes: int) -> None:
        try:
            free = free_bytes(self.path)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error
        need = space_needed(predicted_bytes)
        if free < need:
            raise StorageError(
                f"no room for a checkpoint in {self.path}: {size(need)} needed, {size(free)} free",
                "free some space, keep fewer checkpoints (train.keep), or choose another --store",
            )


def space_needed(checkpoint_bytes: int, count: int = 1) -> int:
    """Bytes to be free for `count` checkpoints, with a fifth of one more for what cannot be foreseen."""
    return count * checkpoint_bytes + checkpoint_bytes // 5
