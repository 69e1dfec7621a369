"""Tokens as a person reads them: alternating tints, visible spaces, stray bytes in angle brackets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmkit.render.palette import Palette
from llmkit.render.safe_text import safe_text

if TYPE_CHECKING:
    from rich.text import Text

# Dark text on pastel: legible on light and dark terminals alike. Neighbours differ in lightness too, not in hue alone.
_TINTS = ("#101010 on #a8d8c8", "#101010 on #e8d0a0", "#101010 on #c0c8f0", "#101010 on #f0b8b0")
_TINTS_256 = (
    "color(16) on color(152)",
    "color(16) on color(223)",
    "color(16) on color(147)",
    "color(16) on color(217)",
)
_SPECIAL = "bold #ffffff on #705090"
_SPECIAL_256 = "bold color(231) on color(60)"
_SPACES = str.maketrans({" ": "·", "\n": "↵", "\t": "→"})


def visible_token(piece: bytes) -> str:
    """One token's bytes for the eye: spaces as ·, line ends as ↵, bytes that are no whole character as ⟨E2⟩."""
    shown, rest = "", piece
    while rest:
        try:
            return shown + safe_text(rest.decode("utf-8")).translate(_SPACES)
        except UnicodeDecodeError as error:
            shown += safe_text(rest[: error.start].decode("utf-8")).translate(_SPACES)
            shown += "".join(f"⟨{byte:02X}⟩" for byte in rest[error.start : error.end])
            rest = rest[error.end :]
    return shown


def token_line(tokens: Iterable[tuple[bytes, bool]], palette: Palette, *, color: bool) -> Text:
    """A record as one line. tokens: (bytes, whether it is a special token). Without colour, | stands between tokens."""
    from rich.text import Text

    tints, special = (_TINTS, _SPECIAL) if palette == "truecolor" else (_TINTS_256, _SPECIAL_256)
    line = Text(no_wrap=False, overflow="fold")
    for number, (piece, is_special) in enumerate(tokens):
        if not color:
            line.append(("|" if number else "") + visible_token(piece))
        elif palette == "none":  # 16 colours: reverse video every other token
            line.append(visible_token(piece), "bold" if is_special else "reverse" if number % 2 else "")
        else:
            line.append(visible_token(piece), special if is_special else tints[number % len(tints)])
    return line
