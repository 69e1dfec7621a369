"""Mirrorish, a made-up language for learning to translate: English word by word, in another order.

Letters change places with others, vowels with vowels and consonants with consonants, so that every English word has one
word in Mirrorish; and in each run of words between punctuation the last comes first, as if seen in a mirror. Who learns
it must find for every word the one it came from, which shows as stripes against the diagonal in the attention map.
"""

from __future__ import annotations

import re

# Letters that often stand at the same places in a word are exchanged, so that the words stay nearly pronounceable.
_FROM = "aeioubcdfghjklmnpqrstvwxyz"
_TO = "eioaupzlvkmxgdwrtqsnbfhjyc"
_THERE = str.maketrans(_FROM + _FROM.upper(), _TO + _TO.upper())
_BACK = str.maketrans(_TO + _TO.upper(), _FROM + _FROM.upper())
_WORD = r"\w+(?:['’-]\w+)*"
_RUN = re.compile(rf"{_WORD}(?: {_WORD})*")


def mirrored(text: str) -> str:
    """English to Mirrorish: 'Tom lost his red kite, and cried.' -> 'gobi sil mon danb Baw, zsoil erl.'."""
    return _RUN.sub(lambda run: _turned(run.group()).translate(_THERE), text)


def unmirrored(text: str) -> str:
    """Mirrorish to English; for every text, unmirrored(mirrored(text)) == text."""
    return _RUN.sub(lambda run: _turned(run.group()).translate(_BACK), text)


def _turned(run: str) -> str:
    return " ".join(reversed(run.split(" ")))
