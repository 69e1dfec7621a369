"""Attention of several streams over one text, so that each token foretells the next n (ProphetNet, Qi et al. 2020).

The main stream is an ordinary left-to-right decoder. Stream s = 0 ... n - 1 has no tokens of its own, only the places
after the main stream's: its i-th query sees the main stream up to token i - s (always the first), and itself, and
foretells token i + 1, which makes it the (s + 1)-th after the last one seen. All streams share all weights and lie one
behind the other, the main one first: (batch, (1 + streams) * seq, d_model).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.attention import AttentionPart
from llmkit.nn.context import Context
from llmkit.nn.embeddings import Embeddings
from llmkit.nn.linear import Embedding, Linear
from llmkit.nn.masks import AttentionMask


@dataclass
class StreamContext(Context):
    """streams: how many there are beside the main one. reach: what `StreamReach` makes of them."""

    streams: int = 0
    reach: Tensor | None = None


class NgramAttention(AttentionPart):
    """Self-attention of a main stream and of any number of foretelling streams.

    To each score comes a number that the layer makes of x, one for each head and bucket of distances (see
    `StreamReach`). Only the main stream's keys and values are cached.

    Shapes: x (batch, (1 + streams) * seq, d_model) -> the same.
    """

    def __init__(self, d_model: int, n_heads: int, *, n_buckets: int, dropout: float = 0.0) -> None:
        super().__init__(scale=(d_model // n_heads) ** -0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = d_model // n_heads
        self.n_buckets = n_buckets
        self.qkv = Linear(d_model, 3 * d_model)
        self.by_distance = Linear(d_model, n_heads * n_buckets)
        self.out = Linear(d_model, d_model)
        self.main_rows = 0

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        assert isinstance(ctx, StreamContext), "n-gram attention stands in a tower of streams"
        assert ctx.reach is not None, "nobody said how far the streams can see"
        batch, rows, _ = x.shape
        self.main_rows = seq = rows // (1 + ctx.streams)
        q, k, v = self.qkv(x).view(batch, rows, 3, self.n_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        k, own_k = k.split((seq, rows - seq), 2)
        v, own_v = v.split((seq, rows - seq), 2)
        k, v = ctx.cache.extend(ctx.layer, k, v)
        by_distance = self.by_distance(x).view(batch, rows, self.n_heads, self.n_buckets).transpose(1, 2)
        own = self.scale * (q[:, :, seq:] * own_k).sum(-1, keepdim=True) + by_distance[:, :, seq:, :1]
        # What a query can add to a score: by bucket, then its score for itself, then what hides a key.
        own = F.pad(own, (0, 1, seq, 0), value=-math.inf)
        choices = torch.cat([by_distance, own], -1)
        bias = choices.gather(-1, ctx.reach.expand(batch, self.n_heads, -1, -1))
        # A foretelling query sees one key that no other sees, its own. All of these share one more column, with a zero
        # key and the query's own score as bias; one more coordinate of the values tells how much weight it got.
        last = F.pad(v.new_ones(1), (self.head_dim, 0)).expand(batch, self.n_heads, 1, -1)
        y = self.attend(q, F.pad(k, (0, 0, 0, 1)), torch.cat([F.pad(v, (0, 1)), last], 2), AttentionMask(bias=bias))
        y, weight = y.split((self.head_dim, 1), -1)
        y = torch.cat([y[:, :, :seq], y[:, :, seq:] + weight[:, :, seq:] * own_v], 2)
        return self.out(y.transpose(1, 2).reshape(batch, rows, -1))

    def as_map(self, weights: Tensor) -> Tensor:
        """The main stream's, (batch, heads, seq, keys)."""
        return weights[:, :, : self.main_rows, :-1]

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, buckets={self.n_buckets}, scale={self.scale:.4g}"


class StreamReach:
    """Which key is how far behind which query, in buckets, and which are in sight.

    Half of the buckets are single distances, the others grow logarithmically up to `max_distance` (Raffel et al. 2020).
    A foretelling query stands one place further on than the main stream's.
    """

    def __init__(self, n_buckets: int, max_distance: int) -> None:
        self.n_buckets = n_buckets
        self.max_distance = max_distance

    def reach(
        self, seq: int, past: int, streams: int, *, causal: bool, key_mask: Tensor | None, device: torch.device
    ) -> Tensor:
        """(batch or 1, 1, (1 + streams) * seq, past + seq + 1): the bucket for each query and key of the main stream,
        n_buckets in the last column (the query's own key), n_buckets + 1 for what it cannot see.

        key_mask: (batch, past + seq), nonzero where a key may be attended. A main query that could see nothing (left
        padding) sees everything instead.
        """
        place = torch.arange(past + seq, device=device)
        behind = place[past:, None] - place
        bucket = self.buckets(torch.arange(past + seq + 1, device=device))
        of_main, of_others = bucket[behind.clamp(min=0)], bucket[(behind + 1).clamp(min=0)]
        seen = (behind >= 0 if causal else behind == behind)[None]
        later = (behind >= torch.arange(streams, device=device)[:, None, None]) | (place == 0) | (not causal)
        later = later.flatten(0, 1)[None]
        if key_mask is not None:
            there = key_mask.to(torch.bool)[:, None]
            seen, later = seen & there, later & there
            seen = seen | ~seen.any(-1, keepdim=True)
        index = torch.cat([of_main, of_others.repeat(streams, 1)])
        index = index.where(torch.cat([seen, later], 1), self.n_buckets + 1)
        return F.pad(index, (0, 1), value=self.n_buckets)[:, None]

    def buckets(self, distance: Tensor) -> Tensor:
        """Bucket of each distance, 0 and up."""
        single = self.n_buckets // 2
        # Float32 and this order of operations decide the bucket of a distance that falls on a boundary.
        ratio = torch.log(distance.clamp(min=1).float() / single) / math.log(self.max_distance / single)
        grown = (single + ratio * (self.n_buckets - single)).clamp(max=self.n_buckets - 1).long().clamp(min=0)
        return torch.where(distance < single, distance, grown)


class StreamEmbeddings(Embeddings):
    """Tokens for the main stream; for each foretelling stream a vector of its own, at the places after the tokens.

    ngram: how many such streams there can be. stream: their vectors, that of the first stream in the last row.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        ngram: int,
        added: Mapping[str, nn.Module],
        norm: nn.Module,
        dropout: float,
        table: Embedding | None = None,
    ) -> None:
        super().__init__(vocab_size, d_model, added=added, norm=norm, dropout=dropout, table=table)
        self.stream = Embedding(ngram, d_model)
        self.limit -= 1

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor | None, streams: int = 0) -> Tensor:
        """Shapes: ids (batch, seq), positions (batch or 1, seq) -> (batch, (1 + streams) * seq, d_model)."""
        main, later = self.token(ids), self.stream.weight.roll(1, 0)[:streams, None].expand(-1, ids.shape[1], -1)
        later = later.expand(ids.shape[0], -1, -1, -1)
        for part in self.added.values():
            main = main + part(positions, segments).to(main.dtype)
            later = later + part(positions + 1, segments)[:, None].to(main.dtype)
        return self.dropout(self.norm(torch.cat([main, later.flatten(1, 2)], 1)))
