"""Consoles and the colour policy: decided per stream, never by markup in data."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console

ColorChoice = Literal["auto", "always", "never"]
_choice: ColorChoice = "auto"


def set_color(choice: ColorChoice) -> None:
    """Set the answer of the `--color` flag; it outranks the environment."""
    global _choice
    _choice = choice


def is_terminal(stream: TextIO) -> bool:
    """Whether `stream` is an interactive terminal (closed streams are not)."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def wants_color(stream: TextIO) -> bool:
    """Colour policy: --color, then NO_COLOR, FORCE_COLOR, TERM=dumb, then whether it is a terminal."""
    if _choice != "auto":
        return _choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def palette() -> Literal["truecolor", "256", "none"]:
    """Which colours the terminal can show; heatmaps choose their ramp by it (16 colours cannot carry a ramp)."""
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    term = os.environ.get("TERM", "")
    if "256" in term or "direct" in term or term in ("xterm-kitty", "alacritty", "foot", "wezterm"):
        return "256"
    return "truecolor" if _choice == "always" or os.environ.get("FORCE_COLOR") in ("3", "truecolor") else "none"


def width(stream: TextIO | None = None, default: int = 80) -> int:
    """Columns to lay out for: the terminal's size, else COLUMNS, else `default`."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or default
    except (OSError, ValueError, AttributeError):
        return default


def make_console(stream: TextIO, **options: object) -> Console:
    """A Rich console for `stream` that obeys the colour policy and interprets nothing in data."""
    from rich.console import Console

    colored = wants_color(stream)
    system = {"truecolor": "truecolor", "256": "256", "none": "standard"}[palette()]
    return Console(
        file=stream,
        force_terminal=colored or is_terminal(stream),
        no_color=not colored,
        color_system=system if colored else None,  # type: ignore[arg-type]  # Rich's literal type is not exported
        width=width(stream),
        markup=False,
        emoji=False,
        highlight=False,
        **options,  # type: ignore[arg-type]  # passed through to Rich
    )
