"""Parts of models for many languages: which language a token is in, and padding that is no word in any."""

from __future__ import annotations

import sys

from torch import Tensor, nn

from llmkit.nn.context import Context
from llmkit.nn.linear import Embedding


class Languages(Embedding):
    """A vector for each language, added where a token is in it (Lample and Conneau 2019); none when nobody says.

    Stands in `Embeddings.added`, which hands it language ids (batch, seq) or None in the place of segments; an id below
    0 is a language that nobody says.
    """

    limit = sys.maxsize

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        if segments is None:
            return self.weight.new_zeros(())
        return super().forward(segments.clamp(min=0)) * (segments >= 0)[..., None]


class HidePadding(nn.Module):
    """Padding becomes zeros, so that whoever attends to it finds next to nothing. A sublayer of a block.

    Shapes: x (batch, seq, d_model) -> same, by `ctx.key_mask` (batch, seq).
    """

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return blanked(x, ctx.key_mask)


def blanked(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (batch, seq, d_model) with zeros where mask (batch, seq) is 0."""
    return x if mask is None else x * (mask != 0)[..., None]
