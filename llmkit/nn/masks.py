"""Who may look at whom: the one place that decides between no mask, the kernel's causal flag and an explicit bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionMask:
    """What an attention kernel is told.

    bias: added to the scores, broadcastable to (batch, heads, queries, keys); None adds nothing.
    causal: the kernel hides keys after the query itself; only ever set when queries and keys are the same tokens.
    """

    bias: Tensor | None = None
    causal: bool = False


FREE = AttentionMask()


def make_mask(
    queries: int,
    keys: int,
    *,
    causal: bool,
    window: int | None = None,
    key_mask: Tensor | None = None,
    score_bias: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> AttentionMask:
    """The cheapest mask that says the right thing. The queries are the last `queries` of the `keys` tokens.

    window: with causal, how many tokens a query sees, itself included (Mistral); None: all before it.
    key_mask: (batch, keys), nonzero where a key may be attended; None: everywhere.
    score_bias: broadcastable to (batch, heads, queries, keys), added to the scores (ALiBi, relative positions).

    A query that may see nothing (left padding) sees everything instead: its output is never used, but must not be NaN,
    and its row of an attention map must still sum to 1.
    """
    # One query at the end of the keys sees all of them.
    hides_future = causal and queries > 1
    hides_past = causal and window is not None and keys > window
    if key_mask is None and score_bias is None and not hides_past:
        if not hides_future:
            return FREE
        # The fused kernel aligns its causal flag to the top-left corner: wrong as soon as a cache makes keys longer.
        if queries == keys:
            return AttentionMask(causal=True)
    allowed: Tensor | None = None
    if hides_future or hides_past:
        allowed = causal_pattern(queries, keys, device)
        if hides_past and window is not None:
            allowed = allowed.triu(keys - queries - window + 1)
    if key_mask is not None:
        padding = key_mask.to(torch.bool)[:, None, None, :]
        allowed = padding if allowed is None else allowed & padding
        allowed = allowed | ~allowed.any(-1, keepdim=True)
    if allowed is None:
        return AttentionMask(bias=score_bias)
    # An additive bias, once per forward: given booleans, the kernels would convert them again in every layer.
    if score_bias is not None:
        return AttentionMask(bias=score_bias.masked_fill(~allowed, float("-inf")))
    return AttentionMask(
        bias=torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, float("-inf"))
    )


def causal_pattern(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(queries, keys) booleans, true where key <= query; the queries are the last of the keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
