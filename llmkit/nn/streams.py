"""One stream of tokens through a stack, or two: XLNet's words, and the places where words are to be guessed.

Both streams pass through the same layers side by side, joined along the sequence; only attention tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Streams(Protocol):
    """What attention must know about the streams in x (batch, tokens, d_model).

    masks: of each stream, the content stream's last: numbers added to its scores, broadcastable to (batch, heads,
    queries, keys). blind: of each stream, booleans (batch or 1, 1, queries, 1), the queries that look everywhere alike,
    as there is nothing for them to see; None: no query.
    """

    @property
    def masks(self) -> Sequence[Tensor]: ...

    @property
    def blind(self) -> Sequence[Tensor | None]: ...

    def content(self, x: Tensor) -> Tensor:
        """The tokens that others look at: keys, values and memory are made from them."""
        ...

    def queries(self, q: Tensor) -> Tensor:
        """Projected tokens -> (batch, len(masks) * seq, d_model), each stream as long as the text."""
        ...

    def join(self, gathered: Sequence[Tensor]) -> Tensor:
        """What the streams gathered, (batch, seq, d_model) each -> (batch, tokens, d_model) in the order of x."""
        ...

    def result(self, x: Tensor) -> Tensor:
        """The tokens that the model was asked about."""
        ...


class OneStream:
    """Tokens that look at each other."""

    def __init__(self, mask: Tensor) -> None:
        self.masks = (mask,)
        self.blind = (None,)

    def content(self, x: Tensor) -> Tensor:
        return x

    def queries(self, q: Tensor) -> Tensor:
        return q

    def join(self, gathered: Sequence[Tensor]) -> Tensor:
        return gathered[0]

    def result(self, x: Tensor) -> Tensor:
        return x


class TwoStreams:
    """x holds the text, then the places to be guessed: these know where they stand, but not what stands there.

    mapping: (batch, places, seq), 1 where a place stands. A place asks from its position in the text, so distances and
    masks are the text's; places without a position gather nothing. blind: places that look everywhere alike.
    """

    def __init__(self, mask: Tensor, place_mask: Tensor, mapping: Tensor, blind: Tensor | None = None) -> None:
        self.masks = (place_mask, mask)
        self.blind = (blind, None)
        self.mapping = mapping
        self.seq = mapping.shape[2]

    def content(self, x: Tensor) -> Tensor:
        return x[:, : self.seq]

    def queries(self, q: Tensor) -> Tensor:
        return torch.cat([self.mapping.transpose(1, 2) @ q[:, self.seq :], q[:, : self.seq]], 1)

    def join(self, gathered: Sequence[Tensor]) -> Tensor:
        places, content = gathered
        return torch.cat([content, self.mapping @ places], 1)

    def result(self, x: Tensor) -> Tensor:
        return x[:, self.seq :]
