"""What a process that `--devices` started and the one that started it tell each other: files in a directory of theirs.

torchrun, which stands between them, only knows success and failure, starts failed processes anew, and ends the others
of a dead one with the signal that a user would send too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

PLACE = "LLMKIT_LAUNCH"
"""The variable that names the directory. In it each process leaves its number, in a file called as its rank."""
LAUNCHER = "LLMKIT_LAUNCHER"
"""The variable with the number of the process that started all."""
VERDICT = "verdict"
"""How the run ended: written once, it ends all."""
ASKED = "asked"
"""That the user asked for an end, and not torchrun."""
HEARING = "hearing"
"""The number of the first process, once signals do not simply end it."""
# Codes after which another attempt may do better: a lost process, a bug.
_AGAIN = (1, 70)


def sign_in() -> bool:
    """Called first thing by a process that torchrun started: leave its number. False when the run is over already."""
    place = _place()
    if place is None:
        return True
    with contextlib.suppress(OSError):
        (place / os.environ.get("RANK", "0")).write_text(str(os.getpid()))
    return not (place / VERDICT).exists() and is_alive(_launcher())


def begin_to_hear() -> None:
    """Called once signals are handled: those that came before are sent now, and the launcher's death is one of them."""
    place = _place()
    if place is None:
        return
    if os.environ.get("RANK") == "0":
        with contextlib.suppress(OSError):
            (place / HEARING).write_text(str(os.getpid()))
    threading.Thread(target=_watch, args=(place, _launcher()), daemon=True).start()


def _watch(place: Path, launcher: int) -> None:
    """Nobody could stop a run whose launcher was killed: it saves and ends by itself."""
    while is_alive(launcher):
        time.sleep(1)
    with contextlib.suppress(OSError):
        (place / ASKED).touch()
    os.kill(os.getpid(), signal.SIGTERM)


def was_asked() -> bool:
    """Whether a signal that came is from the user: torchrun sends the same when another process died."""
    place = _place()
    return place is None or (place / ASKED).exists()


def deliver(code: int) -> int:
    """Write down how the run ended, if this process was started for that; the code for torchrun to see."""
    place = _place()
    if place is None or code in _AGAIN:
        return code
    if os.environ.get("RANK") == "0" or code not in (0, 75, 130):
        path = place / VERDICT
        with contextlib.suppress(OSError):
            fd = os.open(f"{path}.{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o666)
            os.write(fd, str(code).encode())
            os.close(fd)
            if not path.exists():
                os.rename(f"{path}.{os.getpid()}", path)
    # Without a launcher torchrun must hear of it, or it waits for the others, which may wait for this one.
    return 0 if is_alive(_launcher()) else code


def read_number(path: Path) -> int | None:
    """The number in a file, None when there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def is_alive(number: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        with open(f"/proc/{number}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # ended, and nobody has asked how yet
    except OSError:
        pass
    try:
        os.kill(number, 0)
    except OSError:
        return False
    return not os.path.isdir("/proc/self")


def _place() -> Path | None:
    place = os.environ.get(PLACE)
    return None if place is None else Path(place)


def _launcher() -> int:
    return int(os.environ.get(LAUNCHER, os.getpid()))
