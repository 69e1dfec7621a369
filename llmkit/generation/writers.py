"""What the decode loop drives: a decoder that continues its prompt, or an encoder-decoder that answers an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from llmkit.nn.context import Memory

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.nn.cache import KVCache


class Writer(Protocol):
    """Hidden states of new tokens, given those in the cache."""

    def new_cache(self, batch_size: int, max_len: int) -> KVCache: ...

    def encode(self, ids: Tensor, cache: KVCache) -> Tensor:
        """ids (batch, new) -> (batch, new, d_model)."""

    def keep(self, index: Tensor) -> None:
        """Row i becomes what row index[i] was, as in the cache."""


class Continuation:
    """A decoder goes on where its prompt ends. One trained with a prefix reads the prompt both ways."""

    def __init__(self, model: DecoderModel) -> None:
        self._model = model
        self.new_cache = model.new_cache

    def encode(self, ids: Tensor, cache: KVCache) -> Tensor:
        if cache.length == 0 and self._model.config.prefix_lm:
            whole = torch.full((len(ids),), ids.shape[1], device=ids.device)
            return self._model.encode(ids, cache=cache, prefix=whole)
        return self._model.encode(ids, cache=cache)

    def keep(self, index: Tensor) -> None:
        pass


class Answer:
    """An encoder-decoder writes from its start token, looking at inputs that were read once.

    sources: the input of each row, token ids; shorter ones are padded, and the padding is never looked at.
    """

    def __init__(self, model: EncoderDecoderModel, sources: Sequence[Sequence[int]]) -> None:
        self._model = model
        self.new_cache = model.new_cache
        device = model.embedding_weight.device
        longest = max(map(len, sources))
        pad = model.config.pad_id or 0
        ids = torch.tensor([[*source, *[pad] * (longest - len(source))] for source in sources], device=device)
        lengths = torch.tensor([len(source) for source in sources], device=device)
        is_real = torch.arange(longest, device=device) < lengths[:, None]
        mask = None if bool(is_real.all()) else is_real.long()
        with torch.inference_mode():
            self._memory = model.remember(ids, mask)

    def encode(self, ids: Tensor, cache: KVCache) -> Tensor:
        return self._model.decode(ids, self._memory, cache=cache)

    def keep(self, index: Tensor) -> None:
        bias = self._memory.mask.bias
        mask = self._memory.mask if bias is None else type(self._memory.mask)(bias=bias[index])
        self._memory = Memory(self._memory.hidden[index], mask)
