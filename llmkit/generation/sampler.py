"""From logits to the next token: small pure functions over logits (batch, vocab), and the order they apply in.

Order: repetition penalty, temperature, top-k, top-p, min-p, draw. A filter sets what it drops to -inf, always keeps the
likeliest token, and works on what the filters before it left. Definitions are those of transformers' logits
processors, so settings carry over unchanged.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from llmkit.generation.settings import Sampling

_COLD = 1e-4
_PREFIX = 512  # a full sort of 50k logits costs more than a small model's step; the nucleus is nearly always in here
_BLOCK = 256  # uniforms drawn at a time; part of what a seed means, so never change it


def repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens `seen` (batch, length) less likely: positive logits are divided by `penalty`, negative multiplied."""
    if penalty == 1.0:
        return logits
    scores = logits.gather(1, seen)
    return logits.scatter(1, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value` (above 0): below 1 sharpens the distribution, above 1 flattens it."""
    if value < _COLD:  # the quotients would overflow; differences from the highest go to -inf, which is meant
        return (logits - logits.amax(-1, keepdim=True)) / max(value, 1e-30)
    return logits if value == 1.0 else logits / value


def top_k(logits: Tensor, k: int | None) -> Tensor:
    """Keep the `k` highest logits, and all that tie with the last of them."""
    if k is None or k >= logits.shape[-1]:
        return logits
    lowest = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < lowest, -math.inf)


def top_p(logits: Tensor, p: float | None) -> Tensor:
    """Keep the fewest tokens whose mass reaches `p`: those with less than `p` above them. Of ties, the last stay."""
    if p is None or p >= 1.0:
        return logits
    log_total = logits.logsumexp(-1, keepdim=True)
    vocab = logits.shape[-1]
    size = min(_PREFIX, vocab)
    ranked = logits.topk(size).values
    kept = _nucleus_size(ranked, log_total, p)
    if size < vocab and bool((kept == size).any()):  # the mass is spread wider than the prefix
        ranked = logits.sort(-1, descending=True).values
        kept = _nucleus_size(ranked, log_total, p)
    lowest = ranked.gather(1, kept - 1)
    surplus = (logits >= lowest).sum(-1, keepdim=True) - kept
    dropped = logits < lowest
    if bool((surplus > 0).any()):
        tied = logits == lowest
        dropped |= tied & (tied.cumsum(-1) <= surplus)
    return logits.masked_fill(dropped, -math.inf)


def min_p(logits: Tensor, ratio: float | None) -> Tensor:
    """Keep tokens whose probability is at least `ratio` times that of the likeliest."""
    if not ratio:
        return logits
    lowest = logits.amax(-1, keepdim=True) + math.log(ratio)
    return logits.masked_fill(logits < lowest, -math.inf)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token per row, (batch,), by inverting the cumulative distribution at `uniforms` (batch,) in [0, 1).

    One uniform per token makes a draw independent of vocabulary size, batch and device; multinomial would use one
    per vocabulary entry and cost ten times as much.
    """
    cumulative = logits.softmax(-1, dtype=torch.float32).cumsum(-1)
    # right=True steps over entries of probability 0; float32 uniforms stop at 1 - 2**-24, so the product stays below
    # the total whatever the rounding.
    return torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0]


def next_token(logits: Tensor, seen: Tensor, uniforms: Tensor | None, settings: Sampling) -> Tensor:
    """Choose one token per row, (batch,), from float32 logits; `uniforms` is not used when greedy."""
    logits = repetition_penalty(logits, seen, settings.repetition_penalty)
    if settings.temperature == 0:
        return logits.argmax(-1)
    assert uniforms is not None, "sampling needs one uniform number per row"
    logits = temperature(logits, settings.temperature)
    logits = top_k(logits, settings.top_k)
    logits = top_p(logits, settings.top_p)
    logits = min_p(logits, settings.min_p)
    return draw(logits, uniforms)


class UniformStream:
    """The random numbers of one sample: a function of (seed, sample) alone, the same on every device."""

    def __init__(self, seed: int, sample: int) -> None:
        digest = hashlib.sha256(f"{seed}:{sample}".encode()).digest()
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        self._block: list[float] = []

    def __next__(self) -> float:
        if not self._block:
            self._block = torch.rand(_BLOCK, generator=self._generator).tolist()[::-1]
        return self._block.pop()


def _nucleus_size(ranked: Tensor, log_total: Tensor, p: float) -> Tensor:
    """Number of tokens to keep, (batch, 1), at least 1, given logits `ranked` from the highest down."""
    probabilities = (ranked - log_total).exp()
    above = probabilities.cumsum(-1) - probabilities
    return (above < p).sum(-1, keepdim=True).clamp_(min=1)
