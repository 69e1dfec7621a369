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
    documents: Tensor | None = None,
    prefix: Tensor | None = None,
    score_bias: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> AttentionMask:
    """The cheapest mask that says the right thing. The queries are the last `queries` of the `keys` tokens.

    window: with causal, how many tokens a query sees, itself included (Mistral); None: all before it.
    key_mask: (batch, keys), nonzero where a key may be attended; None: everywhere.
    documents: (batch, keys), a number for each document in a row: tokens see their own document only; None: all is one.
    prefix: (batch,), with causal, how many keys at the beginning of a row are seen from before them too; None: none.
    score_bias: broadcastable to (batch, heads, queries, keys), added to the scores (ALiBi, relative positions).

    A query that may see nothing (left padding) sees everything instead: its output is never used, but must not be NaN,
    and its row of an attention map must still sum to 1.
    """
    # One query at the end of the keys sees all of them.
    hides_future = causal and queries > 1
    hides_past = causal and window is not None and keys > window
    is_plain = key_mask is None and documents is None and prefix is None
    if is_plain and score_bias is None and not hides_past:
        if not hides_future:
            return FREE
        # The fused kernel aligns its causal flag to the top-left corner: wrong as soon as a cache makes keys longer.
        if queries == keys:
            return AttentionMask(causal=True)
    allowed: Tensor | None = None
    if hides_future or hides_past:
        allowed = causal_pattern(queries, keys, device)
        if prefix is not None:
            allowed = allowed | (torch.arange(keys, device=device) < prefix[:, None])[:, None, None, :]
        if hides_past and window is not None:
            allowed = allowed.triu(keys - queries - window + 1)
    if documents is not None:
        together = (documents[:, keys - queries :, None] == documents[:, None, :])[:, None]
        allowed = together if allowed is None else allowed & together
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


def places_in_documents(documents: Tensor) -> Tensor:
    """(batch, seq) numbers of documents side by side -> each token's place in its own document, from 0."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.nn.functional.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return places - (places * begins).cummax(1).values
