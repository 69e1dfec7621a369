"""A text cut into chunks, each of which looks at itself and at some of its neighbours (Kitaev et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmkit.nn.context import Context
from llmkit.nn.masks import AttentionMask


@dataclass(frozen=True)
class Window:
    """chunk: its length in tokens; a text no longer than that is one chunk. before, after: neighbours it looks at.

    The first chunk's neighbour before is the last one. A window wider than the text holds some chunks twice.
    """

    chunk: int
    before: int
    after: int

    def cut(self, seq: int) -> tuple[int, int]:
        """Number of chunks, and how long they are. `seq` is a multiple of their length, unless it is shorter."""
        return (1, seq) if seq <= self.chunk else (seq // self.chunk, self.chunk)

    def repeats(self, chunks: int) -> bool:
        """Whether some chunks stand in a window of so many more than once."""
        return 1 < chunks < self.before + 1 + self.after

    def around(self, x: Tensor, dim: int) -> Tensor:
        """Each chunk with its neighbours. Shapes: (..., chunks, tokens, ...) -> (..., chunks, window, ...).

        dim: that of the chunks, counted from the front.
        """
        chunks = x.shape[dim]
        if chunks == 1:
            return x
        # A neighbour further away than there are chunks is the chunk itself, as in the published models.
        shifts = [shift if abs(shift) < chunks else 0 for shift in range(-self.before, self.after + 1)]
        return torch.cat([x.roll(-shift, dim) if shift else x for shift in shifts], dim + 1)


WindowMask = tuple[AttentionMask, "Tensor | None"]


@dataclass
class ChunkedContext(Context):
    """seen: (batch or 1, seq) booleans, the tokens that may be attended; None: all of them.

    length: tokens of the text itself; the rest fills up its last chunk. masks: one for each kind of window, with the
    queries that may see nothing under it.
    """

    seen: Tensor | None = None
    length: int = 0
    masks: dict[Window, WindowMask] | None = None

    def window_mask(self, window: Window, make: Callable[[], WindowMask]) -> WindowMask:
        """The mask of all layers with this window, made for the first of them."""
        assert self.masks is not None
        if window not in self.masks:
            self.masks[window] = make()
        return self.masks[window]


def to_map(weights: Tensor, places: Tensor, seq: int) -> Tensor:
    """Weights (..., chunks, tokens, window) of keys at `places` (..., chunks, window), laid out as a whole map.

    Shapes: -> (..., chunks * tokens, seq). Weights of a key that stands in a window twice are added.
    """
    whole = weights.new_zeros(*weights.shape[:-1], seq)
    whole.scatter_add_(-1, places[..., None, :].expand_as(weights), weights)
    return whole.flatten(-3, -2)
