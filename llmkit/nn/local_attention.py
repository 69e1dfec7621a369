"""Attention to the tokens nearby, and to a few that everyone sees and that see everyone (Beltagy et al. 2020).

The text is cut into blocks. A block's queries meet the keys of the block itself and of its surroundings as far as the
window reaches, and before those the global tokens: (queries, keys) is (block, global + block + 2 reach), so that time
and memory grow with the length of the text, not with its square. Which tokens are global may differ from row to row;
every row has as many places for them as the row with most, and the surplus places are masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.nn.attention import AttentionPart
from llmkit.nn.context import Context
from llmkit.nn.linear import Linear
from llmkit.nn.masks import FREE, AttentionMask

_LEAST_BLOCK = 32  # queries; smaller blocks make products too small to be fast


class LocalPattern:
    """Who sees whom in one pass; made once, with one set of blocks for each reach that layers ask for.

    key_mask: (batch, seq), nonzero where a token may be seen; None: everywhere. is_global: (batch, seq) booleans;
    None: nowhere. n_global: the most that a row has. causal: tokens see none after themselves.
    index, real: (batch, n_global), where the global tokens stand, and whether such a place holds one.
    """

    def __init__(
        self,
        x: Tensor,
        *,
        key_mask: Tensor | None = None,
        is_global: Tensor | None = None,
        n_global: int = 0,
        causal: bool = False,
    ) -> None:
        batch, seq, _ = x.shape
        everywhere = torch.ones(batch, seq, dtype=torch.bool, device=x.device)
        self.seen = everywhere if key_mask is None else key_mask != 0
        self.is_global = ~everywhere if is_global is None else is_global & self.seen
        self.batch, self.seq, self.n_global, self.causal, self.dtype = batch, seq, n_global, causal, x.dtype
        # Surplus places hold other tokens, no two the same, so that writing back what stands there is no conflict.
        order = self.is_global.int().sort(descending=True, stable=True).indices
        self.index = order[:, :n_global]
        self.real = self.is_global.gather(1, self.index)
        self.row_mask = FREE if key_mask is None and not causal else self._row_mask()
        self._blocks: dict[int, Blocks] = {}

    def blocks(self, reach: int) -> Blocks:
        """The text cut up for windows of `reach` tokens to either side."""
        if reach not in self._blocks:
            self._blocks[reach] = Blocks(self, reach)
        return self._blocks[reach]

    def pick(self, x: Tensor) -> Tensor:
        """The rows of global tokens: x (batch, seq, ...) -> (batch, n_global, ...)."""
        return x[torch.arange(self.batch, device=x.device)[:, None], self.index]

    def put(self, x: Tensor, rows: Tensor) -> Tensor:
        """x (batch, seq, width) with the rows of global tokens replaced by `rows` (batch, n_global, width)."""
        index = self.index[..., None].expand_as(rows)
        return x.scatter(1, index, rows.where(self.real[..., None], x.gather(1, index)))

    def _row_mask(self) -> AttentionMask:
        allowed = self.seen[:, None, None, :]
        if self.causal:
            allowed = allowed & (torch.arange(self.seq, device=self.index.device) <= self.index[:, None, :, None])
        return _as_bias(allowed | ~allowed.any(-1, keepdim=True), self.dtype)


class Blocks:
    """A text cut into n blocks of `size` queries, each with `width` keys: its own and `halo` to either side.

    mask: (batch * n, 1, size, n_global + width). A query that may see nothing sees itself; its output is never used.
    """

    def __init__(self, pattern: LocalPattern, reach: int) -> None:
        self.pattern = pattern
        self.size = min(max(reach, _LEAST_BLOCK), pattern.seq)
        self.n = -(-pattern.seq // self.size)
        self.halo = reach if self.n > 1 else 0
        self.width = self.size + 2 * self.halo
        self.left = self.n * self.size - pattern.seq
        self.mask = self._mask(reach)

    def cut(self, x: Tensor) -> Tensor:
        """x (batch, seq, ...) -> (batch * n, size, ...)."""
        padded = F.pad(x, (0, 0) * (x.dim() - 2) + (0, self.left)) if self.left else x
        return padded.reshape(-1, self.size, *x.shape[2:])

    def join(self, x: Tensor) -> Tensor:
        """The reverse of `cut`."""
        return x.reshape(self.pattern.batch, self.n * self.size, *x.shape[2:])[:, : self.pattern.seq]

    def surroundings(self, x: Tensor) -> Tensor:
        """Rows of global tokens, then those in reach of a block: (batch, seq, ...) -> (batch * n, keys, ...)."""
        padded = F.pad(x, (0, 0) * (x.dim() - 2) + (self.halo, self.halo + self.left)) if self.n > 1 else x
        windows = padded.unfold(1, self.width, self.size).movedim(-1, 2)
        everywhere = self.pattern.pick(x)[:, None].expand(-1, self.n, *[-1] * (x.dim() - 1))
        return torch.cat([everywhere, windows], 2).flatten(0, 1)

    def dense(self, weights: Tensor) -> Tensor:
        """Weights (batch * n, heads, size, n_global + width) as a matrix (batch, heads, seq, seq)."""
        p, heads = self.pattern, weights.shape[1]
        far, near = weights.unflatten(0, (p.batch, self.n)).split((p.n_global, self.width), -1)
        whole = weights.new_zeros(p.batch, heads, self.n * self.size, self.n * self.size + 2 * self.halo)
        for i in range(self.n):
            start = i * self.size
            whole[:, :, start : start + self.size, start : start + self.width] = near[:, i]
        near_map = whole[:, :, : p.seq, self.halo : self.halo + p.seq]
        rows = far.transpose(1, 2).flatten(2, 3)[:, :, : p.seq]
        return near_map.scatter_add(-1, p.index[:, None, None].expand_as(rows), rows)

    def _mask(self, reach: int) -> AttentionMask:
        p, device = self.pattern, self.pattern.seen.device
        query = torch.arange(self.size, device=device)[:, None]
        ahead = torch.arange(-self.halo, self.size + self.halo, device=device) - query
        band = (ahead <= (0 if p.causal else reach)) & (ahead >= -reach)
        keys = F.pad(p.seen & ~p.is_global, (self.halo, self.halo + self.left))
        near = keys.unfold(1, self.width, self.size)[:, :, None] & band
        far = p.real[:, None, None].expand(-1, self.n, self.size, -1)
        if p.causal:
            place = query + self.size * torch.arange(self.n, device=device)[:, None, None]
            far = far & (p.index[:, None, None] <= place)
        alone = ~(near.any(-1, keepdim=True) | far.any(-1, keepdim=True))
        allowed = torch.cat([far, near | (alone & (ahead == 0))], -1)
        return _as_bias(allowed.flatten(0, 1)[:, None], p.dtype)


def _as_bias(allowed: Tensor, dtype: torch.dtype) -> AttentionMask:
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return AttentionMask(bias=bias.masked_fill_(~allowed, float("-inf")))


@dataclass
class LocalContext(Context):
    """A context for layers that do not see everything."""

    pattern: LocalPattern = field(kw_only=True)


class LocalAttention(AttentionPart):
    """A token sees `window` / 2 tokens to either side and all global ones; global tokens see everything.

    What global tokens see is projected by weights of its own, `global_q` and `global_kv`; where there are none, these
    are not used. Padding sees nothing and gathers zeros, on which a classifier of left-padded texts depends. The
    context is a `LocalContext`. Shapes: x (batch, seq, d_model) -> the same.
    """

    def __init__(self, d_model: int, n_heads: int, *, window: int, dropout: float = 0.0) -> None:
        self_dim = d_model // n_heads
        super().__init__(scale=self_dim**-0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = self_dim
        self.window = window
        self.qkv = Linear(d_model, 3 * d_model)
        self.global_q = Linear(d_model, d_model)
        self.global_kv = Linear(d_model, 2 * d_model)
        self.out = Linear(d_model, d_model)
        self._running: Blocks | None = None
        self._map: Tensor | None = None

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        assert isinstance(ctx, LocalContext), "local attention needs to be told its pattern"
        pattern = ctx.pattern
        blocks = pattern.blocks(self.window // 2)
        # An interrupted pass leaves a map half drawn.
        self._running, self._map = blocks, None
        heads = self.qkv(x).unflatten(-1, (3, self.n_heads, self.head_dim))
        q, (k, v) = blocks.cut(heads[:, :, 0]), blocks.surroundings(heads[:, :, 1:]).unbind(2)
        y = blocks.join(self._attend(q, k, v, blocks.mask))
        if pattern.n_global:
            q = self.global_q(pattern.pick(x)).unflatten(-1, (self.n_heads, self.head_dim))
            k, v = self.global_kv(x).unflatten(-1, (2, self.n_heads, self.head_dim)).unbind(2)
            y = pattern.put(y, self._attend(q, k, v, pattern.row_mask))
        self._running = self._map = None
        return self.out(y if ctx.key_mask is None else y * pattern.seen[..., None])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """`attend` for heads behind the sequence: (batch, queries, heads, head_dim) -> (batch, queries, d_model)."""
        return self.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2).flatten(2)

    def as_map(self, weights: Tensor) -> Tensor:
        """The dense map; called for the blocks first, then for the rows of global tokens, if any."""
        assert self._running is not None
        if self._map is None:
            self._map = self._running.dense(weights)
        else:
            pattern = self._running.pattern
            rows = weights.transpose(1, 2).flatten(2)
            whole = pattern.put(self._map.transpose(1, 2).flatten(2), rows)
            self._map = whole.unflatten(-1, (self.n_heads, pattern.seq)).transpose(1, 2)
        return self._map

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, window={self.window}, scale={self.scale:.4g}"
