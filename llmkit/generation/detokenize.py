"""Tokens to text while they arrive: never half a character, never a wrong space.

The pieces joined are exactly `tokenizer.decode(ids, skip_special=True)` of all the tokens, which is why some text has
to wait for the next token.
"""

from __future__ import annotations

import codecs
import re
from typing import Protocol

from llmkit.errors import InputRefused

_REANCHOR = 64  # tokens after which the window is cut, so that a long text costs no more per token than a short one
_CONTEXT = 8  # tokens of decoded text kept before what is new
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Decodes(Protocol):
    """The part of a tokenizer that text needs."""

    @property
    def is_lossless(self) -> bool: ...
    def decode(self, ids: list[int], *, skip_special: bool = False) -> str: ...
    def decode_bytes(self, ids: list[int], *, skip_special: bool = False) -> bytes: ...
    def token(self, token_id: int) -> str: ...


class TextStream:
    """Turns one token after another into text."""

    def __init__(self, tokenizer: Decodes) -> None:
        self._stream = _ByteStream(tokenizer) if tokenizer.is_lossless else _WindowStream(tokenizer)

    def push(self, id: int) -> str:
        """Take one token; return the text that no later token can change."""
        return self._stream.push(id)

    def flush(self) -> str:
        """Return the rest; characters that were never finished become U+FFFD, as in `decode`."""
        return self._stream.flush()


class _ByteStream:
    """For tokens that stand for bytes by themselves: only unfinished UTF-8 has to wait."""

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        return self._utf8.decode(self._tokenizer.decode_bytes([id], skip_special=True))

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WindowStream:
    """For decoders that look at neighbours (leading spaces, `##`, byte fallback): decode a window, show its growth."""

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0  # characters of the window's text already passed on
        self._in_bytes = False  # whether the text so far ends in a run of byte pieces

    def push(self, id: int) -> str:
        self._ids.append(id)
        text = self._tokenizer.decode(self._ids, skip_special=True)
        # A run of byte pieces is read as a whole: one bad byte turns all its characters into U+FFFD. A token without
        # text (a special one, left out) does not end the run.
        if self._is_byte_piece(id):
            self._in_bytes = True
        elif self._tokenizer.decode([id], skip_special=True):
            self._in_bytes = False
        if self._in_bytes:
            return ""
        # A character may be unfinished at the end, and a decoder that tidies up may still touch a final space.
        sure = len(text.rstrip("\ufffd ")) if text.endswith(("\ufffd", " ")) else len(text)
        piece = text[self._shown : sure]
        self._shown = max(self._shown, sure)
        if len(self._ids) >= _REANCHOR and self._shown == len(text):
            self._cut(text)
        return piece

    def flush(self) -> str:
        text = self._tokenizer.decode(self._ids, skip_special=True)
        piece = text[self._shown :]
        self._shown = len(text)
        return piece

    def _is_byte_piece(self, id: int) -> bool:
        try:
            return _BYTE_PIECE.fullmatch(self._tokenizer.token(id)) is not None
        except InputRefused:  # a model may have more logits than the tokenizer has tokens; they stand for no text
            return False

    def _cut(self, text: str) -> None:
        """Forget all but the last tokens, if they decode to the same text without the others."""
        tail = self._tokenizer.decode(self._ids[-_CONTEXT:], skip_special=True)
        if tail and text.endswith(tail.lstrip()) and tail.strip():
            self._ids = self._ids[-_CONTEXT:]
            self._shown = len(tail)
