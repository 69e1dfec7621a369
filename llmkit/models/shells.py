"""The model objects that families wire: embeddings, a stack, a head, and how one forward pass runs through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig
from llmkit.nn.cache import NO_CACHE, Cache, KVCache
from llmkit.nn.context import Context
from llmkit.nn.embeddings import Embeddings
from llmkit.nn.heads import every_token
from llmkit.nn.masks import make_mask
from llmkit.nn.positions import NoRotary, Rotary
from llmkit.nn.wiring import Stack

# Which hidden states the head looks at: (hidden, ids, attention_mask) -> hidden.
Select = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


@dataclass
class Output:
    """logits: (batch, seq, vocab), or (batch, labels) from a classifier, or hidden itself without a head.

    hidden: (batch, seq, d_model), after the last norm.
    """

    logits: Tensor
    hidden: Tensor


class Model(nn.Module):
    """What encoders and decoders share. Families that have no segments ignore token_type_ids.

    head: hidden (batch, seq, d_model) or any rows (n, d_model) -> logits.
    """

    is_causal = False

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings,
        stack: Stack,
        head: nn.Module | None = None,
        *,
        rotary: Rotary | None = None,
        select: Select = every_token,
    ) -> None:
        super().__init__()
        self.config = config
        self.embeddings = embeddings
        self.stack = stack
        self.head = head or nn.Identity()
        self.rotary = rotary or NoRotary()
        self.select = select

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Output:
        """One pass. Shapes: input_ids, token_type_ids, position_ids (batch, seq); attention_mask (batch, seq), or
        (batch, past + seq) with a cache, 1 where a token may be attended.

        decoder_input_ids is what encoder-decoders take beside the others; given here, it is a UsageError.
        """
        if decoder_input_ids is not None:
            raise UsageError(
                "decoder_input_ids was given to a model that is not an encoder-decoder", "leave it out, or pass None"
            )
        hidden = self.encode(input_ids, attention_mask, token_type_ids, position_ids=position_ids, cache=cache)
        return Output(logits=self.head(self.select(hidden, input_ids, attention_mask)), hidden=hidden)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (batch, seq, d_model) without the head; arguments as in `forward`.

        Raises UsageError for a text longer than the positions or the cache can hold.
        """
        kept: Cache = NO_CACHE if cache is None else cache
        seq, past = input_ids.shape[1], kept.length
        self._check(input_ids, attention_mask, past)
        if position_ids is None:
            position_ids = torch.arange(past, past + seq, device=input_ids.device)[None]
        key_positions = kept.extend_positions(position_ids)
        x = self.embeddings(input_ids, position_ids, token_type_ids)
        context = Context(
            mask=make_mask(
                seq, past + seq, causal=self.is_causal, key_mask=attention_mask, dtype=x.dtype, device=x.device
            ),
            rotation=self.rotary.rotation(position_ids, key_positions, x.dtype),
            cache=kept,
        )
        hidden: Tensor = self.stack(x, context)
        kept.advance(seq)
        return hidden

    @property
    def embedding_weight(self) -> Tensor:
        """The token embedding matrix (vocab, d_model)."""
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


class EncoderModel(Model):
    """Every token sees every other.

    pooler: (batch, seq, d_model) -> (batch, d_model); pair_head: (batch, seq, d_model) -> (batch, 2). Each exists only
    where the family and its head have one.
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
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__(config, embeddings, stack, head, rotary=rotary)
        if pooler is not None:
            self.pooler = pooler
        if pair_head is not None:
            self.pair_head = pair_head


class DecoderModel(Model):
    """Every token sees itself and those before it; earlier keys and values can be cached."""

    is_causal = True

    def new_cache(self, batch_size: int, max_len: int) -> KVCache:
        """An empty cache for `batch_size` rows of at most `max_len` tokens."""
        return KVCache(len(self.stack.blocks), batch_size, max_len)
