"""A recipe written out in full, its digest, and what changed between two of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmkit.recipe.keys import unread_keys
from llmkit.recipe.safe_yaml import resolve_plain
from llmkit.recipe.schema import SECTIONS, Recipe

# Text that every YAML reader takes for this very text without quotes.
_PLAIN_TEXT = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+@=-]*( [A-Za-z0-9_./+@=-]+)*")
_SPECIAL = {"yes", "no", "on", "off", "y", "n", "true", "false", "null"}
# Characters that YAML does not allow, or that no one could see; JSON has escaped the first 32 of them already.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff\ud800-\udfff]")


def flatten(recipe: Recipe) -> dict[str, Any]:
    """Dotted key -> value, in the order of writing; sections the recipe does not have are left out, and so are keys
    that its objective does not read."""
    flat: dict[str, Any] = {"name": recipe.name}
    if recipe.is_finetune:
        flat["base"] = recipe.base
    for section in SECTIONS:
        settings = getattr(recipe, section)
        if settings is None:
            continue
        if section == "model":
            values: Mapping[str, Any] = {"family": settings.family, **settings.fields}
        else:
            values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
        flat |= {f"{section}.{name}": value for name, value in values.items()}
    unread = unread_keys(recipe.objective.name)
    return {path: value for path, value in flat.items() if path not in unread}


def to_yaml(recipe: Recipe, *, with_origins: bool = False) -> str:
    """The recipe with every value filled in; reading it gives an equal recipe. Same recipe, same bytes.

    with_origins: a comment after each value tells where it came from.
    """
    return "\n".join(_lines(recipe, with_origins)) + "\n"


def _lines(recipe: Recipe, with_origins: bool) -> Iterator[str]:
    section = ""
    for path, value in flatten(recipe).items():
        head, _, leaf = path.rpartition(".")
        if head != section:
            section = head
            yield ""
            yield f"{section}:"
        line = f"{'  ' if head else ''}{leaf}: {yaml_value(value)}"
        # An origin quotes what somebody typed or called a file, which may hold a line end.
        origin = _UNPRINTABLE.sub(_escape, recipe.origins.get(path, "default"))
        yield f"{line:<38}  # {origin}" if with_origins else line


def yaml_value(value: Any) -> str:
    """One value in YAML, on one line, that YAML 1.1 and 1.2 readers understand alike."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(yaml_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_value(str(k))}: {yaml_value(v)}" for k, v in value.items()) + "}"
    text = str(value)
    if _PLAIN_TEXT.fullmatch(text) and text.lower() not in _SPECIAL and resolve_plain(text) == text:
        return text
    return _UNPRINTABLE.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # YAML 1.1 takes 1e-08 for text; 1.0e-08 is a number to everyone.
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}"


def digest(recipe: Recipe) -> str:
    """SHA-256 (hex) of everything the recipe says; the same for equal recipes, wherever they came from."""
    return hashlib.sha256(to_yaml(recipe).encode("utf-8")).hexdigest()


def diff(old: Recipe, new: Recipe) -> list[str]:
    """What changed, one line per key, as `train.lr: 0.001 -> 0.0003`; a key that one of them lacks shows as (none)."""
    before, after = flatten(old), flatten(new)
    changed = []
    for path in [*before, *(p for p in after if p not in before)]:
        a, b = ((yaml_value(d[path]) if path in d else "(none)") for d in (before, after))
        if a != b:
            changed.append(f"{path}: {a} -> {b}")
    return changed
