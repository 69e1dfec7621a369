"""Models that know distances instead of positions, and remember what their layers read in earlier segments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig
from llmkit.models.shells import DecoderModel, EncoderModel
from llmkit.nn.cache import NO_CACHE, Cache, KVCache
from llmkit.nn.context import Memory
from llmkit.nn.embeddings import Embeddings
from llmkit.nn.masks import FREE, causal_pattern, make_mask
from llmkit.nn.memory import SegmentMemory
from llmkit.nn.positions import NO_ROTATION
from llmkit.nn.relative_attention import ONE_SEGMENT, DistanceSinusoids, RelativeContext, SegmentPairs
from llmkit.nn.streams import OneStream, TwoStreams
from llmkit.nn.wiring import Stack


class RecurrentDecoder(DecoderModel):
    """A decoder whose attention knows distances only, so a text may go on in the next call (Dai et al. 2019).

    distances: what it knows of them. mem_len: tokens that a segment can look back beyond its first. Two things carry
    earlier segments: `new_memory` for training, and `new_cache`, which gives the same numbers with fewer operations
    while the weights stand still.
    """

    limits_sight = False

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings,
        stack: Stack,
        head: nn.Module | None = None,
        *,
        distances: DistanceSinusoids,
        mem_len: int,
        dropout: float = 0.0,
        **more: Any,
    ) -> None:
        super().__init__(config, embeddings, stack, head, **more)
        self.distances = distances
        self.mem_len = mem_len
        self.dropout = nn.Dropout(dropout)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | SegmentMemory | None = None,
        memory: Memory | None = None,
        documents: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """As `Tower.encode`; cache also takes the memory of earlier segments. Of position_ids only differences count,
        and without them, tokens stand in a row, which is faster. documents and prefix are a UsageError."""
        if documents is not None or prefix is not None:
            raise UsageError("a model with a memory cannot keep documents apart, nor see a beginning both ways")
        kept: Cache = NO_CACHE if cache is None else cache
        past, queries = kept.length, input_ids.shape[1]
        self._check(input_ids, attention_mask, past)
        counted = self.embeddings.places(input_ids, attention_mask, past)
        positions = counted if position_ids is None else position_ids
        key_positions = kept.extend_positions(positions)
        x = self.embeddings(input_ids, positions, token_type_ids)
        keys = kept.held + queries
        mask = make_mask(
            queries,
            keys,
            causal=self.is_causal,
            window=self.window,
            key_mask=None if attention_mask is None else attention_mask[:, -keys:],
            score_bias=x.new_zeros(1, 1, queries, keys),
            dtype=x.dtype,
            device=x.device,
        )
        if position_ids is None:
            distances: Any = self.distances.counted(queries, keys, causal=True, like=x)
        else:
            distances = self.distances.between(positions, key_positions, causal=True, like=x)
        assert mask.bias is not None
        context = RelativeContext(
            mask=mask,
            # The compiler cannot trace a default that is an object.
            rotation=NO_ROTATION,
            cache=kept,
            distances=distances,
            streams=OneStream(mask.bias),
            pairs=ONE_SEGMENT,
        )
        hidden: Tensor = self.dropout(self.stack(x, context))
        kept.advance(queries)
        return hidden

    def new_memory(self) -> SegmentMemory:
        """An empty memory of earlier segments, for texts of any length and a batch of any size; give it as `cache`."""
        return SegmentMemory(len(self.stack.blocks), self.mem_len)

    def new_cache(self, batch_size: int, max_len: int) -> KVCache:
        """An empty cache for at most `max_len` tokens, of which a segment sees its own and `mem_len` before them.

        Not for training: it keeps keys and values that other weights would not have made.
        """
        window = self.mem_len + 1 if self.window is None else self.window
        return KVCache(len(self.stack.blocks), batch_size, max_len, window=window)


class TwoStreamModel(EncoderModel):
    """Guesses words at given places from any part of the text, in any order (Yang et al. 2019).

    distances: what it knows of them. mem_len, reuse_len: as in `SegmentMemory`. same_length: with left-to-right
    attention, every token sees as many tokens as the first one does. mask_embedding (d_model): what every place to be
    guessed begins with.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings,
        stack: Stack,
        head: nn.Module | None = None,
        *,
        distances: DistanceSinusoids,
        mem_len: int,
        reuse_len: int,
        same_length: bool = False,
        dropout: float = 0.0,
        **more: Any,
    ) -> None:
        super().__init__(config, embeddings, stack, head, **more)
        self.distances = distances
        self.mem_len = mem_len
        self.reuse_len = reuse_len
        self.same_length = same_length
        self.mask_embedding = nn.Parameter(torch.empty(embeddings.token.embedding_dim))
        self.dropout = nn.Dropout(dropout)

    def draw(self, std: float) -> None:
        nn.init.normal_(self.mask_embedding, std=std)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | SegmentMemory | None = None,
        memory: Memory | None = None,
        perm_mask: Tensor | None = None,
        target_mapping: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (batch, seq, d_model) of the text or, with target_mapping, (batch, places, d_model).

        attention_mask: (batch, seq), of this segment; what `cache` remembers may always be attended. perm_mask:
        (batch, seq, seq), above 0 where token i may not attend to token j. target_mapping: (batch, places, seq), 1
        where the word to be guessed at a place stands. Words always see themselves, whatever perm_mask says; for places
        it decides, so it must hide each word from the place that guesses it.
        """
        kept: Cache = NO_CACHE if cache is None else cache
        queries = input_ids.shape[1]
        self._check(input_ids, attention_mask, 0)
        positions = self.embeddings.places(input_ids, attention_mask, 0) if position_ids is None else position_ids
        key_positions = kept.extend_positions(positions)
        x = self.embeddings(input_ids, positions, None)
        keys = kept.held + queries
        hidden_keys = self._hidden_keys(queries, keys, attention_mask, perm_mask, x.device)
        itself = torch.eye(queries, dtype=torch.bool, device=x.device)
        # Words see at least themselves.
        mask = _bias(hidden_keys & ~nn.functional.pad(itself, (keys - queries, 0)), x.dtype)
        if position_ids is None:
            distances: Any = self.distances.counted(queries, keys, causal=self.is_causal, like=x)
        else:
            distances = self.distances.between(positions, key_positions, causal=self.is_causal, like=x)
        streams: Any = OneStream(mask)
        if target_mapping is not None:
            mapping = target_mapping.to(x.dtype)
            # A place that may look nowhere is the first in its order, with no word before it.
            blind = hidden_keys.all(-1, keepdim=True)
            streams = TwoStreams(mask, _bias(hidden_keys & ~blind, x.dtype), mapping, blind[:, None])
            places = self.mask_embedding.expand(*mapping.shape[:2], -1)
            x = torch.cat([x, self.dropout(places)], 1)
        context = RelativeContext(
            mask=FREE,
            rotation=NO_ROTATION,
            cache=kept,
            distances=distances,
            streams=streams,
            pairs=ONE_SEGMENT if token_type_ids is None else _pairs(token_type_ids, kept.held, x.dtype),
        )
        hidden = self.stack(x, context)
        kept.advance(queries)
        result: Tensor = self.dropout(streams.result(hidden))
        return result

    def new_memory(self) -> SegmentMemory:
        """An empty memory of earlier segments, for texts of any length and a batch of any size; give it as `cache`."""
        return SegmentMemory(len(self.stack.blocks), self.mem_len, reuse_len=self.reuse_len)

    def _check(self, input_ids: Tensor, attention_mask: Tensor | None, past: int) -> None:
        super()._check(input_ids, attention_mask, past)
        if input_ids.shape[0] % self.distances.directions:
            raise UsageError(
                f"a batch of {input_ids.shape[0]} texts cannot be halved; this model reads the second half backwards"
            )

    def _hidden_keys(
        self, queries: int, keys: int, attention_mask: Tensor | None, perm_mask: Tensor | None, device: torch.device
    ) -> Tensor:
        """(batch or 1, queries, keys) booleans, true where a place may not look."""
        allowed = torch.ones(1, queries, keys, dtype=torch.bool, device=device)
        if self.is_causal:
            allowed = allowed & causal_pattern(queries, keys, device)
            if self.same_length:
                allowed = allowed.triu()
        held = keys - queries
        if attention_mask is not None:
            allowed = allowed & nn.functional.pad(attention_mask != 0, (held, 0), value=True)[:, None]
        if perm_mask is not None:
            allowed = allowed & nn.functional.pad(perm_mask <= 0, (held, 0), value=True)
        return ~allowed


def _bias(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores, (batch or 1, 1, queries, keys)."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))[:, None]


def _pairs(segments: Tensor, held: int, dtype: torch.dtype) -> SegmentPairs:
    """segments (batch, seq); remembered tokens lie in segment 0."""
    key_segments = nn.functional.pad(segments, (held, 0))
    return SegmentPairs((segments[:, :, None] != key_segments[:, None, :]).to(dtype)[:, None])
