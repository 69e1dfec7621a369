"""manifest.json: the sha256 and size of every file of a checkpoint, and where the checkpoint comes from.

It is written last and protects itself (`digest` covers everything else in it), so a directory whose manifest verifies
is exactly what was saved: no file missing, none added, no bit changed. What it cannot do is prove who wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Collection, Container, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from llmkit import __version__
from llmkit.checkpoint.files import open_inside, read_small
from llmkit.checkpoint.state import VALUES
from llmkit.checkpoint.strict_json import parse_object
from llmkit.errors import InputRefused, LlmkitError, StorageError

NAME = "manifest.json"
SCHEMA = "llmkit/manifest/1"
_MAX_BYTES = 16 * 2**20
_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of a manifest.json. `step` is None for a directory that is no step of a run (an export)."""

    step: int | None
    parent: int | None
    files: Mapping[str, FileRecord]
    meta: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def n_bytes(self) -> int:
        """Bytes of all files, the manifest aside."""
        return sum(record.size for record in self.files.values())

    def to_bytes(self) -> bytes:
        """The text of the file: readable JSON whose `digest` covers the rest in canonical form."""
        body = {
            "schema": SCHEMA,
            "step": self.step,
            "parent": self.parent,
            "files": {name: {"size": r.size, "sha256": r.sha256} for name, r in sorted(self.files.items())},
            "meta": dict(self.meta),
            "versions": dict(self.versions),
        }
        return json.dumps({**body, "digest": _digest(body)}, indent=1, allow_nan=False).encode() + b"\n"

    def differs(self, other: Manifest) -> list[str]:
        """Names of the files that are not byte for byte the same in both."""
        names = sorted({*self.files, *other.files})
        return [name for name in names if self.files.get(name) != other.files.get(name)]


def describe(
    directory: Path,
    *,
    step: int | None,
    parent: int | None,
    meta: Mapping[str, Any],
    known: Mapping[str, FileRecord] | None = None,
) -> Manifest:
    """Measure every file in `directory` and return the manifest that describes it.

    known: what those who wrote some of the files have measured; these are not read again.
    """
    known = known or {}
    names = sorted(set(os.listdir(directory)) - {NAME} - known.keys())
    return Manifest(step, parent, {**known, **_hash_all(directory, names)}, meta, versions())


def measure(directory: Path, names: Collection[str]) -> dict[str, FileRecord]:
    """Size and sha256 of some files in `directory`."""
    return _hash_all(directory, sorted(names))


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of `directory` and check it in itself (not the files). FileNotFoundError if there is none."""
    where = str(directory / NAME)
    text = read_small(directory, NAME, _MAX_BYTES)
    body = parse_object(text, where, largest=2**63)
    if body.get("schema") != SCHEMA:
        raise InputRefused(f"{where}: not a manifest this version of llmkit knows ({str(body.get('schema'))[:60]!r})")
    digest = body.pop("digest", None)
    if digest != _digest(body):
        raise InputRefused(f"{where} is damaged: it does not match its own digest", _hint(directory))
    files = body.get("files")
    step, parent = body.get("step"), body.get("parent")
    meta, tools = body.get("meta"), body.get("versions")
    if not (
        isinstance(files, dict)
        and all(_is_record(name, entry) for name, entry in files.items())
        and all(n is None or (type(n) is int and n >= 0) for n in (step, parent))
        and isinstance(meta, dict)
        and isinstance(tools, dict)
    ):
        raise InputRefused(f"{where}: not a manifest as llmkit writes it")
    records = {name: FileRecord(entry["size"], entry["sha256"]) for name, entry in files.items()}
    manifest = Manifest(step, parent, records, meta, tools)
    if manifest.to_bytes() != text:
        raise InputRefused(f"{where} is damaged: it is not as llmkit writes it", _hint(directory))
    return manifest


def verify_manifest(directory: Path, step: int) -> Manifest:
    """Read the manifest of `directory`, which must be that of `step`: a renamed checkpoint is refused."""
    try:
        manifest = read_manifest(directory)
    except FileNotFoundError:
        raise InputRefused(f"checkpoint {directory} has no {NAME}", _hint(directory)) from None
    if manifest.step != step:
        raise InputRefused(f"checkpoint {directory} was saved as step {manifest.step}", _hint(directory))
    return manifest


def verify(
    directory: Path, manifest: Manifest | None = None, *, content: bool = True, skip: Container[str] = ()
) -> Manifest:
    """Check that `directory` holds exactly the files of its manifest, in size and, with `content`, in sha256.

    skip: files that are not hashed, because the caller does not read them.
    Raises InputRefused naming the first file that is missing, too many or different.
    """
    try:
        manifest = manifest or read_manifest(directory)
    except FileNotFoundError:
        raise InputRefused(f"checkpoint {directory} has no {NAME}", _hint(directory)) from None
    try:
        present = set(os.listdir(directory)) - {NAME}
    except OSError as error:  # also: deleted by the run that owns it while we look
        raise StorageError(f"checkpoint {directory}: {error.strerror}") from error
    for kind, names in (
        ("is missing", manifest.files.keys() - present),
        ("is not in", present - manifest.files.keys()),
    ):
        if names:
            what = f"file {min(names)!r} {kind}" + (" its manifest" if kind == "is not in" else "")
            raise InputRefused(f"checkpoint {directory} does not match its manifest: {what}", _hint(directory))
    for name, record in manifest.files.items():
        size = _size(directory, name)
        if size != record.size:
            raise _mismatch(directory, name, f"{record.size:,} bytes", f"{size:,}")
    if content:
        for name, found in _hash_all(directory, [name for name in manifest.files if name not in skip]).items():
            if found != manifest.files[name]:
                raise _mismatch(directory, name, f"sha256 {manifest.files[name].sha256[:12]}…", f"{found.sha256[:12]}…")
    return manifest


class Verification:
    """Verifies a directory in the background while it is read: hashing lets go of the interpreter lock, so on two
    cores the digests cost a model that is being loaded next to nothing.

    If reading fails, and the files turn out not to be what was saved, that is the error to report.
    """

    def __init__(self, directory: Path, *, skip: Container[str] = (), wanted: bool = True) -> None:
        """Without a manifest (a foreign directory), or unless `wanted`, there is nothing to verify; a directory with
        training state in it is ours, and has lost its manifest.
        """
        self._directory = directory
        self._skip = skip
        self._wanted = wanted and any(os.path.lexists(directory / name) for name in (NAME, VALUES))
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._result: Future[Manifest] | None = None

    def __enter__(self) -> Verification:
        if self._wanted:
            self._result = self._pool.submit(verify, self._directory, skip=self._skip)
        return self

    def finish(self) -> None:
        """Wait for the verdict; raises what `verify` raises."""
        if self._result is not None:
            self._result.result()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, LlmkitError):
                self.finish()
        finally:
            self._pool.shutdown()


def versions() -> dict[str, str]:
    """Versions of what wrote a checkpoint; torch is not imported for it."""
    torch = sys.modules.get("torch")
    found = {"llmkit": __version__, "python": platform.python_version()}
    with contextlib.suppress(metadata.PackageNotFoundError):
        found["torch"] = str(torch.__version__) if torch else metadata.version("torch")
    return found


def _digest(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _is_record(name: str, entry: Any) -> bool:
    return (
        bool(name)
        and name not in (".", "..", NAME)
        and "/" not in name
        and "\0" not in name
        and isinstance(entry, dict)
        and entry.keys() == {"size", "sha256"}
        and type(entry["size"]) is int
        and entry["size"] >= 0
        and isinstance(entry["sha256"], str)
        and _HEX.fullmatch(entry["sha256"]) is not None
    )


def _hint(directory: Path) -> str:
    if directory.name.startswith("step-"):
        return f"llmkit store verify {directory.parent.name} tells which steps are whole: use NAME@STEP of one"
    return "copy or download it again"


def _mismatch(directory: Path, name: str, want: str, have: str) -> InputRefused:
    return InputRefused(
        f"checkpoint {directory} does not match its manifest: {name}: want {want}, have {have}", _hint(directory)
    )


def _size(directory: Path, name: str) -> int:
    fd = _open(directory, name)
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _open(directory: Path, name: str) -> int:
    try:
        return open_inside(directory, name)
    except FileNotFoundError:
        raise InputRefused(
            f"checkpoint {directory} lost the file {name!r} while it was read", _hint(directory)
        ) from None


def _hash_all(directory: Path, names: list[str]) -> dict[str, FileRecord]:
    """Hash files side by side: hashlib lets go of the interpreter lock for large chunks."""
    with ThreadPoolExecutor(max_workers=min(4, max(1, len(names)))) as pool:
        return dict(zip(names, pool.map(lambda name: _hash(directory, name), names), strict=True))


def _hash(directory: Path, name: str) -> FileRecord:
    fd = _open(directory, name)
    try:
        digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(_CHUNK))
        with open(fd, "rb", buffering=0, closefd=False) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                size += count
        return FileRecord(size, digest.hexdigest())
    except OSError as error:
        raise StorageError(f"{directory / name}: {error.strerror}") from error
    finally:
        os.close(fd)
