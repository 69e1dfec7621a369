"""The model object with two stacks: what encoder-decoder families wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.models.config import EncoderDecoderConfig
from llmkit.models.shells import Model, Output, Select, Tower
from llmkit.nn.cache import KVCache
from llmkit.nn.capture import Site
from llmkit.nn.context import Memory
from llmkit.nn.heads import every_token
from llmkit.nn.masks import make_mask


class EncoderDecoderModel(nn.Module):
    """One tower reads the input, another writes the output and looks at what the first made of it.

    select: which hidden states the head looks at, called with the input's ids and mask. starts: output ids to use when
    none are given, made from the input's (classifiers read the same text on both sides); None: they must be given.
    """

    is_causal = False  # as a whole: its input is seen both ways

    def __init__(
        self,
        config: EncoderDecoderConfig,
        encoder: Tower,
        decoder: Tower,
        head: nn.Module | None = None,
        *,
        select: Select = every_token,
        starts: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.decoder = decoder
        self.head = head or nn.Identity()
        self.select = select
        self.starts = starts

    @property
    def attention_sites(self) -> Mapping[str, Site]:
        """Where it attends, for `capture_attention`."""
        return {
            "encoder": Site(self.encoder.stack.blocks),
            "decoder": Site(self.decoder.stack.blocks),
            "cross": Site(self.decoder.stack.blocks, "memory"),
        }

    @property
    def embedding_weight(self) -> Tensor:
        """The token embedding matrix of the input (vocab, d_model)."""
        return self.encoder.embedding_weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        decoder_attention_mask: Tensor | None = None,
    ) -> Output:
        """Shapes: input_ids, attention_mask (batch, source); decoder_input_ids, decoder_attention_mask (batch, seq);
        logits and hidden are the decoder's, (batch, seq, ...). Raises UsageError without decoder_input_ids where they
        are needed."""
        if decoder_input_ids is None:
            if self.starts is None:
                raise UsageError("an encoder-decoder needs decoder_input_ids beside input_ids")
            decoder_input_ids = self.starts(input_ids)
        memory = self.remember(input_ids, attention_mask)
        hidden = self.decode(decoder_input_ids, memory, decoder_attention_mask)
        return Output(logits=self.head(self.select(hidden, input_ids, attention_mask)), hidden=hidden)

    def remember(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Memory:
        """Read the input (batch, source) once, for any number of `decode` calls."""
        hidden = self.encoder.encode(input_ids, attention_mask)
        # Every output token may look at every input token that is not padding.
        seen = make_mask(
            1, hidden.shape[1], causal=False, key_mask=attention_mask, dtype=hidden.dtype, device=hidden.device
        )
        return Memory(hidden, seen)

    def decode(
        self,
        decoder_input_ids: Tensor,
        memory: Memory,
        decoder_attention_mask: Tensor | None = None,
        *,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (batch, seq, d_model) of the output so far, or, with a cache, of its newest tokens."""
        return self.decoder.encode(decoder_input_ids, decoder_attention_mask, cache=cache, memory=memory)

    def new_cache(self, batch_size: int, max_len: int) -> KVCache:
        """An empty cache for one input per row and at most `max_len` tokens of output."""
        return KVCache(len(self.decoder.stack.blocks), batch_size, max_len, window=self.decoder.window)


def shifted_right(start_id: int, pad_id: int | None = None) -> Callable[[Tensor], Tensor]:
    """ids (batch, seq) -> the start id, then all ids but the last: what a decoder reads to predict `ids`.

    Targets marked -100 (ignored by losses) become padding.
    """

    def shift(ids: Tensor) -> Tensor:
        moved = torch.cat([torch.full_like(ids[:, :1], start_id), ids[:, :-1]], 1)
        return moved if pad_id is None else moved.masked_fill(moved == -100, pad_id)

    return shift


AnyModel = Model | EncoderDecoderModel
