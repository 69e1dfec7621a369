"""A decoder that reads a long text segment by segment and remembers what its layers read before."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from llmkit.models.config import ModelConfig
from llmkit.models.shells import DecoderModel
from llmkit.nn.cache import NO_CACHE, Cache, KVCache
from llmkit.nn.context import Memory
from llmkit.nn.embeddings import Embeddings
from llmkit.nn.masks import make_mask
from llmkit.nn.memory import SegmentMemory
from llmkit.nn.positions import NO_ROTATION
from llmkit.nn.relative_attention import ONE_SEGMENT, DistanceSinusoids, RelativeContext
from llmkit.nn.streams import OneStream
from llmkit.nn.wiring import Stack


class RecurrentDecoder(DecoderModel):
    """A decoder whose attention knows distances only, so a text may go on in the next call (Dai et al. 2019).

    distances: what it knows of them. mem_len: tokens that a segment can look back beyond its first. Two things carry
    earlier segments: `new_memory` for training, and `new_cache`, which gives the same numbers with fewer operations
    while the weights stand still.
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
    ) -> Tensor:
        """As `Tower.encode`; cache also takes the memory of earlier segments. Of position_ids only differences count,
        and without them, tokens stand in a row, which is faster."""
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
