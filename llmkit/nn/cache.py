"""Keys and values of the tokens already seen, so that generating one more costs one token's work."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from llmkit.errors import UsageError
from llmkit.nn.memory import Pair, SegmentMemory


class NoCache:
    """Remembers nothing: every forward pass brings all its tokens along."""

    length = 0
    held = 0

    def recall(self, layer: int, x: Tensor) -> Tensor:
        return x

    def extend(self, layer: int, k: Tensor, v: Tensor) -> Pair:
        return k, v

    def remember(self, layer: int, make: Callable[[], Pair]) -> Pair:
        return make()

    def extend_positions(self, positions: Tensor) -> Tensor:
        return positions

    def extend_choices(self, layer: int, choices: Tensor) -> Tensor:
        return choices

    def advance(self, tokens: int) -> None:
        pass


class KVCache:
    """Preallocated keys and values for every layer, up to `max_len` tokens.

    length: tokens seen; the next forward pass goes on from there. held: those of them that it can still attend, all
    unless there is a window. `truncate` forgets the newest (speculative decoding, editing a prompt), `reorder` picks
    and repeats rows (beams, samples). Cross-attention leaves its keys and values here too, made once.

    window: tokens that a query sees, itself included; older ones make room for new. Memory, taken at the first use:
    2 * n_layers * batch * kv_heads * slots * head_dim elements, with max_len slots, or, with a window, slots for twice
    the window (or for the longest piece read at once, if that is more).
    """

    def __init__(self, n_layers: int, batch_size: int, max_len: int, *, window: int | None = None) -> None:
        self.n_layers = n_layers
        self.batch_size = batch_size
        self.max_len = max_len
        self.window = max_len if window is None else min(window, max_len)
        self.length = 0
        self._slots = min(max_len, 2 * self.window)
        self._end = 0  # slots that hold something
        # Allocated on first use, when dtype and device are known (they differ from the weights' under autocast).
        self._keys: list[Tensor | None] = [None] * n_layers
        self._values: list[Tensor | None] = [None] * n_layers
        self._memory: list[Pair | None] = [None] * n_layers
        self._positions: Tensor | None = None
        self._choices: dict[int, Tensor] = {}

    @property
    def held(self) -> int:
        """Tokens that the next query can attend besides itself."""
        return min(self._end, self.window - 1) if self.window < self.max_len else self._end

    def recall(self, layer: int, x: Tensor) -> Tensor:
        """What keys and values are made from: the new tokens alone, (batch, new, d_model), as the others' are kept."""
        return x

    def extend(self, layer: int, k: Tensor, v: Tensor) -> Pair:
        """Append k and v (batch, kv_heads, new, head_dim); returns views (batch, kv_heads, held + new, head_dim)."""
        # A single row would be written to all of them unnoticed.
        assert k.shape[0] == self.batch_size, (k.shape, self.batch_size)
        keys, values = self._keys[layer], self._values[layer]
        if keys is None or values is None:
            shape = (k.shape[0], k.shape[1], self._slots, k.shape[3])
            keys = self._keys[layer] = torch.empty(shape, dtype=k.dtype, device=k.device)
            values = self._values[layer] = torch.empty((*shape[:3], v.shape[3]), dtype=v.dtype, device=v.device)
        start, end = self._end - self.held, self._end + k.shape[2]
        keys[:, :, self._end : end] = k
        values[:, :, self._end : end] = v
        return keys[:, :, start:end], values[:, :, start:end]

    def remember(self, layer: int, make: Callable[[], Pair]) -> Pair:
        """Keys and values of this layer's cross-attention: made at the first call, the same ones ever after."""
        kept = self._memory[layer]
        if kept is None:
            kept = self._memory[layer] = make()
        return kept

    def extend_positions(self, positions: Tensor) -> Tensor:
        """Append position ids (batch or 1, new); returns those of the tokens in sight, (batch, held + new).

        Called first in a forward pass, so it is also where room is made, or too many tokens are refused (UsageError).
        """
        new = positions.shape[1]
        if self.length + new > self.max_len:
            raise UsageError(
                f"the cache holds {self.max_len} tokens; {self.length} are in it and {new} more were given",
                "make the cache longer, or truncate it",
            )
        if self._end + new > self._slots:
            self._make_room(new)
        if self._positions is None:
            self._positions = torch.zeros(self.batch_size, self._slots, dtype=torch.long, device=positions.device)
        self._positions[:, self._end : self._end + new] = positions
        return self._positions[:, self._end - self.held : self._end + new]

    def extend_choices(self, layer: int, choices: Tensor) -> Tensor:
        """Append a whole number for each new token (batch, new), such as the expert it took in this layer; returns
        those of the tokens in sight, (batch, held + new)."""
        end = self._end + choices.shape[1]
        if layer not in self._choices:
            self._choices[layer] = choices.new_zeros(choices.shape[0], self._slots)
        self._choices[layer][:, self._end : end] = choices
        return self._choices[layer][:, self._end - self.held : end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` as seen; called once per forward pass, after every layer has written."""
        self.length += tokens
        self._end += tokens

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens. With a window, only as far back as what went before is still here.

        Keys and values of cross-attention stay, even at length 0: another input needs another cache.
        """
        forgotten = self.length - length
        oldest = self.length - self._end
        if not 0 <= length <= self.length:
            raise UsageError(f"cannot truncate a cache of {self.length} tokens to {length}")
        if length and length - (self.window - 1) < oldest and oldest > 0:
            raise UsageError(f"cannot truncate a cache to {length} tokens: what the window saw then is gone")
        self.length = length
        self._end = self._end - forgotten if length else 0

    def reorder(self, index: Tensor) -> None:
        """Make row i what row index[i] was; index (new batch,) may repeat, drop or grow rows."""
        self._keys = [None if t is None else t.index_select(0, index) for t in self._keys]
        self._values = [None if t is None else t.index_select(0, index) for t in self._values]
        pairs = [
            None if p is None else (p[0].index_select(0, index), p[1].index_select(0, index)) for p in self._memory
        ]
        self._memory = pairs
        if self._positions is not None:
            self._positions = self._positions.index_select(0, index)
        self._choices = {layer: t.index_select(0, index) for layer, t in self._choices.items()}
        self.batch_size = index.shape[0]

    def _make_room(self, new: int) -> None:
        """Move what is still in sight to the front; grow when even that leaves too little room."""
        kept, start = self.held, self._end - self.held
        slots = max(self._slots, kept + new)

        def moved(t: Tensor | None, dim: int) -> Tensor | None:
            if t is None:
                return None
            shape = list(t.shape)
            shape[dim] = slots
            fresh = t.new_zeros(shape) if slots > self._slots else t
            # Cloned first: source and target may overlap.
            fresh.narrow(dim, 0, kept).copy_(t.narrow(dim, start, kept).clone())
            return fresh

        self._keys = [moved(t, 2) for t in self._keys]
        self._values = [moved(t, 2) for t in self._values]
        self._positions = moved(self._positions, 1)
        self._choices = {layer: fresh for layer, t in self._choices.items() if (fresh := moved(t, 1)) is not None}
        self._slots, self._end = slots, kept


NO_CACHE = NoCache()
Cache = KVCache | SegmentMemory | NoCache
