"""Other llmkit processes run from this one, which passes signals on to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer


class Relay:
    """Runs one process after another and passes on the signals that ask to end.

    Each process leads a session of its own: otherwise Ctrl-C would reach it twice, from the terminal and from here, and
    twice means at once.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Relay:
        for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._pass_on)
        if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
            self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, arguments: Sequence[str]) -> int:
        """Run llmkit with these arguments to its end; its exit code."""
        from llmkit.render.console import wants_color

        environment = dict(os.environ)
        if not wants_color(sys.stderr):
            environment["NO_COLOR"] = "1"
        if Path(__file__).parents[2] != Path.cwd():
            # As for the command itself, a user's own random.py in this directory is not Python's.
            environment["PYTHONSAFEPATH"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmkit", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        if self.number is not None:  # it came while the process was being made
            self.process.send_signal(self.number)
        try:
            return self.process.wait()
        finally:
            if self.process.poll() is None:  # whatever ended the wait must not leave it running unseen
                self.process.terminate()
                self.process.wait()
            self.process = None

    @property
    def exit_code(self) -> int:
        """That of a process asked to end which can go on later: 75 or, after INT, 130."""
        return 130 if self.number == signal.SIGINT else 75

    def stop_if_asked(self) -> None:
        """End between two runs, where a signal has come."""
        if self.number is not None:
            raise typer.Exit(self.exit_code)

    def _pass_on(self, number: int, frame: object) -> None:
        self.number = number
        if self.process is not None:
            self.process.send_signal(number)

    def _pause(self, number: int, frame: object) -> None:
        """Ctrl-Z: the process in its own session would not hear of it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
