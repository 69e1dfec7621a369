"""How to choose the next token. Free of torch, so that a wrong flag is refused before anything slow is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of one generation; `temperature` 0 is greedy.

    max_tokens: most tokens drawn for one sample.
    top_k, top_p, min_p: keep the k likeliest; the smallest set of mass p (Holtzman et al. 2019, arXiv:1904.09751);
        those at least min_p times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082). None is off.
    repetition_penalty: above 1 makes tokens of prompt and text less likely (Keskar et al. 2019, arXiv:1909.05858).
    seed: sample i draws from a generator of its own, seeded by (seed, i): the batch it shares changes nothing.

    Raises UsageError naming the setting, its value and its range.
    """

    max_tokens: int = 128
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = 0.95
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, self.max_tokens >= 1, "1 or more")
        _require("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 (greedy) or more")
        _require("top_k", self.top_k, self.top_k is None or self.top_k >= 1, "1 or more")
        _require("top_p", self.top_p, self.top_p is None or 0 < self.top_p <= 1, "above 0, at most 1")
        _require("min_p", self.min_p, self.min_p is None or 0 <= self.min_p <= 1, "from 0 to 1")
        # Beyond these bounds logits would overflow; 2 is already extreme.
        _require(
            "repetition_penalty",
            self.repetition_penalty,
            0.01 <= self.repetition_penalty <= 100,
            "from 0.01 to 100 (1 is off)",
        )


def _require(name: str, value: object, is_legal: bool, legal: str) -> None:
    if not is_legal:
        raise UsageError(f"{name} is {value}", f"use a value {legal}")
