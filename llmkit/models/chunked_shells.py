"""The model object around stacks that cut the text into chunks."""

from __future__ import annotations

from torch import Tensor

from llmkit.models.shells import EncoderModel
from llmkit.nn.cache import Cache
from llmkit.nn.context import Context
from llmkit.nn.masks import AttentionMask


class ChunkedModel(EncoderModel):
    """Reads a whole text at once, both ways or, with is_causal, from the left; without a cache in either case.

    No mask of all queries and keys is made: it would be larger than anything else for the texts this is meant for.
    """

    def _context(
        self,
        x: Tensor,
        positions: Tensor,
        key_positions: Tensor,
        attention_mask: Tensor | None,
        cache: Cache,
        **sight: Tensor,
    ) -> Context:
        return Context(
            AttentionMask(None, self.is_causal),
            self.rotary.rotation(positions, key_positions, x.dtype),
            cache=cache,
            positions=positions,
            key_positions=key_positions,
            key_mask=attention_mask,
        )
