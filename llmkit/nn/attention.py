"""Multi-head self-attention with grouped keys and values (Vaswani et al. 2017; Ainslie et al. 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from llmkit.nn.context import Context
from llmkit.nn.kernels import Kernel, fused_attention
from llmkit.nn.linear import Linear


class Attention(nn.Module):
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
        super().__init__()
        self.head_dim = head_dim or d_model // n_heads
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads or n_heads
        self.scale = self.head_dim**-0.5 if scale is None else scale
        self.dropout = dropout
        self.qkv = Linear(d_model, sum(self.widths), bias=bias)
        self.out = Linear(n_heads * self.head_dim, d_model, bias=bias if out_bias is None else out_bias)
        self.kernel: Kernel = fused_attention  # capture_attention swaps it

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
        rate = self.dropout if self.training else 0.0
        y = self.kernel(q.transpose(1, 2), k, v, ctx.mask, scale=self.scale, dropout=rate)
        return self.out(y.transpose(1, 2).reshape(batch, seq, -1))

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, kv_heads={self.n_kv_heads}, head_dim={self.head_dim}, scale={self.scale:.4g}"
