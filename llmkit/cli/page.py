"""Where text of models goes: raw UTF-8 into a pipe, made safe on a terminal; and the talk beside it on stderr."""

from __future__ import annotations

import sys

from llmkit.cli.models import say
from llmkit.render.console import is_terminal, wants_color
from llmkit.render.safe_text import safe_text


def write_raw(text: str) -> None:
    """Write UTF-8 to stdout whatever the locale says, and let the reader have it at once."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(text)
    else:
        sys.stdout.flush()
        stream.write(text.encode("utf-8", "surrogatepass"))
    sys.stdout.flush()


class Page:
    """Generated text on stdout. A terminal shows the prompt before it, dim; a pipe gets it only with `echo`."""

    def __init__(self, *, echo: bool = False) -> None:
        self.is_terminal = is_terminal(sys.stdout)
        self._dim, self._plain = ("\x1b[2m", "\x1b[0m") if wants_color(sys.stdout) else ("", "")
        self._echo = echo
        self._last = ""

    def title(self, text: str) -> None:
        """A dim line above one of several texts, on a terminal only."""
        if self.is_terminal:
            write_raw(f"{self._dim}── {text}{self._plain}\n")

    def prompt(self, text: str) -> None:
        if self.is_terminal and text:
            write_raw(f"{self._dim}{safe_text(text)}{self._plain}")
        elif self._echo:
            self.write(text)

    def write(self, text: str) -> None:
        if text:
            self._last = text[-1]
            write_raw(safe_text(text) if self.is_terminal else text)

    def end(self, *, only_open: bool = False) -> None:
        """Close the last line unless it is closed; `only_open`: an empty page stays empty."""
        if self._last != "\n" and (self._last or not only_open):
            write_raw("\n")
        self._last = ""


class Talk:
    """Notes on stderr, each once; `hold` keeps them back while text streams to the same terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._said: set[str] = set()
        self._held: list[str] | None = None

    def note(self, message: str) -> None:
        if self.quiet or message in self._said:
            return
        self._said.add(message)
        if self._held is None:
            say(f"note: {message}")
        else:
            self._held.append(message)

    def note_first(self, kind: str, message: str) -> None:
        """Say `message` unless something of its kind was said before."""
        if kind not in self._said:
            self._said.add(kind)
            self.note(message)

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for message in held:
            say(f"note: {message}")

    def stats(self, message: str) -> None:
        """Figures for a person who watches; a log does not need them."""
        if not self.quiet and is_terminal(sys.stderr):
            say(message)
