"""Model objects around encoders that may be told the language of every token (XLM)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llmkit.models.shells import EncoderModel
from llmkit.nn.cache import Cache
from llmkit.nn.context import Context
from llmkit.nn.languages import blanked


class MultilingualEncoder(EncoderModel):
    """An encoder whose hidden states are zero at padding, and which takes a further argument `langs`.

    The blocks begin with `HidePadding`; here the same is done after the last of them.

    langs: language ids (batch, seq), below 0 where it is not known; without them no language vectors are added.
    token_type_ids are ignored. Without an attention_mask, each row counts as many tokens as it has ids other than
    config.pad_id, from its start.
    """

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        langs: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        if attention_mask is None and self.config.pad_id is not None:
            lengths = (input_ids != self.config.pad_id).sum(1, keepdim=True)
            attention_mask = torch.arange(input_ids.shape[1], device=input_ids.device) < lengths
        return blanked(super().encode(input_ids, attention_mask, langs, **more), attention_mask)


class LeftToRightMultilingual(MultilingualEncoder):
    """The same, where a token sees those before it, padding (all zeros) included."""

    is_causal = True

    def _context(
        self,
        x: Tensor,
        positions: Tensor,
        key_positions: Tensor,
        attention_mask: Tensor | None,
        cache: Cache,
        **sight: Tensor,
    ) -> Context:
        context = super()._context(x, positions, key_positions, None, cache)
        context.key_mask = attention_mask
        return context
