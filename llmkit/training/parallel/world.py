"""The processes of one run and the few things they tell each other besides gradients."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from llmkit import errors
from llmkit.errors import LlmkitError, StorageError
from llmkit.training.parallel.place import Place

T = TypeVar("T")
# How long processes wait for one that says nothing while they train; one that is gone is noticed at once.
PATIENCE = timedelta(minutes=30)
# Seconds between two looks at who has come, at most.
_LOOK = 0.2


class World:
    """One process alone: whatever is asked of all is asked of it."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()
        self.rank, self.size, self.is_first = self.place.rank, self.place.size, self.place.is_first

    def share(self, n: int) -> tuple[int, int]:
        """Start and end of this process's part of `n` things in a row."""
        return n * self.rank // self.size, n * (self.rank + 1) // self.size

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """The numbers (as many on each) of every process, by rank."""
        return [list(numbers)]

    def sums(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over all processes, in the order of their ranks."""
        return [sum(column) for column in zip(*self.gather(numbers), strict=True)]

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes name."""
        return int(max(row[0] for row in self.gather([number])))

    def add(self, tensor: Tensor) -> Tensor:
        """A CPU tensor added up over all processes; may be changed in place."""
        return tensor

    def exchange(self, value: Any) -> list[Any]:
        """The JSON value of every process, by rank."""
        return [value]

    def tell(self, value: T) -> T:
        """The JSON value of the first process, on all."""
        return value

    @contextlib.contextmanager
    def together(self, *, patient: bool = False) -> Iterator[None]:
        """What fails here on one process fails on all of them, at the end of the block: none waits for another.

        patient: wait for the slowest however long it takes. Only where a signal ends a process at once: that one of
        them is gone is noticed by torchrun alone, which ends the others.
        """
        yield

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Inside, a lost connection is an error with a name."""
        yield

    def first(self, work: Callable[[], T], *, patient: bool = False) -> T | None:
        """`work` on the first process while the others wait; None there. It fails for all or for none."""
        with self.together(patient=patient):
            return work() if self.is_first else None
        return None

    def leave(self) -> None:
        """End the connection."""


class Group(World):
    """Several processes, connected by torch.distributed."""

    def __init__(self, place: Place, device: torch.device) -> None:
        """Join the others, for whom it waits. Numbers and texts travel by gloo, tensors on GPUs by nccl."""
        super().__init__(place)
        import torch.distributed as dist

        self._dist = dist
        with self.guard("could not reach the others"):
            store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
            # torchrun keeps one store for all its attempts: addresses that dead processes left there would be tried.
            self._store = dist.PrefixStore(f"attempt {place.attempt}", store)
            self._meetings = 0
            more = {"store": self._store, "rank": rank, "world_size": size, "timeout": PATIENCE}
            if device.type == "cuda":
                dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device, **more)
            else:
                dist.init_process_group("gloo", **more)

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """See World."""
        mine = torch.tensor(list(numbers), dtype=torch.float64)
        rows = torch.empty(self.size * len(mine), dtype=torch.float64)
        with self.guard():
            gather_rows(rows, mine)
        found: list[list[float]] = rows.view(self.size, -1).tolist()
        return found

    def add(self, tensor: Tensor) -> Tensor:
        """See World."""
        with self.guard():
            self._dist.all_reduce(tensor)
        return tensor

    def exchange(self, value: Any) -> list[Any]:
        """See World."""
        text = json.dumps(value).encode()
        lengths = [int(row[0]) for row in self.gather([len(text)])]
        longest = max(lengths)
        mine = torch.zeros(longest, dtype=torch.uint8)
        mine[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        rows = torch.empty(self.size * longest, dtype=torch.uint8)
        with self.guard():
            gather_rows(rows, mine)
        texts = rows.view(self.size, longest).numpy()
        return [json.loads(texts[rank, :n].tobytes()) for rank, n in enumerate(lengths)]

    def tell(self, value: T) -> T:
        """See World."""
        told: T = self.exchange(value if self.is_first else None)[0]
        return told

    @contextlib.contextmanager
    def together(self, *, patient: bool = False) -> Iterator[None]:
        """See World. Only errors of use, input and output are shared; a bug ends its process, and so the run."""
        found: LlmkitError | None = None
        try:
            yield
        except LlmkitError as error:
            if isinstance(error, PeerLost):
                raise
            found = error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            found = StorageError(f"{where}{error.strerror or error}")
            found.__cause__ = error
        if patient:
            self._meet()
        mine = None if found is None else [type(found).__name__, found.message, found.hint]
        told = self.exchange(mine)
        if found is not None and self.is_first:
            raise found  # as it is, with its cause
        for rank, theirs in enumerate(told):
            if theirs is not None:
                name, message, hint = theirs
                kind: type[LlmkitError] = getattr(errors, name, LlmkitError)
                echo = kind(message if rank == 0 else f"process {rank}: {message}", hint)
                echo.is_told = not self.is_first
                raise echo

    def _meet(self) -> None:
        """Wait until all have come here, however long that takes: an exchange waits for PATIENCE only."""
        self._meetings += 1
        names = [f"meeting {self._meetings} process {rank}" for rank in range(self.size)]
        with self.guard():
            self._store.set(names[self.rank], "")
            pause = 0.001
            while not self._store.check(names):
                time.sleep(pause)
                pause = min(2 * pause, _LOOK)

    @contextlib.contextmanager
    def guard(self, what: str = "lost contact with another one") -> Iterator[None]:
        """See World. what: has happened to this process, when there is such an error."""
        try:
            yield
        except RuntimeError as error:  # gloo's own errors are nothing else; nccl's are a child of it
            text = str(error)
            if isinstance(error, self._dist.DistError) or any(sign in text for sign in _LOST):
                cause = (text.strip().splitlines() or [type(error).__name__])[0][:200]
                raise PeerLost(
                    f"process {self.rank} of {self.size} {what} ({cause})",
                    "the same command goes on from the newest checkpoint",
                ) from error
            raise

    def leave(self) -> None:
        """See World."""
        if self._dist.is_initialized():
            self._dist.destroy_process_group()


def gather_rows(rows: Tensor, mine: Tensor) -> None:
    """Fill `rows` with the `mine` of every process, one after the other."""
    import torch.distributed as dist

    # Renamed in torch 2.13.
    getattr(dist, "all_gather_single", dist.all_gather_into_tensor)(rows, mine)


_LOST = ("gloo/", "Connection closed", "Connection reset", "Broken pipe", "Timed out", "NCCL", "Socket")


class PeerLost(LlmkitError):
    """Another process of the run is gone; this one cannot go on without it."""


ALONE = World()


def join(place: Place, device: torch.device) -> World:
    """The world of this process: connected to the others if there are any."""
    return Group(place, device) if place.size > 1 else World(place)
