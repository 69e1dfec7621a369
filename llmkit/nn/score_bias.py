"""Positions as numbers added to attention scores: ALiBi and the bucketed distances of T5."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from llmkit.nn.linear import Embedding


class NoBias(nn.Module):
    """Positions enter elsewhere.

    All biases are called with positions of queries and keys (batch or 1, queries / keys) and give (batch or 1, heads,
    queries, keys), or None for nothing.
    """

    def forward(self, positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> None:
        return None


class Alibi(nn.Module):
    """Scores fall off linearly with distance, at a slope of its own in each head (Press et al. 2021).

    Slopes are 2^(-8 i / n) for n heads, a power of two; other numbers of heads take every second slope of twice that
    power for the rest. Nothing is learned, so texts may be longer than any in training. scale: a factor on all of it
    (Falcon divides it like the scores, by sqrt(head_dim)).
    """

    def __init__(self, n_heads: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        whole = 2 ** math.floor(math.log2(n_heads))
        slopes = [2 ** (-8 * i / whole) for i in range(1, whole + 1)]
        slopes += [2 ** (-4 * i / whole) for i in range(1, 2 * (n_heads - whole) + 1, 2)]
        self.slopes = torch.tensor(slopes, device="cpu")  # no buffer: it must survive .half() and the meta device

    def forward(self, positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Tensor:
        distance = (key_positions[:, None, :] - positions[:, :, None])[:, None]
        slopes = (self.slopes * self.scale).to(distance.device)[None, :, None, None]
        return (slopes * distance).to(dtype)

    def extra_repr(self) -> str:
        return f"heads={len(self.slopes)}"


class CoarseAlibi(Alibi):
    """ALiBi as models trained in bfloat16 know it: slopes, and their products with the key's position, rounded to it.

    Adding a number per key is the same to softmax as falling off with distance, but not the rounding: from position
    256 on, neighbouring keys share one number. Shape: (batch or 1, heads, 1, keys).
    """

    def forward(self, positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Tensor:
        slopes = self.slopes.to(key_positions.device, torch.bfloat16)[None, :, None, None]
        return (slopes * key_positions[:, None, None]).to(dtype) * self.scale


class RelativeBias(nn.Module):
    """A learned number for each head and each bucket of distances, shared by all layers of a stack (T5, Raffel 2020).

    Half of the buckets are single distances, the other half grow logarithmically up to `max_distance`; everything
    beyond falls into the last. two_way: keys behind and ahead have buckets of their own (encoders); otherwise keys
    ahead share the bucket of distance 0, which a causal mask hides.
    """

    def __init__(self, n_heads: int, *, n_buckets: int, max_distance: int, two_way: bool) -> None:
        super().__init__()
        self.table = Embedding(n_buckets, n_heads)
        self.n_buckets = n_buckets
        self.max_distance = max_distance
        self.two_way = two_way

    def forward(self, positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Tensor:
        ahead = key_positions[:, None, :] - positions[:, :, None]
        # Laid out once for the kernels of all layers.
        return self.table(self.buckets(ahead)).permute(0, 3, 1, 2).contiguous().to(dtype)

    def buckets(self, ahead: Tensor) -> Tensor:
        """Bucket of each distance; `ahead` is the key's position minus the query's."""
        n, first = self.n_buckets, torch.zeros_like(ahead)
        if self.two_way:
            n //= 2
            first = (ahead > 0) * n
            distance = ahead.abs()
        else:
            distance = (-ahead).clamp(min=0)
        single = n // 2
        # Float32 and this order of operations decide the bucket of a distance that falls on a boundary.
        ratio = torch.log(distance.clamp(min=1).float() / single) / math.log(self.max_distance / single)
        grown = single + (ratio * (n - single)).long()
        # Where max_distance is at most `single`, the logarithm above says nothing; 0 is at least a bucket.
        return first + torch.where(distance < single, distance, grown.clamp(0, n - 1))

    def extra_repr(self) -> str:
        return f"buckets={self.n_buckets}, max_distance={self.max_distance}"
