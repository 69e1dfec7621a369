"""The live view of a tokenizer being trained: how far it is, how fast merges get rarer, the last tokens made."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

from llmkit.render.bars import bar
from llmkit.render.safe_text import safe_line
from llmkit.units import count as short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

_CELLS = 40
_BLOCKS = "▁▂▃▄▅▆▇█"


class LearningView:
    """Use as a context manager around `train(..., progress=view)`. n_chars: size of the text if known, for the bar."""

    def __init__(self, console: Console, n_chars: int | None) -> None:
        self._console = console
        self._total_chars = n_chars
        self._read = self._words = self._done = self._total = 0
        self._stage = "read"
        self._counts: list[int] = []
        self._last: deque[str] = deque(maxlen=5)
        self._shown = 0.0
        self._live: Live | None = None

    def __enter__(self) -> LearningView:
        from rich.live import Live

        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def read(self, n_chars: int) -> None:
        self._read += n_chars
        self._show()

    def words(self, n_words: int) -> None:
        self._words, self._stage = n_words, "merge"
        self._show(now=True)

    def merge(self, done: int, total: int, token: str, count: int) -> None:
        self._done, self._total = done, total
        self._counts.append(count)
        self._last.append(token)
        self._show()

    def fit(self, n_pieces: int, wanted: int) -> None:
        self._stage, self._done, self._total = "fit", n_pieces, wanted
        self._show(now=True)

    def _show(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if self._live is not None and (now or clock - self._shown > 0.1):
            self._shown = clock
            self._live.update(self._text(), refresh=True)

    def _text(self) -> Text:
        from rich.text import Text

        if self._stage == "read":
            share = min(1.0, self._read / self._total_chars) if self._total_chars else 0.0
            return Text(
                f"read   {bar(share, 30):<30} {short(self._read)} characters", no_wrap=True, overflow="ellipsis"
            )
        read = f"read   {short(self._read)} characters, {short(self._words)} distinct words\n"
        if self._stage == "fit":
            return Text(
                f"{read}fit    {self._done:,} pieces, {self._total:,} wanted", no_wrap=True, overflow="ellipsis"
            )
        share = self._done / self._total if self._total else 0.0
        lines = (
            f"{read}merge  {bar(share, 30):<30} {self._done:,} of {self._total:,}\n"
            f"count  {_sparkline(self._counts)} {self._counts[-1] if self._counts else 0:,}\n"
            f"last   {'  '.join(safe_line(token) for token in self._last)}"
        )
        return Text(lines, no_wrap=True, overflow="ellipsis")


def _sparkline(counts: list[int]) -> str:
    """Counts over time in `_CELLS` cells, on a log scale."""
    if not counts:
        return ""
    step = max(1, math.ceil(len(counts) / _CELLS))
    logs = [math.log(max(1, n)) for n in counts[::step]]
    top = max(logs) or 1.0
    return "".join(_BLOCKS[min(7, int(value / top * 8))] for value in logs)
