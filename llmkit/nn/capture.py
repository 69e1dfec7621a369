"""See attention weights, at no cost when nobody looks.

Fused kernels never hold the matrix of weights, so it cannot be hooked. `capture_attention` swaps the kernel function
of the wanted layers for one that computes and keeps the weights, and swaps it back when done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.nn.attention import AttentionPart
from llmkit.nn.kernels import attention_weights, per_query_head
from llmkit.nn.masks import AttentionMask
from llmkit.suggest import did_you_mean


@dataclass(frozen=True)
class Site:
    """Where a model attends: blocks by layer, and which attention in them ("itself" or "memory")."""

    blocks: nn.ModuleList
    looks_at: str = "itself"


class HasSites(Protocol):
    """A model that says where it attends; the first site is the one looked at unless another is asked for."""

    @property
    def attention_sites(self) -> Mapping[str, Site]: ...


class _Recorder:
    """The eager kernel of one attention part, keeping its weights for the layer that is running."""

    def __init__(self, part: AttentionPart, maps: dict[int, Tensor], wanted: Collection[int]) -> None:
        self.part = part
        self.maps = maps
        self.wanted = wanted
        self.layer = -1

    def enter(self, part: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Forward hook: a shared part runs for several layers, and only the context says for which."""
        self.layer = arguments[1].layer

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
        weights = attention_weights(q, k, mask, scale=scale)
        if self.layer in self.wanted:
            self.maps[self.layer] = self.part.as_map(weights.detach())
        return F.dropout(weights, dropout) @ per_query_head(v, q.shape[1])


@contextmanager
def capture_attention(
    model: HasSites, layers: Collection[int] | None = None, *, site: str | None = None
) -> Iterator[dict[int, Tensor]]:
    """Record attention weights of forward passes run inside the `with`.

    Yields a dictionary that each pass fills: layer -> (batch, heads, queries, keys), every row summing to 1 (also rows
    of padding, which mean nothing). The last pass wins. layers: which to keep, default all; memory is
    layers * batch * heads * queries * keys. site: which attention of the model ("self"; of an encoder-decoder
    "encoder", "decoder" or "cross"), default the first it names. Other layers keep the fused kernel.
    Raises UsageError for a layer or site that is not there.
    """
    sites = model.attention_sites
    name = next(iter(sites)) if site is None else site
    if name not in sites:
        hint = did_you_mean(name, sites) or f"there is {', '.join(sites)}"
        raise UsageError(f"this model has no attention called {name!r}", hint)
    blocks, looks_at = sites[name].blocks, sites[name].looks_at
    wanted = range(len(blocks)) if layers is None else layers
    for layer in wanted:
        if not 0 <= layer < len(blocks):
            raise UsageError(f"there is no layer {layer}; layers run from 0 to {len(blocks) - 1}")
    parts = {
        part
        for layer in wanted
        for part in blocks[layer].modules()
        if isinstance(part, AttentionPart) and part.looks_at == looks_at
    }
    maps: dict[int, Tensor] = {}
    kernels = {part: part.kernel for part in parts}
    hooks = []
    try:
        for part in parts:
            part.kernel = recorder = _Recorder(part, maps, wanted)
            hooks.append(part.register_forward_pre_hook(recorder.enter))
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
        for part, kernel in kernels.items():
            part.kernel = kernel
