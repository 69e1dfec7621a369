"""From what a user calls a model (NAME, NAME@STEP or a path) to the directory it lies in."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from llmkit.checkpoint.store import Checkpoint, RunDirectory, step_number
from llmkit.errors import InputRefused, LlmkitError, StorageError, UsageError
from llmkit.suggest import did_you_mean

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STEP = re.compile(r"[0-9]{1,12}")
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_ATTEMPTS = 10
T = TypeVar("T")


def default_store(option: Path | None = None) -> Path:
    """The store: the `--store` option, else $LLMKIT_STORE, else ./runs. UsageError if something else has its place."""
    place = option or Path(os.environ.get("LLMKIT_STORE") or "runs")
    if os.path.exists(place) and not os.path.isdir(place):
        raise UsageError(f"the store {place} is not a directory", "name one with --store DIR")
    return place


def check_name(name: str) -> str:
    """Return `name` if a run may be called so. A name is one path component that no shell or terminal can trip over."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} cannot be the name of a run",
            "use up to 128 letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    return name


def run_names(store: Path) -> list[str]:
    """Names in the store, sorted. Entries that could not be a NAME are passed over."""
    try:
        with os.scandir(store) as entries:
            return sorted(e.name for e in entries if _NAME.fullmatch(e.name) and _is_directory(e))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{store}: {error.strerror}") from error


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def resolve(ref: str, store: Path) -> Path:
    """The directory that `ref` means: a checkpoint, or a directory that holds a tokenizer.

    NAME is its newest step, or the directory NAME itself if it has no steps. A newest step whose files are not all
    there in the right size is refused (InputRefused), not silently passed over; what is in the files is checked when
    they are read. Whatever contains a separator is a path; so is a bare word
    that the store does not know but the current directory does. Raises UsageError with near names for an unknown one,
    StorageError for a path that is not there.
    """
    if os.sep in ref or ref.startswith(("~", ".")):
        return _resolve_path(os.path.expanduser(ref))
    name, at, step = ref.partition("@")
    if _NAME.fullmatch(name) and (store / name).is_dir():
        if at:
            return _resolve_step(store / name, step)
        return _resolve_directory(store / name)
    if os.path.lexists(ref):
        return _resolve_path(ref)
    names = run_names(store)
    hint = did_you_mean(name, names) or (
        "llmkit store ls shows what there is" if names else "the store is empty; train something, or give a path"
    )
    raise UsageError(f"no model or tokenizer {ref[:200]!r} in {store}", hint)


def read_found(find: Callable[[], Path], read: Callable[[Path], T]) -> T:
    """`read(find())`. A run that trains may prune the step meanwhile; then what is found by now is read instead."""
    for _ in range(_ATTEMPTS - 1):
        path = find()
        try:
            return read(path)
        except LlmkitError:
            if path.exists():
                raise
    return read(find())


def _resolve_path(ref: str) -> Path:
    shown = ref if ref.isprintable() else ascii(ref)
    try:
        path = Path(ref)
        path.stat()
    except OSError as error:
        raise StorageError(f"{shown[:300]}: {error.strerror}") from error
    except ValueError:  # a NUL
        raise UsageError(f"{shown[:300]} cannot be a path") from None
    if not path.is_dir():
        has_model = (path.parent / CONFIG).is_file() or (path.parent / TOKENIZER).is_file()
        hint = f"give its directory: {path.parent}" if has_model else f"a model directory has {CONFIG} in it"
        raise InputRefused(f"{shown} is a file; a model is a directory", hint)
    return _resolve_directory(path)


def _resolve_step(run: Path, step: str) -> Path:
    found = RunDirectory(run).checkpoints()
    if _STEP.fullmatch(step):
        for checkpoint in found:
            if checkpoint.step == int(step):
                return checkpoint.path
    steps = [str(c.step) for c in found]
    newest = ", ".join(steps[-5:]) or "none"
    raise UsageError(f"{run} has no step {step[:40]!r}", did_you_mean(step, steps) or f"its newest steps: {newest}")


def _resolve_directory(path: Path) -> Path:
    steps = RunDirectory(path).checkpoints()
    if steps:
        try:
            steps[-1].verify(content=False)
        except LlmkitError as error:
            if not steps[-1].path.exists():  # pruned since we looked, so there is a newer one by now
                return _resolve_directory(path)
            older = _newest_whole(steps[:-1])
            hint = f"step {older.step} is whole: {path.name}@{older.step}" if older else "no step of this run is whole"
            raise InputRefused(error.message, hint) from error
        return steps[-1].path
    if (path / CONFIG).is_file() or (path / TOKENIZER).is_file():
        return path
    raise InputRefused(f"{path} holds neither a model nor a tokenizer", f"a model directory has {CONFIG} in it")


def _newest_whole(steps: list[Checkpoint]) -> Checkpoint | None:
    for checkpoint in reversed(steps):
        with contextlib.suppress(LlmkitError):
            checkpoint.verify(content=False)
            return checkpoint
    return None


def newest(store: Path, accepts: Callable[[Path, dict[str, Any]], bool]) -> Path | None:
    """The checkpoint written last in `store` for which `accepts(directory, config)` is true; None if there is none.

    Only config.json and manifests are read. What cannot be read is passed over.
    """
    from llmkit.checkpoint.config_json import read_config

    for path in _newest_first(store, CONFIG):
        try:
            if accepts(path, read_config(path)):
                return path
        except LlmkitError:
            continue
    return None


def newest_tokenizer(store: Path) -> Path | None:
    """The directory in `store` whose tokenizer.json was written last, or None."""
    return next(_newest_first(store, TOKENIZER), None)


def _newest_first(store: Path, file: str) -> Iterator[Path]:
    """Of each name the directory that holds `file`: its newest whole step, else itself; youngest file first."""
    found = []
    for name in run_names(store):
        try:
            whole = _newest_whole(RunDirectory(store / name).checkpoints())
            path = whole.path if whole else store / name
            found.append(((path / file).stat().st_mtime_ns, path))
        except (LlmkitError, OSError):
            continue
    return (path for _, path in sorted(found, reverse=True))


def reference(path: Path, store: Path) -> str:
    """What a user would type for `path`: NAME or NAME@STEP inside the store, else the path."""
    try:
        parts = path.relative_to(store).parts
    except ValueError:
        return str(path)
    if len(parts) == 2 and (step := step_number(parts[1])) is not None:
        return f"{parts[0]}@{step}"
    return parts[0] if len(parts) == 1 else str(path)
