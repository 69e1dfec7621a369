"""See attention weights, at no cost when nobody looks.

Fused kernels never hold the matrix of weights, so it cannot be hooked. `capture_attention` swaps the kernel function
of the wanted layers for one that computes and keeps the weights, and swaps it back when done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.nn.attention import Attention
from llmkit.nn.kernels import attention_weights, per_query_head
from llmkit.nn.masks import AttentionMask
from llmkit.nn.wiring import Stack


class _Recorder:
    """The eager kernel, keeping its weights under the layers it runs for, in turn (a shared block runs for several)."""

    def __init__(self, maps: dict[int, Tensor], layers: list[int], wanted: Collection[int]) -> None:
        self.maps = maps
        self.layers = layers
        self.wanted = wanted
        self.calls = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
        layer = self.layers[self.calls % len(self.layers)]
        self.calls += 1
        weights = attention_weights(q, k, mask, scale=scale)
        if layer in self.wanted:
            self.maps[layer] = weights.detach()
        return F.dropout(weights, dropout) @ per_query_head(v, q.shape[1])


@contextmanager
def capture_attention(model: nn.Module, layers: Collection[int] | None = None) -> Iterator[dict[int, Tensor]]:
    """Record attention weights of forward passes run inside the `with`.

    Yields a dictionary that each pass fills: layer -> (batch, heads, queries, keys), every row summing to 1 (also rows
    of padding, which mean nothing). The last pass wins. layers: which to keep, default all; memory is
    layers * batch * heads * seq^2. Other layers keep the fused kernel. Raises UsageError for a layer that is not there.
    """
    stack = next(module for module in model.modules() if isinstance(module, Stack))
    count = len(stack.blocks)
    wanted = range(count) if layers is None else layers
    for layer in wanted:
        if not 0 <= layer < count:
            raise UsageError(f"there is no layer {layer}; layers run from 0 to {count - 1}")
    runs: dict[Attention, list[int]] = {}
    for layer, block in enumerate(stack.blocks):
        for module in block.modules():
            if isinstance(module, Attention):
                runs.setdefault(module, []).append(layer)
    maps: dict[int, Tensor] = {}
    swapped = {m: m.kernel for m, its_layers in runs.items() if set(its_layers) & set(wanted)}
    try:
        for module in swapped:
            module.kernel = _Recorder(maps, runs[module], wanted)
        yield maps
    finally:
        for module, kernel in swapped.items():
            module.kernel = kernel
