"""Segment recurrence: what every layer read in earlier segments of a long text (Transformer-XL, Dai et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from llmkit.errors import UsageError

Pair = tuple[Tensor, Tensor]


class SegmentMemory:
    """Hidden states that entered each layer in earlier segments; detached, so that no gradient flows back to them.

    Given as `cache=`, like a KV cache; but keys and values are made anew from it in every pass, so the projections
    learn from what is remembered, and a step of the optimizer between two segments does no harm.

    mem_len: states kept per layer, the newest; 0: all. reuse_len: of each segment only so many of its first tokens are
    taken in, because the next one begins after them (XLNet's overlapping segments); 0: all.
    length: tokens taken in so far. held: those of them still here. Memory: n_layers * batch * held * d_model elements.
    """

    def __init__(self, n_layers: int, mem_len: int, *, reuse_len: int = 0) -> None:
        self.n_layers = n_layers
        self.mem_len = mem_len
        self.reuse_len = reuse_len
        self.length = 0
        self._states: list[Tensor | None] = [None] * n_layers
        self._fresh: list[Tensor | None] = [None] * n_layers

    @property
    def held(self) -> int:
        """Tokens that the next segment can attend besides its own."""
        first = self._states[0]
        return 0 if first is None else first.shape[1]

    def states(self, layer: int) -> Tensor | None:
        """What is remembered for a layer, (batch, held, d_model); None before the first segment."""
        return self._states[layer]

    def take_back(self, states: Sequence[Tensor]) -> None:
        """Go on from what `states` gave for each layer, (batch, held, d_model)."""
        self._states = list(states)
        self.length = self.held

    def recall(self, layer: int, x: Tensor) -> Tensor:
        """x (batch, seq, d_model) behind what the layer remembers: (batch, held + seq, d_model)."""
        self._fresh[layer] = x.detach()
        old = self._states[layer]
        return x if old is None else torch.cat([old.to(x.dtype), x], 1)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> Pair:
        """Keys and values of remembered tokens are among k and v already."""
        return k, v

    def remember(self, layer: int, make: Callable[[], Pair]) -> Pair:
        return make()

    def extend_choices(self, layer: int, choices: Tensor) -> Tensor:
        """Choices of the new tokens alone (batch, new): those of segments before are not remembered."""
        return choices

    def extend_positions(self, positions: Tensor) -> Tensor:
        """Positions (batch or 1, seq) behind those of the tokens held, which stand right before the segment."""
        before = torch.arange(-self.held, 0, device=positions.device)
        return torch.cat([positions[:, :1] + before, positions], 1)

    def advance(self, tokens: int) -> None:
        """Take the segment in; called once per pass, after every layer has read."""
        taken = min(tokens, self.reuse_len or tokens)
        for layer, new in enumerate(self._fresh):
            assert new is not None, f"layer {layer} read nothing in this pass"
            old = self._states[layer]
            new = new[:, :taken]
            joined = new if old is None else torch.cat([old.to(new.dtype), new], 1)
            # Cloned: a view would keep the whole segment alive.
            self._states[layer] = joined[:, -self.mem_len :].clone()
        self._fresh = [None] * self.n_layers
        self.length += taken

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens; only as far back as what was remembered then is still here."""
        if not 0 <= length <= self.length:
            raise UsageError(f"cannot truncate a memory of {self.length} tokens to {length}")
        kept = self.held - (self.length - length)
        if length == 0:
            self._states = [None] * self.n_layers
        elif kept < min(length, self.mem_len or length):
            raise UsageError(f"cannot truncate a memory to {length} tokens: what it held then is gone")
        else:
            self._states = [None if t is None else t[:, :kept] for t in self._states]
        self.length = length

    def reorder(self, index: Tensor) -> None:
        """Make row i what row index[i] was; index (new batch,) may repeat, drop or grow rows."""
        self._states = [None if t is None else t.index_select(0, index) for t in self._states]
