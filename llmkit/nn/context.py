"""What every layer of one forward pass shares, computed once by the model and handed down the stack."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from llmkit.nn.cache import NO_CACHE, Cache
from llmkit.nn.masks import FREE, AttentionMask
from llmkit.nn.positions import NO_ROTATION, Rotation


@dataclass
class Memory:
    """What a decoder reads: hidden (batch, source, d_model) of an encoder, and which of its tokens are there."""

    hidden: Tensor
    mask: AttentionMask = FREE


@dataclass
class Context:
    """mask: who may look at whom; rotation: how heads are turned by position; cache: earlier keys and values.

    memory: what cross-attention reads. positions, key_positions (batch or 1, seq), key_mask (batch, keys), segments
    (batch, seq): where the tokens stand, for parts that make their own scores from it.
    layer: which block is running, counted by the Stack (a shared block runs under several numbers).
    """

    mask: AttentionMask = FREE
    rotation: Rotation = NO_ROTATION
    cache: Cache = NO_CACHE
    memory: Memory | None = None
    positions: Tensor | None = None
    key_positions: Tensor | None = None
    key_mask: Tensor | None = None
    segments: Tensor | None = None
    layer: int = 0
