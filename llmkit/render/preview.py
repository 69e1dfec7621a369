"""Examples before and after corruption: lanes of running text, coloured by what happened to each token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from llmkit.render.console import make_console, wants_color
from llmkit.render.safe_text import safe_text

if TYPE_CHECKING:
    from rich.text import Text

# (text, what happened to it) of each token; one lane per name.
Lanes = Sequence[tuple[str, Sequence[tuple[str, str]]]]
# Marks are told apart without colour too: by the signs around the text.
_STYLES = {
    "hidden": ("bold #101010 on #e8c060", "", "", "a hole"),
    "replaced": ("bold #101010 on #f0a0a0", "⟨", "⟩", "another token put there"),
    "kept": ("bold #101010 on #a8d8c8", "=", "=", "left as it is, to be guessed all the same"),
    "target": ("bold green", "", "", "to be predicted"),
    "moved": ("italic cyan", "~", "~", "from another place"),
    "special": ("dim", "", "", "framing"),
}
# Columns of the names of lanes and notes.
_LEFT, _MOST_LEFT = 9, 16


def show_preview(examples: Sequence[tuple[Lanes, Mapping[str, str]]], title: str, stream: TextIO) -> None:
    """Print the examples on a terminal: a heading, the lanes of each, and what the marks mean."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = make_console(stream)
    color = wants_color(stream)
    console.print(Text(safe_text(title), "bold"))
    names = [name for lanes, notes in examples for name in (*(lane for lane, _ in lanes), *notes)]
    left = min(_MOST_LEFT, max(_LEFT, *map(len, names)))
    for number, (lanes, notes) in enumerate(examples, 1):
        table = Table.grid(padding=(0, 1))
        table.add_column(width=left, style="dim", justify="right", no_wrap=True)
        table.add_column(overflow="fold", ratio=1)
        for name, tokens in lanes:
            table.add_row(name, lane_text(tokens, color=color))
        for name, note in notes.items():
            table.add_row(safe_text(name), Text(safe_text(note), "bold"))
        console.print(Padding(Text(f"example {number}", "bold dim"), (1, 0, 0, 0)))
        console.print(table)
    console.print()
    console.print(legend({mark for lanes, _ in examples for _, tokens in lanes for _, mark in tokens}, color=color))


def lane_text(tokens: Sequence[tuple[str, str]], *, color: bool) -> Text:
    """One lane as running text. Where all tokens have one mark the lane's name says it all: no signs then."""
    from rich.text import Text

    signs = not color and len({mark for _, mark in tokens} - {"special"}) > 1
    line = Text(overflow="fold")
    for text, mark in tokens:
        style, before, after, _ = _STYLES.get(mark, ("", "", "", ""))
        shown = safe_text(text).replace("\n", "↵")
        space = " " if shown.startswith(" ") else ""
        body = shown[len(space) :]
        line.append(space)
        line.append(f"{before}{body}{after}" if signs else body, style if color else "")
    return line


def legend(marks: set[str], *, color: bool) -> Text:
    """What the marks that occur mean."""
    from rich.text import Text

    line = Text()
    for mark, (style, before, after, meaning) in _STYLES.items():
        if mark in marks:
            line.append("  " if line.plain else "")
            line.append(f"{before}{mark}{after}" if not color else mark, style if color else "")
            line.append(f" {meaning}", "dim")
    return line


def preview_rows(examples: Sequence[tuple[Lanes, Mapping[str, str]]]) -> Iterator[str]:
    """Tab-separated lines for pipes: example, lane, position, token, mark."""
    for number, (lanes, _) in enumerate(examples, 1):
        for name, tokens in lanes:
            for position, (text, mark) in enumerate(tokens):
                clean = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
                yield f"{number}\t{name}\t{position}\t{clean}\t{mark}"
