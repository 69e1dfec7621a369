"""The model objects that families wire: embeddings, a stack, a head, and how one forward pass runs through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig
from llmkit.nn.cache import NO_CACHE, Cache, KVCache
from llmkit.nn.capture import Site
from llmkit.nn.context import Context, Memory
from llmkit.nn.embeddings import Embeddings
from llmkit.nn.heads import every_token
from llmkit.nn.masks import make_mask, places_in_documents
from llmkit.nn.positions import NoRotary, Rotary
from llmkit.nn.score_bias import NoBias
from llmkit.nn.wiring import Stack

# Which hidden states the head looks at: (hidden, ids, attention_mask) -> hidden.
Select = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


@dataclass
class Output:
    """logits: (batch, seq, vocab) or (batch, seq, labels), (batch, labels) from a classifier of texts, (batch, seq, 2)
    from a span head (start and end), (batch, seq, 1) from a replaced-token head, or hidden itself without a head.

    hidden: (batch, seq, d_model), after the last norm.
    """

    logits: Tensor
    hidden: Tensor


class Tower(nn.Module):
    """Embeddings and a stack of blocks: ids to hidden states.

    rotary, score_bias: how positions enter attention, where they do. window: tokens a causal query sees, itself
    included.
    """

    is_causal = False

    def __init__(
        self,
        embeddings: Embeddings,
        stack: Stack,
        *,
        is_causal: bool | None = None,
        rotary: Rotary | None = None,
        score_bias: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if is_causal is not None:
            self.is_causal = is_causal
        self.embeddings = embeddings
        self.stack = stack
        self.rotary = rotary or NoRotary()
        self.score_bias = score_bias or NoBias()
        self.window = window

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Hidden states (batch, seq, d_model) without the head.

        Shapes: input_ids, token_type_ids, position_ids (batch, seq); attention_mask (batch, seq), or
        (batch, past + seq) with a cache, 1 where a token may be attended. memory: what cross-attention reads.
        Raises UsageError for a text longer than the positions or the cache can hold.
        """
        return self._read(input_ids, attention_mask, token_type_ids, position_ids, cache, memory)

    def _read(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        cache: KVCache | None,
        memory: Memory | None,
        **sight: Tensor,
    ) -> Tensor:
        """What `encode` does; sight: as `make_mask` takes it."""
        kept: Cache = NO_CACHE if cache is None else cache
        past = kept.length
        self._check(input_ids, attention_mask, past)
        if position_ids is None:
            position_ids = self.embeddings.places(input_ids, attention_mask, past)
        key_positions = kept.extend_positions(position_ids)
        x = self.embeddings(input_ids, position_ids, token_type_ids)
        context = self._context(x, position_ids, key_positions, attention_mask, kept, **sight)
        context.segments, context.memory = token_type_ids, memory
        hidden: Tensor = self.stack(x, context)
        kept.advance(input_ids.shape[1])
        return hidden

    def _context(
        self,
        x: Tensor,
        positions: Tensor,
        key_positions: Tensor,
        attention_mask: Tensor | None,
        cache: Cache,
        **sight: Tensor,
    ) -> Context:
        """What all layers share; towers with an attention of their own replace it. sight: as `make_mask` takes it."""
        queries, keys = x.shape[1], cache.held + x.shape[1]
        key_mask = None if attention_mask is None else attention_mask[:, -keys:]
        mask = make_mask(
            queries,
            keys,
            causal=self.is_causal,
            window=self.window,
            key_mask=key_mask,
            **sight,
            score_bias=self.score_bias(positions, key_positions, x.dtype),
            dtype=x.dtype,
            device=x.device,
        )
        return Context(
            mask=mask,
            rotation=self.rotary.rotation(positions, key_positions, x.dtype),
            cache=cache,
            positions=positions,
            key_positions=key_positions,
            key_mask=key_mask,
        )

    @property
    def embedding_weight(self) -> Tensor:
        """The token embedding matrix (vocab, d_embed)."""
        return self.embeddings.token.weight

    def _check(self, input_ids: Tensor, attention_mask: Tensor | None, past: int) -> None:
        seq, limit = input_ids.shape[1], self.embeddings.limit
        if past + seq > limit:
            raise UsageError(
                f"the text is {past + seq} tokens long; this model has positions for {limit}",
                "shorten the text, or use a model with a longer context",
            )
        if attention_mask is not None and attention_mask.shape != (input_ids.shape[0], past + seq):
            raise UsageError(
                f"attention_mask is {tuple(attention_mask.shape)}; "
                f"it must be (batch, past + seq) = {(input_ids.shape[0], past + seq)}"
            )


class Model(Tower):
    """A tower with a head. Families that have no segments ignore token_type_ids.

    head: hidden (batch, seq, d_model) or any rows (n, d_model) -> logits.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings,
        stack: Stack,
        head: nn.Module | None = None,
        *,
        select: Select = every_token,
        **positions: Any,
    ) -> None:
        super().__init__(embeddings, stack, **positions)
        self.config = config
        self.head = head or nn.Identity()
        self.select = select

    @property
    def attention_sites(self) -> Mapping[str, Site]:
        """Where it attends, for `capture_attention`."""
        return {"self": Site(self.stack.blocks)}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        **more: Any,
    ) -> Output:
        """One pass; arguments as in `encode`.

        decoder_input_ids is what encoder-decoders take beside the others; given here, it is a UsageError.
        """
        if decoder_input_ids is not None:
            raise UsageError(
                "decoder_input_ids was given to a model that is not an encoder-decoder", "leave it out, or pass None"
            )
        hidden = self.encode(input_ids, attention_mask, token_type_ids, **more)
        return Output(logits=self.head(self.select(hidden, input_ids, attention_mask)), hidden=hidden)


class EncoderModel(Model):
    """Every token sees every other.

    pooler: (batch, seq, d_model) -> (batch, d_model); pair_head: (batch, seq, d_model) -> (batch, 2). Each exists only
    where the family and its head have one. positions: what `Tower` takes.
    """

    pooler: nn.Module
    pair_head: nn.Module

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings,
        stack: Stack,
        head: nn.Module | None = None,
        *,
        pooler: nn.Module | None = None,
        pair_head: nn.Module | None = None,
        **positions: Any,
    ) -> None:
        super().__init__(config, embeddings, stack, head, **positions)
        if pooler is not None:
            self.pooler = pooler
        if pair_head is not None:
            self.pair_head = pair_head


class DecoderModel(Model):
    """Every token sees itself and those before it; earlier keys and values can be cached.

    limits_sight: whether it can be told, by `documents` and `prefix`, to see less or more than that.
    """

    is_causal = True
    limits_sight = True

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
        memory: Memory | None = None,
        documents: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """As `Tower.encode`.

        documents: (batch, seq), the number of each token's document where several are packed into a row; they see
        nothing of each other, and positions begin anew in each. prefix: (batch,), how many tokens at the beginning of
        each row are seen both ways. Both are for the beginning of a text: with a cache, for an empty one.
        """
        if documents is None and prefix is None:
            return self._read(input_ids, attention_mask, token_type_ids, position_ids, cache, memory)
        assert cache is None or cache.length == 0, "what the cache holds was read without them"
        sight = {n: t for n, t in (("documents", documents), ("prefix", prefix)) if t is not None}
        if position_ids is None and documents is not None:
            position_ids = places_in_documents(documents)
        return self._read(input_ids, attention_mask, token_type_ids, position_ids, cache, memory, **sight)

    def new_cache(self, batch_size: int, max_len: int) -> KVCache:
        """An empty cache for `batch_size` rows of at most `max_len` tokens."""
        return KVCache(len(self.stack.blocks), batch_size, max_len, window=self.window)
