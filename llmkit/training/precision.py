"""Matrix products in bfloat16 while weights, sums and softmaxes stay in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn

from llmkit.nn.attention import AttentionPart
from llmkit.nn.kernels import Kernel, fused_attention, stored_attention
from llmkit.nn.masks import AttentionMask

# Attention weights of a layer, over all examples and heads, that may be kept in memory for the backward pass.
MOST_WEIGHTS = 2**24


@contextmanager
def mixed_precision(model: nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside, `model` computes its linear layers in `dtype`; float32 changes nothing.

    On processors the fused kernel's backward pass is four times slower in bfloat16 (measured), which would eat all that
    the linear layers gain. There short sequences take `stored_attention`, with its products in `dtype`, and long ones
    the fused kernel in float32.
    """
    if dtype == torch.float32:
        yield
        return
    layers = [m for m in model.modules() if isinstance(m, AttentionPart)] if device.type == "cpu" else []
    before = [layer.kernel for layer in layers]
    for layer, kernel in zip(layers, before, strict=True):
        layer.kernel = on_processor(kernel)  # type: ignore[arg-type]  # functions are hashable
    try:
        with torch.autocast(device.type, dtype):
            yield
    finally:
        for layer, kernel in zip(layers, before, strict=True):
            layer.kernel = kernel


@lru_cache(maxsize=8)  # one function for one kernel: a compiled block is compiled anew for another
def on_processor(kernel: Kernel) -> Kernel:
    """The fused kernel as is fast in mixed precision on a processor; any other kernel in float32."""
    exact = in_float32(kernel)  # type: ignore[arg-type]

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
        fits = q.shape[:-1].numel() * k.shape[-2] <= MOST_WEIGHTS
        return (stored_attention if fits else exact)(q, k, v, mask, scale=scale, dropout=dropout)

    return attend if kernel is fused_attention else exact


@lru_cache(maxsize=8)
def in_float32(kernel: Kernel) -> Kernel:
    """The same attention kernel, computing in float32 whatever it is given."""

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            return kernel(q.float(), k.float(), v.float(), mask, scale=scale, dropout=dropout)

    return attend
