"""Attention of every head on a text: run the model once, keep what is asked for, summarize the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmkit.errors import InputRefused
from llmkit.inspection.patterns import LINKS, Floats, Scores, score, score_across, strongest
from llmkit.inspection.tokens import Tokens

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel

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
    """What all heads did with one text. maps holds the (queries, keys) map of each head that was asked for.

    tokens: the queries; read: the keys, where they are those of another text (cross-attention), else None. pooled:
    layers left out because they look at a shortened text, whose positions are no words.
    """

    tokens: Tokens
    causal: bool
    heads: Mapping[tuple[int, int], Head]
    maps: Mapping[tuple[int, int], Floats]
    read: Tokens | None = None
    pooled: tuple[int, ...] = ()

    @property
    def keys(self) -> Tokens:
        """The tokens looked at."""
        return self.read or self.tokens

    @property
    def is_across(self) -> bool:
        return self.read is not None

    def most_peaked(self, count: int) -> list[Head]:
        """The heads that pick single keys most sharply, sink heads left out unless there is nothing else."""
        speaking = [h for h in self.heads.values() if h.scores.kind != "sink"] or list(self.heads.values())
        return sorted(speaking, key=lambda h: (-h.scores.peak, h.layer, h.index))[:count]


@dataclass(frozen=True)
class Look:
    """Which attention to look at: a site of the model (see `attention_sites`), and what an encoder-decoder writes.

    tokens: what a single stack or the encoder reads; written: what the decoder is given, for its sites.
    """

    tokens: Tokens
    site: str = "self"
    written: Tokens | None = None


def read_attention(model: AnyModel, look: Look, *, keep: Collection[tuple[int, int]] | None = None) -> Reading:
    """Run `model` on a text and describe every head; `keep` names the heads whose maps are returned (None: all).

    Memory: maps take layers x heads x queries x keys floats, so for long texts the model runs once for every layer,
    and what stays in memory are the maps named by `keep`.
    """
    if look.site not in model.attention_sites and look.written is None:
        look = replace(look, site=next(iter(model.attention_sites)))  # the encoder of such a family, by itself
    layers = len(model.attention_sites[look.site].blocks) if look.site in model.attention_sites else 1
    across = look.site == "cross"
    queries = look.tokens if look.written is None else look.written
    keys = look.tokens if across else queries
    causal = look.site == "decoder" or (look.site == "self" and model.is_causal)
    one_layer = model.config.n_heads * len(queries) * len(keys) * 4
    together = layers * one_layer <= _HOLD_BYTES
    described: dict[tuple[int, int], Head] = {}
    kept: dict[tuple[int, int], Floats] = {}
    pooled: list[int] = []
    for group in [list(range(layers))] if together else [[n] for n in range(layers)]:
        for layer, maps in _capture(model, look, group).items():
            # Streams that predict further ahead stand below the one that writes.
            maps = maps[:, : len(queries)]
            if maps.shape[1:] != (len(queries), len(keys)):
                pooled.append(layer)
                continue
            if not np.isfinite(maps).all():
                raise InputRefused(
                    f"the attention of layer {layer} is not finite", "the weights are damaged or diverged: --stats"
                )
            for index, weights in enumerate(maps):
                if across:
                    scores = score_across(weights, sinks=keys.sinks)
                else:
                    scores = score(weights, keys.ids, causal=causal, sinks=keys.sinks)
                links = strongest(weights, LINKS, causal=causal, sinks=keys.sinks, across=across)
                described[layer, index] = Head(layer, index, scores, tuple(links))
                if keep is None or (layer, index) in keep:
                    kept[layer, index] = weights
    if not described:
        raise InputRefused("every layer of this model looks at a shortened text, which has no words to show")
    return Reading(queries, causal, described, kept, keys if across else None, tuple(pooled))


def _capture(model: AnyModel, look: Look, layers: list[int]) -> dict[int, Floats]:
    """Maps (heads, queries, keys) of the named layers, as float32 on the host."""
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.nn.capture import capture_attention

    device = model.embedding_weight.device
    ids = torch.tensor([look.tokens.ids], device=device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), capture_attention(model, layers=layers, site=look.site) as maps:
            if not isinstance(model, EncoderDecoderModel):
                model.encode(ids)
            else:
                memory = model.remember(ids)
                if look.written is not None:
                    model.decode(torch.tensor([look.written.ids], device=device), memory)
        return {layer: np.ascontiguousarray(maps[layer][0].float().cpu().numpy()) for layer in layers}
    finally:
        model.train(was_training)
