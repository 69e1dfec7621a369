"""Model objects around encoders whose tokens see their surroundings, and a few tokens everything (Longformer)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmkit.errors import UsageError
from llmkit.models.shells import EncoderModel
from llmkit.nn.cache import NO_CACHE, KVCache
from llmkit.nn.context import Memory
from llmkit.nn.local_attention import LocalContext, LocalPattern
from llmkit.nn.masks import FREE
from llmkit.nn.positions import NO_ROTATION

# Which tokens see everything when the caller does not say: ids -> (batch, seq) booleans, and the most in a row.
Globals = Callable[[Tensor], tuple[Tensor, int]]


def none_global(ids: Tensor) -> tuple[Tensor, int]:
    """No token sees more than its window."""
    return torch.zeros_like(ids, dtype=torch.bool), 0


def first_global(ids: Tensor) -> tuple[Tensor, int]:
    """The first token, by which texts are classified."""
    return (torch.arange(ids.shape[1], device=ids.device) == 0).expand_as(ids), 1


class QuestionGlobal:
    """The tokens of a question: all before the first of three separators, question </s></s> text </s>.

    Raises UsageError where a row has another number of separators.
    """

    def __init__(self, sep_id: int) -> None:
        self.sep_id = sep_id

    def __call__(self, ids: Tensor) -> tuple[Tensor, int]:
        ends = ids == self.sep_id
        if not bool((ends.sum(1) == 3).all()):
            raise UsageError(
                f"a question and its text need exactly three separators (id {self.sep_id}) in every row",
                "separate them so, or say by global_attention_mask which tokens see everything",
            )
        is_global = ends.cumsum(1) == 0
        return is_global, int(is_global.sum(1).max())


class LocalEncoder(EncoderModel):
    """An encoder of `LocalAttention`, which takes a further argument `global_attention_mask`.

    global_attention_mask: (batch, seq), nonzero where a token sees and is seen by all; by default what
    `default_global` says. Padding never is. The most that a row has is counted on the host, one sync for each pass.
    """

    def __init__(self, *parts: Any, default_global: Globals = none_global, **more: Any) -> None:
        super().__init__(*parts, **more)
        self.default_global = default_global

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
        memory: Memory | None = None,
        global_attention_mask: Tensor | None = None,
    ) -> Tensor:
        assert cache is None, "tokens that see both ways cannot be cached"
        assert memory is None, "there is no cross-attention to read it"
        self._check(input_ids, attention_mask, 0)
        if position_ids is None:
            position_ids = self.embeddings.places(input_ids, attention_mask, 0)
        if global_attention_mask is None:
            is_global, n_global = self.default_global(input_ids)
        else:
            is_global = global_attention_mask != 0
            n_global = int(is_global.sum(1).max())
        x = self.embeddings(input_ids, position_ids, token_type_ids)
        pattern = LocalPattern(
            x, key_mask=attention_mask, is_global=is_global, n_global=n_global, causal=self.is_causal
        )
        context = LocalContext(FREE, NO_ROTATION, NO_CACHE, pattern=pattern)
        context.positions, context.key_mask = position_ids, attention_mask
        hidden: Tensor = self.stack(x, context)
        return hidden
