"""Attention of every head on a text: run the model once, keep what is asked for, summarize the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmkit.errors import InputRefused
from llmkit.inspection.patterns import LINKS, Floats, Scores, score, strongest
from llmkit.inspection.tokens import Tokens

if TYPE_CHECKING:
    from llmkit.models.shells import Model

# Maps of all layers are held at once up to this; above it the model runs once per layer.
_HOLD_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Head:
    """One head on one text. links: its strongest (query, key, weight), no sinks, one per query."""

    layer: int
    index: int
    scores: Scores
    links: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class Reading:
    """What all heads did with one text. maps holds the (T, T) map of each head that was asked for."""

    tokens: Tokens
    causal: bool
    heads: Mapping[tuple[int, int], Head]
    maps: Mapping[tuple[int, int], Floats]

    def most_peaked(self, count: int) -> list[Head]:
        """The heads that pick single keys most sharply, sink heads left out unless there is nothing else."""
        speaking = [h for h in self.heads.values() if h.scores.kind != "sink"] or list(self.heads.values())
        return sorted(speaking, key=lambda h: (-h.scores.peak, h.layer, h.index))[:count]


def read_attention(
    model: Model, tokens: Tokens, *, causal: bool, keep: Collection[tuple[int, int]] | None = None
) -> Reading:
    """Run `model` on `tokens` and describe every head; `keep` names the heads whose maps are returned (None: all).

    Memory: maps take layers x heads x T x T floats, so for long texts the model runs once for every layer, and
    what stays in memory are the maps named by `keep`.
    """
    layers, heads, total = model.config.n_layers, model.config.n_heads, len(tokens)
    one_layer = heads * total * total * 4
    together = layers * one_layer <= _HOLD_BYTES
    described: dict[tuple[int, int], Head] = {}
    kept: dict[tuple[int, int], Floats] = {}
    for group in [list(range(layers))] if together else [[n] for n in range(layers)]:
        for layer, maps in _capture(model, tokens, group).items():
            if not np.isfinite(maps).all():
                raise InputRefused(
                    f"the attention of layer {layer} is not finite", "the weights are damaged or diverged: --stats"
                )
            for index, weights in enumerate(maps):
                scores = score(weights, tokens.ids, causal=causal, sinks=tokens.sinks)
                links = strongest(weights, LINKS, causal=causal, sinks=tokens.sinks)
                described[layer, index] = Head(layer, index, scores, tuple(links))
                if keep is None or (layer, index) in keep:
                    kept[layer, index] = weights
    return Reading(tokens, causal, described, kept)


def _capture(model: Model, tokens: Tokens, layers: list[int]) -> dict[int, Floats]:
    """Maps (heads, T, T) of the named layers, as float32 on the host."""
    from llmkit.nn.capture import capture_attention

    ids = torch.tensor([tokens.ids], device=model.embedding_weight.device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), capture_attention(model, layers=layers) as maps:
            model.encode(ids)
        return {layer: np.ascontiguousarray(maps[layer][0].float().cpu().numpy()) for layer in layers}
    finally:
        model.train(was_training)
