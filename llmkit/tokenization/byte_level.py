"""The byte alphabet of GPT-2 (Radford et al. 2019): every byte as one printable character, and GPT-2's way to cut text.

Text is cut into pieces (at whitespace) and pieces into pre-tokens (words, numbers, punctuation); tokens never cross a
pre-token. A piece boundary is a pre-token boundary whatever comes before and after, so pieces can be counted, cached
and encoded on their own; that is what makes training and encoding fast here, and exact.
"""

from __future__ import annotations

import re

# White_Space of Unicode, which is what the regex engine inside `tokenizers` means by \s. Python's own \s differs: it
# has the separators U+001C to U+001F too.
WHITESPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

# Long pieces are cut, or one line of 100 MB without a space would be one piece.
MAX_PIECE = 256


def _printable_bytes() -> list[int]:
    return [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]


def _byte_chars() -> list[str]:
    chars = {byte: chr(byte) for byte in _printable_bytes()}
    for byte in range(256):
        chars.setdefault(byte, chr(0x100 + len(chars) - len(_printable_bytes())))
    return [chars[byte] for byte in range(256)]


BYTE_CHARS: list[str] = _byte_chars()  # byte -> its character
CHAR_BYTES: dict[str, int] = {char: byte for byte, char in enumerate(BYTE_CHARS)}
ALPHABET: list[str] = sorted(BYTE_CHARS)

_ONE, _OTHER = f"[{WHITESPACE}]", f"[^{WHITESPACE}]"
_MOST = f"{{1,{MAX_PIECE}}}"
PIECE = re.compile(f" ?{_OTHER}+|{_ONE}+(?!{_OTHER})|{_ONE}+")
BOUNDED_PIECE = re.compile(f" ?{_OTHER}{_MOST}|{_ONE}{_MOST}(?!{_OTHER})|{_ONE}{_MOST}")


def _ascii_pretoken(most: str) -> re.Pattern[str]:
    words = rf" ?[A-Za-z]{most}| ?[0-9]{most}| ?[^\sA-Za-z0-9]{most}"
    return re.compile(rf"'(?:[sdmt]|ll|ve|re)|{words}|\s{most}(?!\S)|\s{most}", re.ASCII)


# GPT-2's pattern on ASCII text, where the classes of letters and digits are the same in every regex engine.
ASCII_PRETOKEN = _ascii_pretoken("+")
BOUNDED_ASCII_PRETOKEN = _ascii_pretoken(_MOST)


def token_bytes(token: str) -> bytes:
    """The bytes a byte-level token stands for; a token with foreign characters stands for its own text."""
    try:
        return bytes(map(CHAR_BYTES.__getitem__, token))
    except KeyError:
        return token.encode("utf-8", "replace")
