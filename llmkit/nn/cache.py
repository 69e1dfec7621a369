"""Keys and values of the tokens already seen, so that generating one more costs one token's work."""

from __future__ import annotations

import torch
from torch import Tensor

from llmkit.errors import UsageError


class NoCache:
    """Remembers nothing: every forward pass brings all its tokens along."""

    length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k, v

    def extend_positions(self, positions: Tensor) -> Tensor:
        return positions

    def advance(self, tokens: int) -> None:
        pass


class KVCache:
    """Preallocated keys and values for every layer, up to `max_len` tokens.

    length: tokens held now; the next forward pass writes from there. `truncate` forgets the newest (speculative
    decoding, editing a prompt), `reorder` picks and repeats rows (beams, samples). Memory, taken at the first use:
    2 * n_layers * batch * kv_heads * max_len * head_dim elements.
    """

    def __init__(self, n_layers: int, batch_size: int, max_len: int) -> None:
        self.n_layers = n_layers
        self.batch_size = batch_size
        self.max_len = max_len
        self.length = 0
        # Allocated on first use, when dtype and device are known (they differ from the weights' under autocast).
        self._keys: list[Tensor | None] = [None] * n_layers
        self._values: list[Tensor | None] = [None] * n_layers
        self._positions: Tensor | None = None

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (batch, kv_heads, new, head_dim); returns views (batch, kv_heads, length + new, head_dim)."""
        keys, values = self._keys[layer], self._values[layer]
        if keys is None or values is None:
            shape = (k.shape[0], k.shape[1], self.max_len, k.shape[3])
            keys = self._keys[layer] = torch.empty(shape, dtype=k.dtype, device=k.device)
            values = self._values[layer] = torch.empty((*shape[:3], v.shape[3]), dtype=v.dtype, device=v.device)
        end = self.length + k.shape[2]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def extend_positions(self, positions: Tensor) -> Tensor:
        """Append position ids (batch or 1, new); returns those of all tokens held, (batch, length + new).

        Called first in a forward pass, so it is also where too many tokens are refused (UsageError).
        """
        new = positions.shape[1]
        end = self.length + new
        if end > self.max_len:
            raise UsageError(
                f"the cache holds {self.max_len} tokens; {self.length} are in it and {new} more were given",
                "make the cache longer, or truncate it",
            )
        if self._positions is None:
            self._positions = torch.zeros(self.batch_size, self.max_len, dtype=torch.long, device=positions.device)
        self._positions[:, self.length : end] = positions
        return self._positions[:, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` as held; called once per forward pass, after every layer has written."""
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise UsageError(f"cannot truncate a cache of {self.length} tokens to {length}")
        self.length = length

    def reorder(self, index: Tensor) -> None:
        """Make row i what row index[i] was; index (new batch,) may repeat, drop or grow rows."""
        self._keys = [None if t is None else t.index_select(0, index) for t in self._keys]
        self._values = [None if t is None else t.index_select(0, index) for t in self._values]
        if self._positions is not None:
            self._positions = self._positions.index_select(0, index)
        self.batch_size = index.shape[0]


NO_CACHE = NoCache()
Cache = KVCache | NoCache
