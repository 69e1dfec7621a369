"""`pretrain --devices N`: start torchrun on this machine, pass signals on, end with the exit code of the run.

torchrun itself only knows success and failure, and starts failed processes anew. So those that it starts for us write
how the run ended into a file, the verdict, and end well wherever nothing would be gained by another attempt.
"""

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

from llmkit.errors import LlmkitError

# Directory of the verdict and of the processes' numbers, for the processes that torchrun starts for us.
PLACE = "LLMKIT_LAUNCH"
VERDICT = "verdict"
# After so many attempts that a killed process ended, the run is given up.
RESTARTS = 3
# Seconds that processes get to end by themselves once there is a verdict.
GRACE = 20.0
# Codes after which another attempt may do better: a lost process, a bug.
_AGAIN = (1, 70)
_PASSED_ON = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, n)]


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
    def __init__(self, place: Path) -> None:
        self.place = place
        self.asked: list[int] = []
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
        }
        before = {number: signal.signal(number, self._pass_on) for number in _PASSED_ON}
        try:
            # Signals of the terminal reach this process alone, or the run would hear each of them twice.
            self.child = subprocess.Popen(command, env=environment, start_new_session=True)
            return self._wait(self.child)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        since = None
        while child.poll() is None:
            time.sleep(0.1)
            if (self.place / VERDICT).exists():
                since = since or time.monotonic()
                # Once all have ended torchrun has nothing left to do, but takes seconds for it.
                if time.monotonic() > since + GRACE or not any(map(_is_alive, self._numbers())):
                    self._end()
        with contextlib.suppress(OSError, ValueError):
            return int((self.place / VERDICT).read_text())
        if self.asked:
            return 128 + self.asked[-1]
        raise LlmkitError(
            f"the processes of the run ended {RESTARTS + 1} times before it was over, see above",
            "the same command goes on from the newest checkpoint",
        )

    def _pass_on(self, number: int, frame: Any) -> None:
        """To the first process, which agrees with the others; asked a second time by Ctrl-C, end them all."""
        again = number == signal.SIGINT and signal.SIGINT in self.asked
        self.asked.append(number)
        first = _read_number(self.place / "0")
        if again:
            with contextlib.suppress(FileExistsError):
                (self.place / VERDICT).touch(exist_ok=False)
                (self.place / VERDICT).write_text("130")
            self._end()
        elif first is None:
            self._end()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, number)

    def _end(self) -> None:
        """End everything at once; the last checkpoint stays valid."""
        for number in self._numbers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        if self.child is not None and self.child.poll() is None:
            self.child.kill()

    def _numbers(self) -> list[int]:
        """Process numbers of those that signed in."""
        found = (_read_number(path) for path in self.place.glob("[0-9]*"))
        return [number for number in found if number is not None]


def sign_in() -> bool:
    """Called first thing by a process that torchrun started: leave its number. False when the run is over already."""
    place = os.environ.get(PLACE)
    if place is None:
        return True
    with contextlib.suppress(OSError):
        (Path(place) / os.environ.get("RANK", "0")).write_text(str(os.getpid()))
    return not (Path(place) / VERDICT).exists()


def deliver(code: int) -> int:
    """Write down how the run ended, if this process was started for that; the code for torchrun to see."""
    place = os.environ.get(PLACE)
    if place is None or code in _AGAIN:
        return code
    if os.environ.get("RANK") == "0" or code not in (0, 75, 130):
        path = Path(place) / VERDICT
        with contextlib.suppress(OSError):
            fd = os.open(f"{path}.{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o666)
            os.write(fd, str(code).encode())
            os.close(fd)
            if not path.exists():
                os.rename(f"{path}.{os.getpid()}", path)
    return 0


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _is_alive(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # ended, and torchrun has not asked how yet
    except OSError:
        pass
    try:
        os.kill(number, 0)
    except OSError:
        return False
    return not os.path.isdir("/proc/self")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
