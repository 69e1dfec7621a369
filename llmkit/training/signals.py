"""Signals as requests: the handler only notes which one came; the loop ends at the next step boundary. No torch here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
# A closed terminal (HUP) is treated like a polite request to end.
_ASKED = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, n)]


class Interrupted(BaseException):
    """A signal came while there was nothing to save; not an Exception, so that no handler swallows it."""


class StopRequest:
    """Watches for INT, TERM, USR1 and HUP while in use as a context manager.

    Until `defer()` is called a signal ends the program at once (raises Interrupted), because nothing would be lost.
    After it, the signal is only noted in `name`, and whoever works polls `requested`; a second INT ends at once.
    A signal that the parent told us to ignore (nohup, background jobs) stays ignored.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _ASKED:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether a signal asked the run to end."""
        return self.number is not None

    @property
    def name(self) -> str:
        """Name of the signal that came, for example SIGTERM."""
        return signal.Signals(self.number).name if self.number is not None else ""

    @property
    def exit_code(self) -> int:
        """75 (asked to end, state saved) or, after INT, 130."""
        return 130 if self.number == signal.SIGINT else 75

    def defer(self) -> None:
        """From now on there is state worth saving: note signals instead of ending at once."""
        self._deferred = True

    def run_watched(self, work: Callable[[], T]) -> T:
        """Return `work()`, done in a thread, so that a signal is heard even while native code computes."""
        outcome: list[Any] = []

        def worker() -> None:
            try:
                outcome.append((True, work()))
            except BaseException as error:
                outcome.append((False, error))

        thread = threading.Thread(target=worker, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
        succeeded, value = outcome[0]
        if not succeeded:
            raise value
        return value

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            os._exit(130)  # asked twice: now, whatever is going on; the last checkpoint stays valid
        if self.number is None or number == signal.SIGINT:
            self.number = number
        if not self._deferred:
            raise Interrupted
