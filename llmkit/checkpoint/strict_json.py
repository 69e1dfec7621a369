"""JSON from strangers: bounded in size, depth and numbers, without duplicate keys. (The caller bounds the bytes.)"""

from __future__ import annotations

import json
import re
from typing import Any

from llmkit.errors import InputRefused

# 10**12 is an absurd size and must not pass; 10**11 is a rotary base that exists.
LARGEST_INTEGER = 2**39
_DEEPEST = 32
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_object(
    text: bytes, where: str, *, largest: int = LARGEST_INTEGER, deepest: int | None = _DEEPEST
) -> dict[str, Any]:
    """Parse a JSON object; InputRefused for anything that is not one, is nested deeper than `deepest`, or holds a
    duplicate key, a number that is not finite, or an integer beyond +-`largest`.

    `deepest=None` saves the scan for depth, for a caller that checks every value it takes out.
    """
    if deepest is not None and _depth(text, deepest) > deepest:
        raise InputRefused(f"{where}: nested deeper than {deepest} levels")

    def integer(digits: str) -> int:
        value = int(digits) if len(digits) <= 40 else largest + 1
        if not -largest <= value <= largest:
            raise InputRefused(f"{where}: the number {digits[:40]} is out of bounds (at most {largest})")
        return value

    def no_constant(word: str) -> float:
        raise InputRefused(f"{where}: {word} is not a JSON number")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if abs(value) != float("inf") else no_constant(digits[:40])

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise InputRefused(f"{where}: the key {twice[:80]!r} occurs twice")
        return found

    try:
        parsed = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=finite,
            parse_constant=no_constant,
        )
    except UnicodeDecodeError as error:
        raise InputRefused(f"{where}: not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise InputRefused(f"{where}: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InputRefused(f"{where}: not valid JSON: {error.msg} (line {error.lineno})") from None
    if not isinstance(parsed, dict):
        raise InputRefused(f"{where}: a JSON object was expected")
    return parsed


def _depth(text: bytes, enough: int) -> int:
    """How deep brackets nest, strings aside, counted up to `enough` + 1."""
    if text.count(b"{") + text.count(b"[") <= enough:
        return 0
    deepest = now = 0
    for match in _BRACKETS.finditer(text):
        token = match.group()
        if token in b"[{":
            now += 1
            deepest = max(deepest, now)
            if deepest > enough:
                break
        elif token in b"]}":
            now -= 1
    return deepest
