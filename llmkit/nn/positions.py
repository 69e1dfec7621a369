"""Where a token stands: rotary positions with every scaling that LLaMA checkpoints use (RoFormer, Su et al. 2021).

A rotation turns each pair (j, j + half) of a head by an angle position * frequency_j ("half-split" pairing, as Hugging
Face stores weights). Angles are computed once per forward pass, in float32 whatever the weights are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Turn = Callable[[Tensor, Tensor, Tensor], Tensor]  # heads, cos, sin -> heads


class Rotation(Protocol):
    """Turns query and key heads (batch, seq, heads, head_dim), before or after keys pass through the cache."""

    def before_cache(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]: ...

    def after_cache(self, k: Tensor) -> Tensor: ...


class NoRotation:
    """Positions enter elsewhere."""

    def before_cache(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return q, k

    def after_cache(self, k: Tensor) -> Tensor:
        return k


NO_ROTATION = NoRotation()


class FixedRotation:
    """Angles depend on the position alone: keys are turned once and cached turned.

    cos, sin: (batch or 1, seq, 1, head_dim); the first half of sin is negated, see `turn`. turn: how heads are turned.
    """

    def __init__(self, cos: Tensor, sin: Tensor, *, turn: Turn) -> None:
        self.cos = cos
        self.sin = sin
        self.turn = turn

    def before_cache(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.turn(q, self.cos, self.sin), self.turn(k, self.cos, self.sin)

    def after_cache(self, k: Tensor) -> Tensor:
        return k


class LateRotation(FixedRotation):
    """Angles change with the length of the text: keys are cached unturned, and all are turned in every pass.

    Costs a pass over the cached keys, but makes cached decoding equal the full pass when the text outgrows the
    context it was pretrained with. key_cos, key_sin: like cos and sin, for every key.
    """

    def __init__(self, cos: Tensor, sin: Tensor, key_cos: Tensor, key_sin: Tensor, *, turn: Turn) -> None:
        super().__init__(cos, sin, turn=turn)
        self.key_cos = key_cos.transpose(1, 2)  # cached keys have their heads in front of the sequence
        self.key_sin = key_sin.transpose(1, 2)

    def before_cache(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.turn(q, self.cos, self.sin), k

    def after_cache(self, k: Tensor) -> Tensor:
        return self.turn(k, self.key_cos, self.key_sin)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (j, j + half) of the last dimension; sin carries the sign, so a roll replaces negate-and-join."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


def turn_first(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate as many numbers of each head as there are angles; the others stay as they are."""
    width = cos.shape[-1]
    return torch.cat((turn(x[..., :width], cos, sin), x[..., width:]), -1)


class NoRotary:
    """The null object of `Rotary`."""

    def rotation(self, positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Rotation:
        return NO_ROTATION


class Rotary:
    """Rotary positions for heads `head_dim` wide.

    theta: base of the wavelengths. scaling: a table {'rope_type': kind, ...} as llmkit.models.rope leaves it.
    max_seq_len: the context the model is made for; what "beyond" means to the dynamic kind.
    """

    turn: Turn = staticmethod(turn)

    def __init__(
        self, head_dim: int, *, theta: float = 10000.0, scaling: Mapping[str, Any] | None = None, max_seq_len: int
    ) -> None:
        self.head_dim = head_dim
        self.theta = theta
        self.scaling = dict(scaling or {"rope_type": "default"})
        self.max_seq_len = max_seq_len
        # Plain attributes on the CPU, not buffers: `.half()` must not round them, the meta device not lose them.
        self.frequencies, self.magnitude = FREQUENCIES[self.scaling["rope_type"]](self)
        self.changes_with_length = self.scaling["rope_type"] in ("dynamic", "longrope")

    def rotation(self, positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Rotation:
        """The rotation for tokens at `positions` (batch or 1, seq), whose keys stand at `key_positions`."""
        frequencies = self._at_length(positions)
        cos, sin = self._angles(positions, frequencies, dtype)
        if not self.changes_with_length:
            return FixedRotation(cos, sin, turn=self.turn)
        return LateRotation(cos, sin, *self._angles(key_positions, frequencies, dtype), turn=self.turn)

    def _at_length(self, positions: Tensor) -> Tensor:
        """Frequencies (head_dim / 2,) for a text that reaches the largest of the positions."""
        frequencies = self.frequencies.to(positions.device)
        if not self.changes_with_length:
            return frequencies
        length = positions.max() + 1
        beyond = _BEYOND[self.scaling["rope_type"]]
        limit, long = beyond(self, length)
        return torch.where(length > limit, long, frequencies)

    def _angles(self, positions: Tensor, frequencies: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        angles = positions[..., None].float() * frequencies
        cos, sin = angles.cos() * self.magnitude, angles.sin() * self.magnitude
        return torch.cat((cos, cos), -1).to(dtype)[:, :, None], torch.cat((-sin, sin), -1).to(dtype)[:, :, None]


class PartialRotary(Rotary):
    """Rotary positions for the first numbers of each head only (GPT-J, GPT-NeoX).

    head_dim: how many; an odd number is rounded up to whole pairs, but wavelengths follow from the number itself.
    """

    turn: Turn = staticmethod(turn_first)


def _plain(head_dim: int, theta: float, device: torch.device | str = "cpu") -> Tensor:
    """theta ** -(2 j / head_dim) for each pair j."""
    return 1.0 / _slowness(head_dim, theta, device)


def _slowness(head_dim: int, theta: float, device: torch.device | str = "cpu") -> Tensor:
    """theta ** (2 j / head_dim), the inverse. The device is named so that building on meta still computes.

    What scalings do to it is done in the order that transformers does it: at position 1000, the last bit of the fastest
    frequency is 0.00006 of an angle.
    """
    return theta ** (torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)


def _default(r: Rotary) -> tuple[Tensor, float]:
    return _plain(r.head_dim, r.theta), 1.0


def _linear(r: Rotary) -> tuple[Tensor, float]:
    """Position interpolation (Chen et al. 2023): every position divided by the factor."""
    return _plain(r.head_dim, r.theta) / r.scaling["factor"], 1.0


def _proportional(r: Rotary) -> tuple[Tensor, float]:
    """Only the first part of the pairs turns, the others stand still."""
    turning = int(r.scaling.get("partial_rotary_factor", 1.0) * r.head_dim // 2)
    frequencies = _plain(r.head_dim, r.theta)
    frequencies[turning:] = 0.0
    return frequencies / r.scaling.get("factor", 1.0), 1.0


def _yarn(r: Rotary) -> tuple[Tensor, float]:
    """YaRN (Peng et al. 2023): slow pairs are interpolated, fast ones kept, a ramp between; scores sharpened."""
    s = r.scaling
    original = s["original_max_position_embeddings"]
    factor = s.get("factor") or r.max_seq_len / original

    def sharpening(weight: float = 1.0) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    magnitude = s.get("attention_factor")
    if magnitude is None:
        both = s.get("mscale") and s.get("mscale_all_dim")
        magnitude = sharpening(s["mscale"]) / sharpening(s["mscale_all_dim"]) if both else sharpening()

    def pair_that_turns(times: float) -> float:
        return r.head_dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(r.theta))

    low, high = pair_that_turns(s.get("beta_fast", 32)), pair_that_turns(s.get("beta_slow", 1))
    if s.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, r.head_dim - 1)
    high = high + 0.001 if low == high else high
    pairs = torch.arange(r.head_dim // 2, device="cpu", dtype=torch.float32)
    kept = 1 - ((pairs - low) / (high - low)).clamp(0, 1)
    slowness = _slowness(r.head_dim, r.theta)
    return 1.0 / (factor * slowness) * (1 - kept) + 1.0 / slowness * kept, magnitude


def _longrope(r: Rotary) -> tuple[Tensor, float]:
    """LongRoPE (Ding et al. 2024): a searched factor for each pair, one set for short texts and one for long."""
    s = r.scaling
    original = s["original_max_position_embeddings"]
    factor = s.get("factor") or r.max_seq_len / original
    usual = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    magnitude = s.get("attention_factor")
    short = torch.tensor(s["short_factor"], device="cpu", dtype=torch.float32)
    return 1.0 / (short * _slowness(r.head_dim, r.theta)), usual if magnitude is None else magnitude


def _llama3(r: Rotary) -> tuple[Tensor, float]:
    """LLaMA 3.1: wavelengths longer than the old context are stretched, short ones kept, those between blended."""
    s = r.scaling
    frequencies = _plain(r.head_dim, r.theta)
    turns = s["original_max_position_embeddings"] / (2 * math.pi / frequencies)  # over the old context
    kept = ((turns - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])).clamp(0, 1)
    return (1 - kept) * frequencies / s["factor"] + kept * frequencies, 1.0


def _dynamic_beyond(r: Rotary, length: Tensor) -> tuple[int, Tensor]:
    """Dynamic NTK: past the context, the base grows with the length so that the slowest pair just fits."""
    factor, d = r.scaling["factor"], r.head_dim
    reach = length.clamp(min=r.max_seq_len) / r.max_seq_len
    theta = r.theta * (factor * reach - (factor - 1)) ** (d / (d - 2))
    exponents = torch.arange(0, d, 2, device=length.device, dtype=torch.float32) / d
    return r.max_seq_len, 1.0 / theta**exponents


def _longrope_beyond(r: Rotary, length: Tensor) -> tuple[int, Tensor]:
    long = torch.tensor(r.scaling["long_factor"], device=length.device, dtype=torch.float32)
    return r.scaling["original_max_position_embeddings"], 1.0 / (long * _slowness(r.head_dim, r.theta, length.device))


FREQUENCIES = {
    "default": _default,
    "linear": _linear,
    "dynamic": _default,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}
_BEYOND = {"dynamic": _dynamic_beyond, "longrope": _longrope_beyond}
