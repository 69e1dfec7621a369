"""Attention itself, in two kernels with the same arguments: the fused one, and one that can show its weights."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.nn.masks import AttentionMask, causal_pattern


class Kernel(Protocol):
    """softmax(scale * q k^T + mask) v.

    Shapes: q (batch, heads, queries, head_dim), k and v (batch, kv_heads, keys, head_dim) with heads a multiple of
    kv_heads -> (batch, heads, queries, head_dim). dropout is the rate at which attention weights are dropped.
    """

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float
    ) -> Tensor: ...


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
    """The framework's kernel; it never holds the matrix of weights (FlashAttention where the device has it)."""
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask.bias,
        dropout_p=dropout,
        is_causal=mask.causal,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def eager_attention(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float, dropout: float) -> Tensor:
    """The same sum spelled out, for reference."""
    weights = attention_weights(q, k, mask, scale=scale)
    return F.dropout(weights, dropout) @ per_query_head(v, q.shape[1])


def attention_weights(q: Tensor, k: Tensor, mask: AttentionMask, *, scale: float) -> Tensor:
    """The matrix of attention weights (batch, heads, queries, keys); every row sums to 1. Softmax runs in float32."""
    scores = (q @ per_query_head(k, q.shape[1]).transpose(-2, -1)).float() * scale
    if mask.bias is not None:
        scores = scores + mask.bias
    if mask.causal:
        scores = scores.masked_fill(~causal_pattern(q.shape[-2], k.shape[-2], q.device), float("-inf"))
    return torch.softmax(scores, dim=-1).to(q.dtype)


def per_query_head(x: Tensor, heads: int) -> Tensor:
    """Repeat each key or value head for the query heads that share it; a no-op when every query head has its own."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
