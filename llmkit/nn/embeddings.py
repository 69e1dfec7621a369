"""Token ids to vectors, with what is added to them: positions, segments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from llmkit.nn.linear import Embedding

# Which position each token has when the caller does not say: (ids, attention_mask, tokens before) -> (batch or 1, seq).
Places = Callable[[Tensor, "Tensor | None", int], Tensor]


def counted(ids: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
    """0, 1, 2 ... from the first token, padding counted like any other."""
    return torch.arange(past, past + ids.shape[1], device=ids.device)[None]


def counted_by_mask(ids: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
    """Only tokens that may be attended are counted; padding stands at -1 (OPT)."""
    if attention_mask is None:
        return counted(ids, attention_mask, past)
    real = attention_mask.long()
    return (real.cumsum(-1) * real - 1)[:, past:]


class CountedByPadding:
    """Only tokens that are not padding, by their id, are counted; padding stands at -1 (RoBERTa)."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, ids: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
        real = (ids != self.pad_id).long()
        return (real.cumsum(-1) + past) * real - 1


class LearnedPositions(Embedding):
    """A vector for each position up to `max_seq_len` (Gehring et al. 2017).

    offset: rows before that of position 0; the row before it is for padding (RoBERTa, OPT, BART).
    """

    def __init__(self, max_seq_len: int, d_model: int, *, offset: int = 0) -> None:
        super().__init__(max_seq_len + offset, d_model)
        self.limit = max_seq_len
        self.offset = offset

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        return super().forward(positions + self.offset)


class ClampedPositions(LearnedPositions):
    """All positions beyond the table share its last row, so that a text may be of any length (ProphetNet's encoder)."""

    def __init__(self, max_seq_len: int, d_model: int, *, offset: int = 0) -> None:
        super().__init__(max_seq_len, d_model, offset=offset)
        self.last = max_seq_len - 1
        self.limit = sys.maxsize

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        return super().forward(positions.clamp(max=self.last))


class SinusoidalPositions(nn.Module):
    """Sines, then cosines, of the position at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017).

    The paper takes them in turns; the two layouts differ by an order of coordinates that training never sees. limit:
    the longest sequence it may be asked for. dtype: of the angles. At position 1000, a float32 angle is already wrong
    in the fourth place of its sine; models that were trained on such angles (CTRL) still need just those.
    """

    def __init__(self, d_model: int, *, limit: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.limit = limit
        half = torch.arange((d_model + 1) // 2, dtype=dtype, device="cpu")
        self.frequencies = 1.0 / 10000.0 ** (2 * half / d_model)
        self.n_cosines = d_model // 2

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        # Apple's GPUs have no float64.
        where = "cpu" if positions.device.type == "mps" else positions.device
        places = positions.clamp(min=0).to(where, self.frequencies.dtype)
        angles = places[..., None] * self.frequencies.to(where)
        return torch.cat([angles.sin(), angles.cos()[..., : self.n_cosines]], -1).float().to(positions.device)

    def extra_repr(self) -> str:
        return f"up to {self.limit}"


class Segments(Embedding):
    """A vector for each kind of segment; without segment ids every token belongs to segment 0 (BERT)."""

    limit = sys.maxsize

    def forward(self, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        return self.weight[0] if segments is None else super().forward(segments)


class Scale(nn.Module):
    """x times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:.4g}"


class RoundedScale(Scale):
    """x times a constant that is rounded to the dtype of x first: in bfloat16, sqrt(3072) is 55.5, not 55.43."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tensor(self.factor, dtype=x.dtype, device="cpu")  # a CUDA scalar would cost a copy


class Embeddings(nn.Module):
    """project(dropout(norm(token_project(token vector) + every vector in `added`))).

    d_embed: width of the token vectors. added: modules called with positions (batch or 1, seq) and segments
    (batch, seq) or None; parts that a family does not have are simply not in it. token_project: before the sum (OPT's
    projection, a scale); project: after all (ALBERT, ELECTRA). places: positions of tokens unless told.
    table: a token table that another part owns too. limit: the longest sequence they can place.

    Shapes: ids (batch, seq) -> (batch, seq, d_model).
    """

    def __init__(
        self,
        vocab_size: int,
        d_embed: int,
        *,
        added: Mapping[str, nn.Module] | None = None,
        token_project: nn.Module | None = None,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
        project: nn.Module | None = None,
        places: Places = counted,
        table: Embedding | None = None,
    ) -> None:
        super().__init__()
        self.token = table or Embedding(vocab_size, d_embed)
        self.token_project = token_project or nn.Identity()
        self.added = nn.ModuleDict(dict(added or {}))
        self.norm = norm or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.project = project or nn.Identity()
        self.places = places
        self.limit = min([sys.maxsize, *(int(part.limit) for part in self.added.values())])  # type: ignore[arg-type]

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor | None) -> Tensor:
        x = self.token_project(self.token(ids))
        for part in self.added.values():
            x = x + part(positions, segments).to(x.dtype)
        return self.project(self.dropout(self.norm(x)))
