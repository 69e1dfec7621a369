"""`pretrain --devices N`: start torchrun on this machine, pass signals on, end with the exit code of the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmkit.cli.launched import ASKED, HEARING, LAUNCHER, PLACE, VERDICT, is_alive, read_number
from llmkit.errors import LlmkitError

# After so many attempts that a killed process ended, the run is given up.
RESTARTS = 3
# Seconds that processes get to end once there is a verdict, or to hear what is asked of them.
GRACE = 20.0
# Seconds after a verdict in which they are left to end by themselves.
_SOON = 2.0
_PASSED_ON = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


def launch(arguments: Sequence[str], processes: int, threads: int) -> int:
    """Run `llmkit ARGUMENTS` in that many processes and return the exit code of the run.

    threads: of each process, where the recipe does not say; 0: share the processors out.
    """
    with tempfile.TemporaryDirectory(prefix="llmkit-") as place:
        return _Launch(Path(place)).run(arguments, processes, threads)


def launch_again(processes: int, threads: int) -> int:
    """`launch` with the arguments of this program; those it starts see that they are several, and ignore --devices."""
    return launch(sys.argv[1:], processes, threads)


class _Launch:
    """One run. asked: the signals that came; told: which process heard of how many of them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.asked: list[int] = []
        self.told = (0, 0)
        self.child: subprocess.Popen[bytes] | None = None

    def run(self, arguments: Sequence[str], processes: int, threads: int) -> int:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += [f"--max-restarts={RESTARTS}", f"--log-dir={self.place}"]
        # Without the dashes torchrun would take our --run for a short form of options of its own.
        command += ["-m", "--", "llmkit", *arguments]
        each = threads or max(1, _processors() // processes)
        environment = {
            "LOGLEVEL": "CRITICAL",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            "OMP_NUM_THREADS": str(each),
            **os.environ,
            PLACE: str(self.place),
            LAUNCHER: str(os.getpid()),
        }
        handlers = dict.fromkeys(_PASSED_ON, self._note) | {"SIGQUIT": self._quit, "SIGTSTP": self._pause}
        before = {}
        for name, handler in handlers.items():
            number = getattr(signal, name, None)
            # What the parent told us to ignore (nohup, background jobs) stays ignored.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
        try:
            # Signals of the terminal reach this process alone, or the run would hear each of them twice.
            self.child = subprocess.Popen(command, env=environment, start_new_session=True)
            return self._wait(self.child)
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        over = deaf = None
        first, attempts, is_called = None, 0, False
        while child.poll() is None:
            time.sleep(0.1)
            found = read_number(self.place / "0")
            if found != first and found is not None:
                first, attempts = found, attempts + 1
                self._say_again(attempts - 1)
            if (self.place / VERDICT).exists():
                over = over or time.monotonic()
                if not is_called and time.monotonic() > over + _SOON and first is not None and not is_alive(first):
                    # The first process ended by itself: others may still wait for it, however long that takes.
                    is_called = True
                    (self.place / ASKED).touch()
                    self._send(signal.SIGTERM)
                # Once all have ended torchrun has nothing left to do, but takes seconds for it.
                if time.monotonic() > over + GRACE or not any(map(is_alive, self._numbers())):
                    self._end()
            elif self.asked and not self._tell():
                deaf = deaf or time.monotonic()
                if time.monotonic() > deaf + GRACE:
                    self._end()
        if (verdict := read_number(self.place / VERDICT)) is not None:
            return verdict
        self._end()  # torchrun may have been killed: the others must not go on unseen
        if self.asked:
            return 128 + self.asked[-1]
        raise LlmkitError(
            f"the processes ended before the run was over, {attempts} of {RESTARTS + 1} times, see above",
            "the same command goes on from the newest checkpoint",
        )

    def _tell(self) -> bool:
        """Pass the newest signal on to the first process, which agrees with the others; again to the one that takes its
        place, should it die. False as long as there is none that hears."""
        first = read_number(self.place / HEARING)
        if first is None:
            return False
        if self.told != (first, len(self.asked)):
            self.told = first, len(self.asked)
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, self.asked[-1])
        return True

    def _say_again(self, attempt: int) -> None:
        if attempt:
            from llmkit.cli.training import say_plainly

            say_plainly(f"warning: a process ended; all are started again ({attempt} of {RESTARTS})")

    def _note(self, number: int, frame: Any) -> None:
        """What is asked is passed on by `_wait`. Asked a second time by Ctrl-C, end them all."""
        again = number == signal.SIGINT and signal.SIGINT in self.asked
        self.asked.append(number)
        (self.place / ASKED).touch()
        if again:
            with contextlib.suppress(FileExistsError):
                (self.place / VERDICT).touch(exist_ok=False)
                (self.place / VERDICT).write_text("130")
            self._end()

    def _quit(self, number: int, frame: Any) -> None:
        self.asked.append(number)
        self._end()

    def _pause(self, number: int, frame: Any) -> None:
        """Ctrl-Z: those in sessions of their own would not hear of it. torchrun, which only waits for them, goes on."""
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _end(self) -> None:
        """End everything at once; the last checkpoint stays valid."""
        if self.child is not None and self.child.poll() is None:
            self.child.kill()  # first, or it would start the others anew
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        """To all processes that signed in."""
        for process in filter(is_alive, self._numbers()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _numbers(self) -> list[int]:
        """Process numbers of those that signed in."""
        found = (read_number(path) for path in self.place.glob("[0-9]*"))
        return [number for number in found if number is not None]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
