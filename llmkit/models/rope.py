"""Rotary scaling kinds as config.json stores them: what each needs, checked and completed. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig, setting
from llmkit.models.hf_config import HfConfig
from llmkit.suggest import did_you_mean

# kind -> (needed, optional); the sums behind each are in llmkit.nn.positions.
ROPE_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), ()),
    "yarn": (
        (),
        ("factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
    "longrope": (("short_factor", "long_factor"), ("factor", "attention_factor")),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), ()),
    "proportional": ((), ("factor", "partial_rotary_factor")),
}
_WITH_ORIGINAL = ("yarn", "longrope", "llama3")
_ORIGINAL = "original_max_position_embeddings"


@dataclass(frozen=True, kw_only=True)
class RotaryConfig(ModelConfig):
    """Settings of families with rotary positions.

    rope_scaling is the table that config.json stores, e.g. {rope_type: linear, factor: 2}.
    """

    rope_theta: float = setting(10000.0, low=1.0, high=1e12, help="base of the rotary wavelengths")
    rope_scaling: Mapping[str, Any] | None = setting(None, help="how rotary positions are stretched; none: not at all")

    def __post_init__(self) -> None:
        super().__post_init__()
        in_pairs = (self.rotary_width + 1) // 2 * 2
        if in_pairs > self.head_dim:
            raise UsageError(f"head_dim is {self.head_dim}; rotary positions turn pairs, so it must be even")
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, Mapping):
            raise UsageError(f"rope_scaling is {self.rope_scaling!r}; it must be a table with 'rope_type'")
        scaling = standard_scaling(self.rope_scaling, head_dim=in_pairs, max_seq_len=self.max_seq_len)
        object.__setattr__(self, "rope_scaling", scaling)

    @property
    def rotary_width(self) -> int:
        """How many numbers of each head are turned, before rounding up to pairs."""
        return self.head_dim


def standard_scaling(scaling: Mapping[str, object] | None, *, head_dim: int, max_seq_len: int) -> dict[str, Any] | None:
    """The scaling as {'rope_type': kind, ...} holding only keys that the kind computes with; None for the default.

    Kinds that remember the context they were pretrained with get it filled in (`max_seq_len` unless stored).
    Raises UsageError naming the key for a missing, mistyped or out of range entry.
    """
    if not scaling:
        return None
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if not isinstance(kind, str) or kind not in ROPE_KINDS:
        hint = did_you_mean(str(kind), ROPE_KINDS) or f"the kinds are {', '.join(ROPE_KINDS)}"
        raise UsageError(f"rope_type is {str(kind)[:60]!r}, which is no kind of rotary scaling", hint)
    if kind == "default":
        return None
    needed, optional = ROPE_KINDS[kind]
    kept: dict[str, Any] = {"rope_type": kind}
    for key in (*needed, *optional):
        value = scaling.get(key)
        if value is not None:
            kept[key] = _checked(key, value, half=head_dim // 2)
        elif key in needed:
            raise UsageError(f"rotary scaling {kind!r} needs {key!r}, which is missing")
    if kind in _WITH_ORIGINAL:
        original = scaling.get(_ORIGINAL)
        original = max_seq_len if original is None else original
        if not isinstance(original, int) or isinstance(original, bool) or not 2 <= original <= 2**24:
            raise UsageError(f"{_ORIGINAL} is {original!r}; it must be a whole number between 2 and {2**24}")
        kept[_ORIGINAL] = original
    if kind == "llama3" and not kept["high_freq_factor"] > kept["low_freq_factor"]:
        raise UsageError(f"high_freq_factor is {kept['high_freq_factor']}; it must be above low_freq_factor")
    if kind == "dynamic" and head_dim <= 2:
        raise UsageError(f"rotary scaling 'dynamic' needs heads wider than 2; head_dim is {head_dim}")
    return kept


def _checked(key: str, value: object, *, half: int) -> Any:
    if key in ("short_factor", "long_factor"):
        if not isinstance(value, (list, tuple)) or len(value) != half or not all(_positive(v) for v in value):
            raise UsageError(f"{key} must be a list of {half} positive numbers, one per rotated pair of a head")
        return [float(v) for v in value]
    if key == "truncate":
        if not isinstance(value, bool):
            raise UsageError(f"truncate is {value!r}; it must be true or false")
        return value
    low = 0.0 if key == "partial_rotary_factor" else None
    if not _positive(value) and not (low is not None and value == low):
        raise UsageError(f"{key} is {value!r}; it must be a positive number")
    if key == "partial_rotary_factor" and float(value) > 1:  # type: ignore[arg-type]  # checked just above
        raise UsageError(f"partial_rotary_factor is {value!r}; it must be between 0 and 1")
    return value


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def rope_from_hf(r: HfConfig, *, theta: float = 10000.0) -> dict[str, Any]:
    """rope_theta and rope_scaling of a family that rotates whole heads; theta: what it assumes of silent files."""
    table = rope_table(r)
    both = HfConfig({**r.raw, **table}, r.title)
    if table.get("rope_type", table.get("type")) == "proportional":
        table["partial_rotary_factor"] = both.number("partial_rotary_factor", default=1.0)
    else:
        both.refuse("partial_rotary_factor", 1, 1.0, because="this family rotates whole heads")
    return {"rope_theta": float(both.number("rope_theta", default=theta)), "rope_scaling": table}


def rope_table(r: HfConfig) -> dict[str, Any]:
    """Rotary settings as stored. transformers 5 writes one table `rope_parameters`; older files have `rope_theta` and
    a table `rope_scaling`, which wins where both are."""
    key = "rope_scaling" if r.raw.get("rope_scaling") else "rope_parameters"
    table = r.get(key, default={})
    if not isinstance(table, Mapping):
        raise r.wrong(key, table, "a table")
    if any(isinstance(entry, Mapping) for entry in table.values()):
        raise r.wrong(key, table, "one table for all layers")
    outside = r.whole("original_max_position_embeddings", default=None)
    # Beside the table, it wins in transformers too.
    return {**table} if outside is None else {**table, "original_max_position_embeddings": outside}


def rope_to_hf(c: RotaryConfig, **more: object) -> dict[str, object]:
    """The table that transformers 5 reads; more: further entries, where the scaling has none of that name."""
    table = {"rope_type": "default", "rope_theta": c.rope_theta, **more} | dict(c.rope_scaling or {})
    return {"rope_parameters": table}
