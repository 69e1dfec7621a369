"""Campaign C3: the power fails at every moment of a save and the prune after it, and the disk keeps what it likes of
what was not made durable.

The calls of one save are recorded; each trial replays them up to a random moment on a model of a disk. Data and names
that were not followed by an fsync are lost, kept, cut short or turned to zeros, each on its own. Whatever is left, a
run must find the old checkpoint or the new one, whole; once `save` has returned, the new one.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.victims import Report, Trials

OLD, NEW = 3, 6


@dataclass
class Node:
    """A file or directory as written, and of a file what is durable."""

    is_directory: bool
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass
class Recording:
    """What one save and prune did. saved: how many calls had been made when `save` returned."""

    calls: list[tuple[Any, ...]]
    saved: int


class PowerLoss(Trials):
    """Trials on recordings of RunDirectory.save; `mutate` may break the protocol first."""

    def __init__(self, directory: Path, seed: int, mutate: Any = lambda: None) -> None:
        self.directory, self.seed = directory, seed
        self.report = Report()
        self.duration, self.calls = 0.0, 0
        mutate()
        self.start = directory / "start"
        self.recording = record(self.start, directory / "live")
        self.calls = len(self.recording.calls)

    def trial(self, number: int) -> str | None:
        """One moment, one choice of what the disk kept."""
        from llmkit.checkpoint.store import RunDirectory

        rng = random.Random(f"power {self.seed} {number}")
        moment = number % (self.calls + 1)
        disk = Disk(self.start)
        for call in self.recording.calls[:moment]:
            disk.do(*call)
        after = self.directory / "after"
        shutil.rmtree(after, ignore_errors=True)
        disk.crash(rng, after)
        found = RunDirectory(after / "run").latest_valid(lambda broken, reason: None)
        wanted = {NEW} if moment >= self.recording.saved else {OLD, NEW}
        if found is None or found.step not in wanted:
            return f"after call {moment} of {self.calls} a run finds {found and found.step}"
        return None


class Disk:
    """Names and data with what of them is durable, after a start that all is."""

    def __init__(self, start: Path) -> None:
        self.nodes: dict[int, Node] = {}
        self.names: dict[str, int] = {}
        self.pending: list[tuple[tuple[str, ...], tuple[str, ...]]] = []  # (call, directories that must be synced)
        self.base: dict[str, int] = {}
        for path in sorted(start.rglob("*")):
            content = b"" if path.is_dir() else path.read_bytes()
            self._add(str(path.relative_to(start)), Node(path.is_dir(), bytearray(content), content))
        self.base = dict(self.names)

    def do(self, what: str, *of: Any) -> None:
        """One call: create, write, fsync, mkdir, rename, unlink or rmdir."""
        if what == "write":
            self.nodes[self.names[of[0]]].content += of[1]
        elif what == "fsync":
            self._sync(of[0])
        else:
            if what in ("create", "mkdir"):
                self._add(of[0], Node(what == "mkdir"))
            else:
                self.names = applied(self.names, what, *of)
            self.pending.append(((what, *of), tuple({os.path.dirname(path) for path in of})))

    def crash(self, rng: random.Random, to: Path) -> None:
        """Write to `to` what the disk might hold."""
        names = dict(self.base)
        for (what, *of), _ in self.pending:
            if rng.random() < 0.5:
                continue
            if what in ("create", "mkdir"):
                # A name whose directory is lost is lost with it.
                if os.path.dirname(of[0]) in names:
                    names[of[0]] = self.made[of[0]]
            else:
                names = applied(names, what, *of)
        to.mkdir()
        for name, number in sorted(names.items()):
            node = self.nodes[number]
            if node.is_directory:
                (to / name).mkdir(parents=True, exist_ok=True)
            elif (to / name).parent.is_dir():
                (to / name).write_bytes(survives(node, rng))

    @property
    def made(self) -> dict[str, int]:
        """Node of every name that was ever made, by the name it was made under."""
        return self._made

    def _add(self, name: str, node: Node) -> None:
        self._made = getattr(self, "_made", {})
        number = len(self.nodes)
        self.nodes[number], self.names[name], self._made[name] = node, number, number

    def _sync(self, name: str) -> None:
        node = self.nodes[self.names[name]]
        if not node.is_directory:
            node.durable = bytes(node.content)
            return
        left = []
        for call, directories in self.pending:
            (what, *of), rest = call, tuple(d for d in directories if d != name)
            if rest:
                left.append((call, rest))
            elif what in ("create", "mkdir"):
                self.base[of[0]] = self._made[of[0]]
            else:
                self.base = applied(self.base, what, *of)
        self.pending = left


def applied(names: dict[str, int], what: str, *of: str) -> dict[str, int]:
    """Names after a rename (of a directory with all in it), unlink or rmdir; the same if there is nothing to change."""
    if what == "rename":
        source, target = of
        if source not in names:
            return names
        moved = {n: n for n in names if n == source or n.startswith(source + "/")}
        return {(target + n[len(source) :] if n in moved else n): number for n, number in names.items()}
    return {n: number for n, number in names.items() if n != of[0] and not n.startswith(of[0] + "/")}


def survives(node: Node, rng: random.Random) -> bytes:
    """What a disk may hold of a file: all, what was durable, a part, or the length without the data."""
    if node.durable == node.content:
        return node.durable
    whole = bytes(node.content)
    cut = rng.randrange(len(node.durable), len(whole) + 1)
    return rng.choice([whole, node.durable, whole[:cut], whole[:cut] + bytes(len(whole) - cut)])


def record(start: Path, live: Path) -> Recording:
    """Save step OLD for good; keep that as `start`; record saving NEW and pruning OLD."""
    import torch

    from llmkit.checkpoint.store import RunDirectory
    from llmkit.checkpoint.tensors import write_tensors

    def write(directory: Path) -> None:
        write_tensors(directory / "model.safetensors", {"w": torch.arange(2000.0) + len(calls)})
        write_tensors(directory / "state.safetensors", {"m": torch.ones(50)})

    calls: list[tuple[Any, ...]] = []
    run = RunDirectory(live / "run")
    with run.lock():
        run.save(OLD, write, meta={})
        shutil.copytree(live, start)
        restore = watch(live, calls)
        try:
            run.save(NEW, write, meta={})
            saved = len(calls)
            run.prune(1)
        finally:
            restore()
    return Recording(calls, saved)


def watch(root: Path, calls: list[tuple[Any, ...]]) -> Any:
    """Note what this process does to files below `root`; returns a function that ends it."""
    real = {
        name: getattr(os, name) for name in ("open", "write", "fsync", "close", "mkdir", "rename", "unlink", "rmdir")
    }
    open_files: dict[int, str] = {}
    guard = threading.Lock()

    def name_of(path: Any, dir_fd: int | None = None) -> str | None:
        if dir_fd is not None:
            return f"{open_files[dir_fd]}/{path}" if dir_fd in open_files else None
        text = os.path.abspath(os.fspath(path))
        return os.path.relpath(text, root) if text.startswith(f"{root}{os.sep}") or text == str(root) else None

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = name_of(path, dir_fd)
        fd = int(real["open"](path, flags, mode, dir_fd=dir_fd))
        with guard:
            if name is not None:
                open_files[fd] = name
                if flags & os.O_CREAT:
                    calls.append(("create", name))
        return fd

    def written(fd: int, data: Any) -> int:
        count = int(real["write"](fd, data))
        with guard:
            if fd in open_files:
                calls.append(("write", open_files[fd], bytes(memoryview(data).cast("B")[:count])))
        return count

    def synced(fd: int) -> None:
        real["fsync"](fd)
        with guard:
            if fd in open_files:
                calls.append(("fsync", open_files[fd]))

    def closed(fd: int) -> None:
        open_files.pop(fd, None)
        real["close"](fd)

    def named(what: str) -> Any:
        def call(*paths: Any, **more: Any) -> None:
            names = [name_of(path, more.get("dir_fd")) for path in paths if not isinstance(path, int)]
            real[what](*paths, **more)
            with guard:
                if all(name is not None for name in names):
                    calls.append((what, *names))

        return call

    replaced = {"open": opened, "write": written, "fsync": synced, "close": closed}
    replaced |= {what: named(what) for what in ("mkdir", "rename", "unlink", "rmdir")}
    for name, function in replaced.items():
        setattr(os, name, function)

    def restore() -> None:
        for name, function in real.items():
            setattr(os, name, function)

    return restore


def no_fsync() -> None:
    """What most programs do: trust that what was written is there."""
    from llmkit.checkpoint import commit, store

    for module in (commit, store):
        for name in ("fsync_file", "fsync_directory"):
            if hasattr(module, name):
                setattr(module, name, lambda path: None)
