"""Token rows to padded batches: rows of like length share one, and answers go back to where the rows stood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmkit.errors import InputRefused
from llmkit.tokenization.framing import Framed

TOKENS = 8192
"""Tokens in a batch, padding included: enough to keep the cores busy, little enough for the attention's memory."""


@dataclass(frozen=True)
class Batch:
    """index: which rows these are; input_ids, token_type_ids: (batch, seq); attention_mask: None without padding."""

    index: list[int]
    input_ids: Tensor
    attention_mask: Tensor | None
    token_type_ids: Tensor | None


def batches(rows: Sequence[Framed], *, pad_id: int, device: torch.device, tokens: int = TOKENS) -> Iterator[Batch]:
    """Rows sorted by length, in batches of at most `tokens` tokens (or one row)."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    start = 0
    for end in range(1, len(order) + 1):
        full = end == len(order) or (end + 1 - start) * len(rows[order[end]].ids) > tokens
        if full:
            yield _padded(rows, order[start:end], pad_id, device)
            start = end


def finite(logits: Tensor) -> Tensor:
    """`logits` in float32. Raises InputRefused when one is NaN or infinite: any answer from them would be made up."""
    logits = logits.float()
    if not bool(logits.isfinite().all()):
        raise InputRefused("the model gives numbers that are not finite", "its weights are damaged or diverged")
    return logits


def _padded(rows: Sequence[Framed], index: list[int], pad_id: int, device: torch.device) -> Batch:
    longest = len(rows[index[-1]].ids)
    ids = torch.full((len(index), longest), pad_id)
    mask = torch.zeros(len(index), longest, dtype=torch.long)
    segments = torch.zeros_like(mask)
    for place, i in enumerate(index):
        size = len(rows[i].ids)
        ids[place, :size] = torch.tensor(rows[i].ids)
        mask[place, :size] = 1
        if (second := rows[i].segment_start) is not None:
            segments[place, second:size] = 1
    has_padding = len(rows[index[0]].ids) < longest
    has_segments = any(rows[i].segment_start is not None for i in index)
    return Batch(
        index,
        ids.to(device),
        mask.to(device) if has_padding else None,
        segments.to(device) if has_segments else None,
    )
