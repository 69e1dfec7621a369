"""Campaign C2: the n-th call to the operating system on the store fails, for every n in a run.

Whatever fails, the run either goes on or ends with a code of the contract; the checkpoints there are all verify; and
the same command then ends with the very bits of an undisturbed run.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from tests.campaign.recipes import STEPS
from tests.campaign.victims import CALLS, Fate, Victims, _first_difference, remains, said

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT)
# Going on, input refused, storage: anything else would be a bug or a lie.
ALLOWED = (0, 4, 74)
EVERY_CALL = (*CALLS, "fstat", "listdir", "scandir", "pread", "replace")


# Coprime to most counts: few trials are spread over the whole run, and as many as there are calls meet each of them.
STRIDE = 617


class Faults(Victims):
    """One failing call a trial; the kind of error goes round. A write may also stop half way."""

    def trial(self, number: int) -> str | None:
        store = self.fresh(f"trial-{number}")
        if not self.in_run:
            self.in_run = self.count(self.fresh("counted"))
        at, error, half = number * STRIDE % self.in_run, ERRORS[number % 4], number % 8 >= 4
        mutate, self.mutate = self.mutate, lambda: fail_at(store, at, error, half=half)
        try:
            code = self.start(store, Fate())
        finally:
            self.mutate = mutate
        what = f"call {at} failing with {errno.errorcode[error]}"
        if code not in ALLOWED:
            return f"{what} ended the run with {code}: {said(store)}"
        problem = unverified(store)
        if problem:
            return f"{what} left {problem}"
        again = self.start(store, Fate())
        if again != 0:
            return f"after {what} the same command ended with {again}: {said(store)}"
        # A save that failed and was made up for by a later one leaves other steps behind; the last one must be there.
        want, have = last_of(self.reference), last_of(remains(store))
        if have != want:
            return f"after {what}: {_first_difference(want, have)}"
        shutil.rmtree(store)
        return None

    in_run = 0

    def count(self, store: Path) -> int:
        """Calls that an undisturbed run makes."""
        self.mutate = lambda: note_count(store, fail_at(store, -1, 0, half=False))
        self.start(store, Fate())
        self.mutate = lambda: None
        return int((store / "in-run").read_text())


def last_of(found: dict[str, Any]) -> dict[str, Any]:
    """What the last step left, every loss, and what should not be there."""
    last = f"step-{STEPS:06d}/"
    digests = {name: digest for name, digest in found["digests"].items() if name.startswith(last)}
    return {**digests, "losses": found["losses"], "left over": found["left over"]}


def unverified(store: Path) -> str | None:
    """The first checkpoint that looks whole and is not."""
    from llmkit.checkpoint.store import RunDirectory
    from llmkit.errors import LlmkitError

    for checkpoint in RunDirectory(store / "victim").checkpoints():
        try:
            checkpoint.verify()
        except LlmkitError as error:
            return error.message
    return None


def note_count(store: Path, count: list[int]) -> None:
    """Write the count down when the process ends."""
    end = os._exit

    def noted(code: int) -> None:
        with open(store / "in-run", "w") as file:
            file.write(str(count[0]))
        end(code)

    os._exit = noted


def fail_at(store: Path, number: int, code: int, *, half: bool) -> list[int]:
    """Make the `number`-th of all file calls on the store fail; `half`: of a write, half is done first.

    Returns where the calls are counted. Calls on descriptors count too: none of ours are of other files.
    """
    count = [0]

    def failing(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = args[0] if args else "."
            if not isinstance(path, int) and not os.path.abspath(os.fspath(path)).startswith(str(store)):
                return real(*args, **kwargs)
            mine, count[0] = count[0], count[0] + 1
            if mine != number:
                return real(*args, **kwargs)
            if half and name == "write":
                real(args[0], memoryview(args[1])[: max(1, len(args[1]) // 2)])
            raise OSError(code, os.strerror(code))

        return call

    for name in EVERY_CALL:
        setattr(os, name, failing(name, getattr(os, name)))
    return count
