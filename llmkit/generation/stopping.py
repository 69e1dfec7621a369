"""Stop strings in streamed text: end before the stop string, and never show a piece of one."""

from __future__ import annotations

from collections.abc import Iterable

from llmkit.errors import UsageError


class StopStrings:
    """Passes streamed text on, holding back what may still become a stop string.

    The text ends at the first character that completes any stop string, and is cut before the longest one that ends
    there; so the result does not depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(dict.fromkeys(stops))
        if "" in self._stops:
            raise UsageError("a stop string is empty", "give at least one character, or leave --stop out")
        self._held = ""
        self.is_met = False

    def push(self, text: str) -> str:
        """Take the next piece; return the text that is now certain to stay."""
        if not self._stops or self.is_met:
            return "" if self.is_met else text
        held = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self.is_met = True
            self._held = ""
            return held[: min(found)[1]]
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """Return what was held back: the text has ended, so it can no longer become a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
