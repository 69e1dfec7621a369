"""Encoder-decoders whose decoder runs several streams, each foretelling a token further on (see nn.ngram_attention)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from llmkit.errors import UsageError
from llmkit.models.config import EncoderDecoderConfig
from llmkit.models.shells import Output, Tower
from llmkit.models.two_towers import EncoderDecoderModel
from llmkit.nn.cache import NO_CACHE, Cache, KVCache
from llmkit.nn.context import Memory
from llmkit.nn.masks import FREE
from llmkit.nn.ngram_attention import StreamContext, StreamEmbeddings, StreamReach
from llmkit.nn.positions import NO_ROTATION
from llmkit.nn.wiring import Stack


class NgramTower(Tower):
    """A decoder of one main stream and up to `ngram` others.

    shown: the stream whose hidden states it hands out; 0: the main stream's, 1: those of the first that foretells.
    """

    is_causal = True
    embeddings: StreamEmbeddings

    def __init__(self, embeddings: StreamEmbeddings, stack: Stack, *, distances: StreamReach, shown: int) -> None:
        super().__init__(embeddings, stack)
        self.distances = distances
        self.shown = shown

    @property
    def ngram(self) -> int:
        return self.embeddings.stream.num_embeddings

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
        """As of any tower: hidden states (batch, seq, d_model) of the stream that is shown, without running others."""
        more: dict[str, Any] = {"position_ids": position_ids, "cache": cache, "memory": memory}
        return self.streams(input_ids, attention_mask, self.shown, **more)[:, self.shown]

    def streams(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        count: int,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Hidden states of the main stream and the first `count` others, (batch, 1 + count, seq, d_model)."""
        kept: Cache = NO_CACHE if cache is None else cache
        seq, past = input_ids.shape[1], kept.length
        self._check(input_ids, attention_mask, past)
        if position_ids is None:
            position_ids = self.embeddings.places(input_ids, attention_mask, past)
        key_positions = kept.extend_positions(position_ids)
        x = self.embeddings(input_ids, position_ids, None, count)
        context = StreamContext(
            mask=FREE,  # everything about it is in `reach`
            rotation=NO_ROTATION,
            cache=kept,
            memory=memory,
            positions=position_ids,
            key_positions=key_positions,
            key_mask=attention_mask,
            streams=count,
            reach=self.distances.reach(
                seq, past, count, causal=self.is_causal, key_mask=attention_mask, device=x.device
            ),
        )
        hidden: Tensor = self.stack(x, context)
        kept.advance(seq)
        return hidden.unflatten(1, (1 + count, seq))


class NgramModel(EncoderDecoderModel):
    """An encoder, and a decoder that foretells. Cross-attention's maps show all streams, one below the other."""

    decoder: NgramTower

    def __init__(self, config: EncoderDecoderConfig, encoder: Tower, decoder: NgramTower, head: Any = None) -> None:
        super().__init__(config, encoder, decoder, head)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        decoder_attention_mask: Tensor | None = None,
    ) -> Output:
        """As of any encoder-decoder; the logits are those of the next token, `streams` has the others'."""
        states = self._states(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        hidden = states[:, self.decoder.shown]
        return Output(logits=self.head(hidden), hidden=hidden)

    def streams(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (batch, ngram, seq, d_model) from which the next token, the one after it ... are foretold.

        Stream s at place i has seen the output up to token i - s and foretells token i + 1, so that all streams are
        trained on the same targets. The head takes them as they are.
        """
        return self._states(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)[:, 1:]

    def _states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        decoder_input_ids: Tensor | None,
        decoder_attention_mask: Tensor | None,
    ) -> Tensor:
        """(batch, 1 + ngram, seq, d_model), the main stream first."""
        if decoder_input_ids is None:
            raise UsageError("an encoder-decoder needs decoder_input_ids beside input_ids")
        memory = self.remember(input_ids, attention_mask)
        return self.decoder.streams(decoder_input_ids, decoder_attention_mask, self.decoder.ngram, memory=memory)
