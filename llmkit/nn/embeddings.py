"""Token ids to vectors, with what is added to them: positions, segments."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from torch import Tensor, nn

from llmkit.nn.linear import Embedding


class LearnedPositions(Embedding):
    """A vector for each position up to `max_seq_len` (Gehring et al. 2017)."""

    def __init__(self, max_seq_len: int, d_model: int) -> None:
        super().__init__(max_seq_len, d_model)
        self.limit = max_seq_len

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        return super().forward(positions)


class Segments(Embedding):
    """A vector for each kind of segment; without segment ids every token belongs to segment 0 (BERT)."""

    limit = sys.maxsize

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        return self.weight[0] if segments is None else super().forward(segments)


class Embeddings(nn.Module):
    """dropout(norm(token vector + every vector in `added`)).

    added: modules called with positions (batch or 1, seq) and segments (batch, seq) or None; parts that a family does
    not have are simply not in it. limit: the longest sequence they can place.

    Shapes: ids (batch, seq) -> (batch, seq, d_model).
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        added: Mapping[str, nn.Module] | None = None,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token = Embedding(vocab_size, d_model)
        self.added = nn.ModuleDict(dict(added or {}))
        self.norm = norm or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.limit = min([sys.maxsize, *(int(part.limit) for part in self.added.values())])  # type: ignore[arg-type]

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor | None) -> Tensor:
        x = self.token(ids)
        for part in self.added.values():
            x = x + part(positions, segments)
        return self.dropout(self.norm(x))
