"""Multi-head attention with grouped keys and values (Vaswani et al. 2017; Ainslie et al. 2023)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from llmkit.nn.context import Context
from llmkit.nn.kernels import Kernel, fused_attention
from llmkit.nn.linear import Linear
from llmkit.nn.masks import AttentionMask


class AttentionPart(nn.Module):
    """What every kind of attention has in common, so that `capture_attention` can look into it.

    kernel: does softmax(scores) v; capturing swaps it. A part calls it as forward(x, ctx) with the context second.
    dropout: rate at which attention weights are dropped in training.
    """

    looks_at: ClassVar[str] = "itself"  # or "memory"

    def __init__(self, *, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = dropout
        self.kernel: Kernel = fused_attention

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Values gathered for each query. Shapes as in `Kernel`: q (batch, heads, queries, head_dim)."""
        return self.kernel(q, k, v, mask, scale=self.scale, dropout=self.dropout if self.training else 0.0)

    def as_map(self, weights: Tensor) -> Tensor:
        """What the kernel weighed, laid out as (batch, heads, queries, keys); for parts that cut the text up."""
        return weights


class Attention(AttentionPart):
    """Every token gathers values from the tokens it may look at, weighted by how well its query meets their keys.

    n_kv_heads: heads of keys and values, each shared by n_heads / n_kv_heads query heads. scale: of the scores, by
    default head_dim ** -0.5. dropout: of the attention weights, in training.

    Shapes: x (batch, seq, d_model) -> (batch, seq, d_model). One projection makes q, k and v: `qkv` holds the rows
    of all query heads, then all key heads, then all value heads.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        bias: bool = True,
        out_bias: bool | None = None,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        self_dim = head_dim or d_model // n_heads
        super().__init__(scale=self_dim**-0.5 if scale is None else scale, dropout=dropout)
        self.head_dim = self_dim
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads or n_heads
        self.qkv = Linear(d_model, sum(self.widths), bias=bias)
        self.out = Linear(n_heads * self.head_dim, d_model, bias=bias if out_bias is None else out_bias)

    @property
    def widths(self) -> tuple[int, int, int]:
        """Rows of `qkv` that belong to queries, keys and values."""
        kv = self.n_kv_heads * self.head_dim
        return self.n_heads * self.head_dim, kv, kv

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        batch, seq, _ = x.shape
        heads = self.qkv(x).view(batch, seq, -1, self.head_dim)
        q, k, v = heads.split((self.n_heads, self.n_kv_heads, self.n_kv_heads), dim=2)
        q, k = ctx.rotation.before_cache(q, k)
        k, v = ctx.cache.extend(ctx.layer, k.transpose(1, 2), v.transpose(1, 2))
        k = ctx.rotation.after_cache(k)
        y = self.attend(q.transpose(1, 2), k, v, ctx.mask)
        return self.out(y.transpose(1, 2).reshape(batch, seq, -1))

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, kv_heads={self.n_kv_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}"


class CrossAttention(AttentionPart):
    """Every token of the output gathers values from all tokens of the input, `ctx.memory`.

    Keys and values of the memory are made once and kept in the cache. Shapes: x (batch, seq, d_model) -> the same;
    `kv` holds the rows of all key heads, then all value heads.
    """

    looks_at = "memory"

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        head_dim: int | None = None,
        bias: bool = True,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        self_dim = head_dim or d_model // n_heads
        super().__init__(scale=self_dim**-0.5 if scale is None else scale, dropout=dropout)
        self.head_dim = self_dim
        self.n_heads = n_heads
        self.q = Linear(d_model, n_heads * self_dim, bias=bias)
        self.kv = Linear(d_model, 2 * n_heads * self_dim, bias=bias)
        self.out = Linear(n_heads * self_dim, d_model, bias=bias)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        assert ctx.memory is not None, "cross-attention has nothing to read"
        batch, seq, _ = x.shape
        memory = ctx.memory
        k, v = ctx.cache.remember(ctx.layer, lambda: self._keys_and_values(memory.hidden))
        q = self.q(x).view(batch, seq, self.n_heads, self.head_dim).transpose(1, 2)
        y = self.attend(q, k, v, memory.mask)
        return self.out(y.transpose(1, 2).reshape(batch, seq, -1))

    def _keys_and_values(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        heads = self.kv(hidden).view(*hidden.shape[:2], 2 * self.n_heads, self.head_dim).transpose(1, 2)
        k, v = heads.chunk(2, dim=1)
        return k, v

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}"
