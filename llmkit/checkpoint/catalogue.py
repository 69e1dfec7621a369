"""What a store holds, as plain data: for `store ls`, `store show` and `store verify`. Only small files are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.checkpoint import manifest
from llmkit.checkpoint.config_json import read_config
from llmkit.checkpoint.manifest import Manifest
from llmkit.checkpoint.refs import CONFIG, TOKENIZER, reference, resolve, run_names
from llmkit.checkpoint.store import Checkpoint, RunDirectory, step_number
from llmkit.errors import InputRefused, LlmkitError, StorageError, UsageError
from llmkit.suggest import did_you_mean


@dataclass(frozen=True)
class Entry:
    """One line of a listing.

    kind: run, step, model or tokenizer; n_bytes: of everything below the directory; written: seconds since 1970, of
    the newest checkpoint; problem: why it cannot be used, or "".
    """

    ref: str
    kind: str
    family: str
    n_steps: int
    n_bytes: int
    written: float
    path: Path
    problem: str = ""


@dataclass(frozen=True)
class File:
    """A file of a checkpoint; sha256 as its manifest states it, if there is one."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Details:
    """One checkpoint: facts in words, by title, and its files."""

    ref: str
    path: Path
    config: Mapping[str, Any]
    manifest: Manifest | None
    files: tuple[File, ...]

    @property
    def facts(self) -> dict[str, str]:
        found = {"ref": self.ref, "path": str(self.path), "model": _family(self.config)}
        if self.manifest is None:
            return found | {"manifest": "none; nothing to verify it by"}
        m = self.manifest
        facts = {"step": m.step, "parent step": m.parent}
        found |= {title: str(value) for title, value in facts.items() if value is not None}
        found |= {f"written by {tool}": str(version) for tool, version in m.versions.items()}
        return found | {key: str(value) for key, value in _flat(m.meta)}

    def as_dict(self) -> dict[str, Any]:
        m = self.manifest
        return {
            "ref": self.ref,
            "path": str(self.path),
            "family": _family(self.config) or None,
            "step": m.step if m else None,
            "parent": m.parent if m else None,
            "meta": dict(m.meta) if m else None,
            "versions": dict(m.versions) if m else None,
            "files": [vars(f) for f in self.files],
        }


@dataclass(frozen=True)
class Verdict:
    """Whether a checkpoint verifies. What has no manifest cannot fail, nor pass."""

    ref: str
    has_manifest: bool
    reason: str

    @property
    def ok(self) -> bool:
        return not self.reason


def entries(store: Path) -> list[Entry]:
    """Every run, model and tokenizer in the store, by name."""
    return [entry for name in run_names(store) if (entry := _entry(store, name)) is not None]


def steps_of(store: Path, name: str) -> list[Entry]:
    """Every step of a run, oldest first."""
    return [_step(c, store) for c in run_of(store, name).checkpoints()]


def run_of(store: Path, name: str) -> RunDirectory:
    """The run called `name`, which must be there. UsageError with near names if it is not."""
    names = run_names(store)
    if name not in names:
        raise UsageError(f"no run {name[:200]!r} in {store}", did_you_mean(name, names) or "llmkit store ls lists them")
    return RunDirectory(store / name)


def details(path: Path, store: Path) -> Details:
    """Read what there is to know about the checkpoint in `path`, but for the weights."""
    try:
        found: Manifest | None = manifest.read_manifest(path)
    except FileNotFoundError:
        found = None
    config = read_config(path) if (path / CONFIG).is_file() else {}
    if found is not None:
        files = [File(name, record.size, record.sha256) for name, record in found.files.items()]
    else:
        files = [File(name, size, None) for name, size in _sizes(path)]
    return Details(reference(path, store), path, config, found, tuple(files))


def to_verify(refs: Iterable[str] | None, store: Path) -> list[Path]:
    """What references mean to `verify`: a run is all its steps, nothing is everything that has a manifest."""
    found: list[Path] = []
    for ref in refs or run_names(store):
        steps = RunDirectory(store / ref).steps() if ref in run_names(store) else []
        if steps:
            found += [c.path for c in steps]
        elif refs:
            found.append(resolve(ref, store))
        elif (store / ref / manifest.NAME).is_file():
            found.append(store / ref)
    return found


def verdict(path: Path, store: Path) -> Verdict:
    """Read every byte of a checkpoint and compare it with its manifest."""
    step = step_number(path.name)
    has_manifest = (path / manifest.NAME).is_file()
    try:
        if step is not None:
            Checkpoint(path, step).verify()
        elif has_manifest:
            manifest.verify(path)
    except (InputRefused, StorageError) as error:
        return Verdict(reference(path, store), has_manifest, error.message)
    return Verdict(reference(path, store), has_manifest, "")


def _entry(store: Path, name: str) -> Entry | None:
    path = store / name
    run = RunDirectory(path)
    steps = run.checkpoints()
    if steps:
        newest = _step(steps[-1], store)
        n_bytes = sum(_step_bytes(c) for c in steps)
        return Entry(name, "run", newest.family, len(steps), n_bytes, newest.written, path, newest.problem)
    for kind, file in (("model", CONFIG), ("tokenizer", TOKENIZER)):
        if (path / file).is_file():
            family, problem = _described(path) if kind == "model" else ("", "")
            n_bytes = sum(size for _, size in _sizes(path))
            return Entry(name, kind, family, 0, n_bytes, (path / file).stat().st_mtime, path, problem)
    return None


def _step(checkpoint: Checkpoint, store: Path) -> Entry:
    path = checkpoint.path
    family, problem = _described(path)
    try:
        checkpoint.verify(content=False)
    except LlmkitError as error:
        problem = error.message.removeprefix(f"checkpoint {path} ")
    try:
        written = (path / manifest.NAME).stat().st_mtime
    except OSError:
        written = 0.0
    return Entry(reference(path, store), "step", family, 1, _step_bytes(checkpoint), written, path, problem)


def _step_bytes(checkpoint: Checkpoint) -> int:
    return sum(size for _, size in _sizes(checkpoint.path))


def _described(path: Path) -> tuple[str, str]:
    try:
        return _family(read_config(path)), ""
    except LlmkitError as error:
        return "", error.message


def _family(config: Mapping[str, Any]) -> str:
    return str(config.get("model_type") or "")


def _sizes(path: Path) -> list[tuple[str, int]]:
    try:
        with os.scandir(path) as found:
            return sorted((e.name, e.stat().st_size) for e in found if e.is_file())
    except OSError:
        return []


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found
