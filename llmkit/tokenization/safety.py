"""What a tokenizer.json must fulfil before `tokenizers` sees it: the file may come from anyone.

The library itself accepts two tokens with one id, ids that would need an embedding of terabytes, and regular
expressions that take exponential time. All of these are refused here.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from llmkit.errors import InputRefused

TRUST = "LLMKIT_TRUST_TOKENIZER"
MAX_BYTES = 1 << 28
MAX_ID = (1 << 24) - 1
MAX_TOKEN = 1 << 16  # characters in a token
MAX_GROWTH = 64  # replacements may make a text this many times longer; a few in a row could ask for any memory

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

# Published patterns, none of which can backtrack badly. Any other needs the user's word.
KNOWN_PATTERNS: dict[str, str] = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "GPT-2",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "GPT-2, tiktoken's spelling",
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL: "cl100k, Llama 3",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+": (
        "cl100k, tiktoken's spelling"
    ),
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL: "Qwen 2",
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL: "nanochat",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_TAIL}": "o200k",
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+": "CLIP",
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+": "CLIP",
    r" ?[^(\s|[.,!?…。，、।۔،])]+": "BLOOM",
    r"[0-9][0-9][0-9]": "Falcon",
    r"\p{N}{1,3}": "digits in threes",
    r"\p{N}": "single digits",
    r"\s+": "white space",
    r"\s": "white space",
    r" {2,}": "runs of spaces",
    r"[\r\n]": "line ends",
    r"\w+|[^\w\s]+": "words and punctuation",
}


def check_tokenizer_json(data: bytes, name: str, *, trust: bool = False) -> dict[str, Any]:
    """Parse and check a tokenizer.json. Raises InputRefused that names what is wrong with it.

    trust: let regular expressions pass that are not known to be harmless, as LLMKIT_TRUST_TOKENIZER=1 does everywhere.
    """
    if len(data) > MAX_BYTES:
        raise InputRefused(f"{name} is {len(data):,} bytes; a tokenizer has at most {MAX_BYTES:,}")
    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        raise InputRefused(f"{name} is nested too deeply for a tokenizer") from None
    except ValueError as error:  # also bad UTF-8
        raise InputRefused(f"{name} is not a tokenizer: {error}") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("model"), dict):
        raise InputRefused(f"{name} is not a tokenizer: it has no 'model'", "a tokenizer.json is expected")
    _check_ids(parsed, name)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if _growth(parsed.get(part), name) > MAX_GROWTH:
            raise InputRefused(f"{name}: the {part} makes texts over {MAX_GROWTH} times longer")
    if not trust and os.environ.get(TRUST) != "1":
        for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
            _check_patterns(parsed.get(part), name, part)
    return parsed


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"{key[:80]!r} is there twice")
            seen.add(key)
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number a tokenizer can hold")


def _check_ids(parsed: Mapping[str, Any], name: str) -> None:
    owner: dict[int, str] = {}
    for token, token_id in _tokens(parsed, name):
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise InputRefused(f"{name}: a token is not a text of at most {MAX_TOKEN:,} characters")
        if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id <= MAX_ID:
            raise InputRefused(f"{name}: token {token[:80]!r} has id {token_id!r}; ids are 0 to {MAX_ID}")
        if owner.setdefault(token_id, token) != token:
            raise InputRefused(
                f"{name}: tokens {owner[token_id][:80]!r} and {token[:80]!r} have the same id {token_id}"
            )


def _tokens(parsed: Mapping[str, Any], name: str) -> Iterator[tuple[Any, Any]]:
    vocab = parsed["model"].get("vocab")
    if isinstance(vocab, dict):
        yield from vocab.items()
    elif isinstance(vocab, list):  # Unigram: [token, score] in the order of the ids
        seen: set[str] = set()
        for token_id, entry in enumerate(vocab):
            if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
                raise InputRefused(f"{name}: entry {token_id} of the vocabulary is not a token and a score")
            if entry[0] in seen:
                raise InputRefused(f"{name}: token {entry[0][:80]!r} is there twice")
            seen.add(entry[0])
            yield entry[0], token_id
    else:
        raise InputRefused(f"{name} is not a tokenizer: it has no vocabulary")
    added = parsed.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise InputRefused(f"{name}: added_tokens is not a list of tokens")
    for token in added:
        if not token.get("content"):
            raise InputRefused(f"{name}: an added token has no content")
        yield token["content"], token.get("id")


def _growth(part: Any, name: str) -> float:
    """How many times longer the replacements in `part`, one after the other, can make a text."""
    if isinstance(part, list):
        return math.prod(_growth(item, name) for item in part)
    if not isinstance(part, dict):
        return 1.0
    pattern, content = part.get("pattern"), part.get("content")
    if part.get("type") == "Precompiled":
        _check_charsmap(part.get("precompiled_charsmap"), name)
    own = 1.0
    if isinstance(pattern, dict) and isinstance(content, str):
        shortest = len(pattern["String"]) if isinstance(pattern.get("String"), str) else 1
        if not shortest:
            raise InputRefused(f"{name}: a replacement of the empty text")
        own = max(1.0, len(content) / shortest)
    return own * math.prod(_growth(value, name) for value in part.values())


def _check_charsmap(text: Any, name: str) -> None:
    """SentencePiece's character map: the size of a trie in bytes, the trie in words of 4, and texts in UTF-8.

    The library panics at anything else.
    """
    try:
        data = base64.b64decode(text, validate=True)
        size = int.from_bytes(data[:4], "little")
        is_sound = 0 < size <= len(data) - 4 and size % 4 == 0 and data[4 + size :].decode("utf-8") is not None
    except (TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise InputRefused(f"{name}: the character map of its normalizer is damaged")


def _check_patterns(part: Any, name: str, where: str) -> None:
    if isinstance(part, list):
        for item in part:
            _check_patterns(item, name, where)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "Regex" and value not in KNOWN_PATTERNS:
                raise InputRefused(
                    f"{name}: the {where} has an unknown regular expression {str(value)[:200]!r}, which may hang",
                    f"if you trust where it comes from: llmkit --trust-tokenizer COMMAND, or set {TRUST}=1",
                )
            _check_patterns(value, name, where)
