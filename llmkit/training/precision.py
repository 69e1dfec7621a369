"""Matrix products in bfloat16 while weights, sums and attention stay in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from llmkit.nn.attention import Attention
from llmkit.nn.kernels import Kernel
from llmkit.nn.masks import AttentionMask


@contextmanager
def mixed_precision(model: nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside, `model` computes its linear layers in `dtype`; float32 changes nothing.

    On processors attention itself stays in float32: the backward pass of the fused kernel is four times slower in
    bfloat16 there (measured), which would eat all that the linear layers gain.
    """
    if dtype == torch.float32:
        yield
        return
    layers = [m for m in model.modules() if isinstance(m, Attention)] if device.type == "cpu" else []
    before = [layer.kernel for layer in layers]
    for layer, kernel in zip(layers, before, strict=True):
        layer.kernel = in_float32(kernel)
    try:
        with torch.autocast(device.type, dtype):
            yield
    finally:
        for layer, kernel in zip(layers, before, strict=True):
            layer.kernel = kernel


def in_float32(kernel: Kernel) -> Kernel:
    """The same attention kernel, computing in float32 whatever it is given."""

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            return kernel(q.float(), k.float(), v.float(), mask, scale=scale, dropout=dropout)

    return attend
