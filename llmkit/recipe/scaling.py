"""One dial, `--size`: width, depth, heads, learning rate, batch and tokens of any family, from a number of parameters.

What each comes from:
- tokens: 20 for each parameter that works on a token (Hoffmann et al. 2022, arXiv:2203.15556, "Chinchilla").
- shape: width / depth = 64, as in GPT-2 small and BERT-base; heads are 64 wide. Between 32 and 128 the shape hardly
  matters (Kaplan et al. 2020, arXiv:2001.08361), so the depth that hits the number wins.
- learning rate and batch: power laws in the compute C = 6 N D, 0.3118 C^-0.125 and 0.2920 C^0.3271 tokens (DeepSeek
  LLM, Bi et al. 2024, arXiv:2401.02954). A batch fixed by hand moves the rate by its square root (Malladi et al. 2022,
  arXiv:2205.10287). Muon's updates have the size of AdamW's (Liu et al. 2025, arXiv:2502.16982), so it shares the rate.
- families with norms after the residual sum take half the rate: what BERT, RoBERTa and ELECTRA published lies between
  a quarter and all of what the law says for their compute. They warm up longer, too (RoBERTa: 6 % of the steps).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.errors import UsageError
from llmkit.models.family import Family
from llmkit.models.registry import load_family
from llmkit.recipe.parameters import Counts
from llmkit.recipe.shaping import choose_shape, digits
from llmkit.suggest import nearest

# Turc et al. 2019 (arXiv:1908.08962) call 29 M and 110 M small and base; mini is what two cores train overnight.
SIZES = {"mini": 3_000_000, "small": 30_000_000, "base": 110_000_000}
SMALLEST, LARGEST = 50_000, 10**12
TOKENS_PER_PARAMETER = 20
MICRO_TOKENS = 2**14  # of one forward pass, until --auto-batch says what fits
# Four passes over a text teach almost as much as new text does (Muennighoff et al. 2023, arXiv:2305.16264).
MOST_PASSES, TOKENS_PER_STORY, MOST_STORIES = 4, 110, 2_000_000


@dataclass(frozen=True)
class Scaled:
    """What the dial sets, by dotted key, and what for: parameters in all and at work on a token, and tokens."""

    values: Mapping[str, Any]
    counts: Counts
    tokens: int


def parse_size(text: str) -> int:
    """`mini`, `30M`, `1.5B` or `125000000` as a number of parameters. Raises UsageError."""
    word = text.strip().lower()
    if word in SIZES:
        return SIZES[word]
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmbgt]?)", word.replace("_", ""))
    if not found or len(word) > 40:
        near = nearest(word, SIZES)
        named = ", ".join(f"{name} ({n / 1e6:.0f}M)" for name, n in SIZES.items())
        hint = f"did you mean {near[0]}?" if near else f"write {named}, or parameters such as 30M or 1.5B"
        raise UsageError(f"--size {text[:40]!r} is no size", hint)
    n = round(float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}[found[2]])
    if not SMALLEST <= n <= LARGEST:
        raise UsageError(f"--size {text[:40]} is out of range", "sizes go from 50K to 1T parameters")
    return n


def scale(target: int, values: Mapping[str, Any], *, given: Collection[str], fixed: Collection[str]) -> Scaled:
    """The settings of a model with about `target` parameters, and of its training.

    values: the recipe's, checked, by dotted key, with model.family. given: keys the recipe states, whose proportions
    are kept. fixed: keys that a flag set; they stay, and the rest is chosen around them.
    Raises UsageError when no legal model comes near.
    """
    family = load_family(values["model.family"])
    shape, counts = choose_shape(family, target, values, given, fixed)
    return Scaled({**shape, **_training(family, counts, values, shape, fixed)}, counts, _tokens(counts))


def _tokens(counts: Counts) -> int:
    return TOKENS_PER_PARAMETER * counts.active


def _training(
    family: Family, counts: Counts, values: Mapping[str, Any], shape: Mapping[str, Any], fixed: Collection[str]
) -> dict[str, Any]:
    """The train section, and how many stories to write if the text is those."""
    n, seq_len = counts.active, _seq_len(values)
    steps = values["train.steps"] if "train.steps" in fixed else None
    pinned = {k: values[f"train.{k}"] for k in ("batch_size", "accumulate") if f"train.{k}" in fixed}
    tokens = float(_tokens(counts))
    if steps is not None:  # D = steps x B and B = 0.292 (6 N D)^0.3271 together
        in_all = pinned["batch_size"] * pinned["accumulate"] * seq_len if len(pinned) == 2 else 0
        batch = in_all or (0.2920 * (6.0 * n * steps) ** 0.3271) ** (1 / (1 - 0.3271))
        tokens = steps * batch
    compute = 6.0 * n * tokens
    usual = 0.2920 * compute**0.3271
    examples = _round_batch(usual / seq_len)
    batch_size, accumulate = _split(examples, seq_len, pinned)
    in_step = batch_size * accumulate * seq_len
    steps = steps or max(1, round(digits(tokens / in_step, 3)))
    after = family.sizing.norm_after
    rate = 0.3118 * compute**-0.125 * math.sqrt(in_step / usual) * (0.5 if after else 1)
    warmup = min(2000, max(10, steps * (6 if after else 2) // 100), steps)
    found: dict[str, Any] = {
        "train.steps": steps,
        "train.batch_size": batch_size,
        "train.accumulate": accumulate,
        "train.lr": digits(rate, 2),
        "train.warmup_steps": warmup,
    }
    if values.get("data.train") == "stories":
        enough = math.ceil(digits(steps * in_step / MOST_PASSES / TOKENS_PER_STORY, 2))
        found["data.stories"] = min(MOST_STORIES, max(values["data.stories"], enough))
    return {path: value for path, value in found.items() if path not in fixed}


def _split(examples: int, seq_len: int, pinned: Mapping[str, int]) -> tuple[int, int]:
    """Examples of a step as (batch_size, accumulate), with no more tokens in one pass than a small machine takes."""
    if "batch_size" in pinned:
        return pinned["batch_size"], pinned.get("accumulate") or max(1, round(examples / pinned["batch_size"]))
    if "accumulate" in pinned:
        return max(1, round(examples / pinned["accumulate"])), pinned["accumulate"]
    most = max(1, MICRO_TOKENS // seq_len)
    batch_size = next(n for n in range(min(most, examples), 0, -1) if examples % n == 0)
    return batch_size, examples // batch_size


def _round_batch(examples: float) -> int:
    """The nearest of 8, 12, 16, 24, 32, 48, ...: numbers that divide well."""
    sizes = [m * 2**k for k in range(3, 25) for m in (1.0, 1.5)]
    return int(min(sizes, key=lambda n: abs(math.log(n / max(examples, 1e-9)))))


def _seq_len(values: Mapping[str, Any]) -> int:
    longest = values.get("model.max_seq_len")
    return int(min(values["train.seq_len"], longest) if longest else values["train.seq_len"])
