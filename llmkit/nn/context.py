"""What every layer of one forward pass shares, computed once by the model and handed down the stack."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.nn.cache import NO_CACHE, Cache
from llmkit.nn.masks import FREE, AttentionMask
from llmkit.nn.positions import NO_ROTATION, Rotation


@dataclass
class Context:
    """mask: who may look at whom; rotation: how heads are turned by position; cache: earlier keys and values.

    layer: which block is running, counted by the Stack (a shared block runs under several numbers).
    """

    mask: AttentionMask = FREE
    rotation: Rotation = NO_ROTATION
    cache: Cache = NO_CACHE
    layer: int = 0
