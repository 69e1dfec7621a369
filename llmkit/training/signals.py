"""Signals as requests: the handler notes which one came, the loop ends at the next step boundary. No torch here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
# A closed terminal (HUP) is treated like a polite request to end.
_ASKED = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, n)]


class Work(Generic[T]):
    """Something done in a thread of its own. The thread dies with the program."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._value = work()
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        """Wait for the end, hearing signals; return what `work` returned or raise what it raised."""
        while self._thread.is_alive():
            self._thread.join(0.1)
        if self._error is not None:
            raise self._error
        return cast(T, self._value)


class StopRequest:
    """Watches for INT, TERM, USR1 and HUP while in use as a context manager.

    Until `defer()` is called a signal ends the program with the code that `farewell` returns: nothing would be lost.
    It ends there and then, because an exception in the middle of an import leaves locks behind that other threads wait
    for, or is taken for a library that is not there. After `defer()` a signal is only noted in `name`, and whoever
    works polls `requested`; a second INT ends at once.
    A signal that the parent told us to ignore (nohup, background jobs) stays ignored.
    """

    def __init__(self, farewell: Callable[[StopRequest], int] | None = None) -> None:
        self._farewell = farewell or (lambda stop: 128 + int(stop.number or 0))
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

    def begin(self, work: Callable[[], T]) -> Work[T]:
        """Start `work` in a thread: signals are heard even while native code computes there."""
        return Work(work)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            os._exit(130)  # asked twice: now, whatever is going on; the last checkpoint stays valid
        if self.number is None or number == signal.SIGINT:
            self.number = number
        if not self._deferred:
            code = 128 + number
            try:
                code = self._farewell(self)
            finally:  # whatever happens in there (a print that was interrupted by a print, say), this is the end
                os._exit(code)
