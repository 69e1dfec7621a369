"""The one gate between text from files or models and a terminal."""

from __future__ import annotations

import re

# C0 but newline and tab, DEL, C1, bidirectional controls and marks, line/paragraph separators, tag characters,
# zero-width joiners that hide text, lone surrogates and non-characters: all can move the cursor, hide or reorder text.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def safe_text(text: str) -> str:
    """Return `text` with every character that could control a terminal replaced by a visible form.

    Newlines and tabs stay. The result is for eyes: data in a pipe is written as it is.
    """
    return _UNSAFE.sub(_visible, text)


def safe_line(text: str) -> str:
    """Like `safe_text`, on one line: newlines become ↵ and tabs become →."""
    return safe_text(text).replace("\n", "↵").replace("\t", "→")
