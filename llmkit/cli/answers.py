"""How predictions look: with colour and bars on a terminal, plain tab-separated fields in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmkit.cli.page import write_raw
from llmkit.render.bars import bar
from llmkit.render.console import is_terminal, wants_color, width
from llmkit.render.safe_text import safe_line

if TYPE_CHECKING:
    from llmkit.prediction.classify import Classified
    from llmkit.prediction.fill_mask import FilledText

_BAR = 20


def show_filled(answer: FilledText, top: int | None) -> None:
    """The filled line; with `top` its guesses as fields instead. A terminal shows both."""
    if not is_terminal(sys.stdout):
        guesses = [guess for blank in answer.blanks for guess in blank.guesses[: top or 1]]
        fields = [part for guess in guesses for part in (_field(guess.word), f"{guess.prob:.4f}")]
        write_raw(("\t".join(fields) if top else _one_line(answer.filled)) + "\n")
        return
    strong, dim, plain = ("\x1b[1;32m", "\x1b[2m", "\x1b[0m") if wants_color(sys.stdout) else ("[", "", "]")
    line = "".join(
        f"{strong}{safe_line(text)}{plain}" if is_word else safe_line(text) for text, is_word in answer.parts()
    )
    rows = [line]
    end = plain if dim else ""
    for number, blank in enumerate(answer.blanks, 1):
        if len(answer.blanks) > 1:
            rows.append(f"{dim}  mask {number}{end}")
        rows += [
            f"{guess.prob:8.1%} {bar(guess.prob, _BAR):{_BAR}} {safe_line(guess.token)}" for guess in blank.guesses
        ]
    write_raw("\n".join(rows) + "\n")


def show_label(text: str, answer: Classified, labels: Sequence[str]) -> None:
    """Label and probability; a terminal also gets a bar and the beginning of the text."""
    if not is_terminal(sys.stdout):
        write_raw(f"{_field(answer.label)}\t{answer.prob:.4f}\n")
        return
    strong, plain = ("\x1b[1m", "\x1b[0m") if wants_color(sys.stdout) else ("", "")
    column = min(20, max(len(safe_line(label)) for label in labels))
    label = safe_line(answer.label)[:column]
    left = f"{strong}{label:{column}}{plain} {answer.prob:6.1%} {bar(answer.prob, _BAR // 2):{_BAR // 2}} "
    room = width(sys.stdout) - (column + 8 + _BAR // 2 + 2)
    write_raw(left + _cut(safe_line(text), room) + "\n")


def _one_line(text: str) -> str:
    """Keep one line in, one line out even when a token with a newline was guessed."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _field(text: str) -> str:
    return _one_line(text).replace("\t", "\\t")


def _cut(text: str, columns: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else set_cell_size(text, max(0, columns - 1)).rstrip() + "…"
