"""Two neighbouring tokens into one, and what then becomes of positions, segments and masks (Dai et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Resolution:
    """The text at one resolution: positions and segments (batch or 1, seq), and who sees whom.

    allowed: (batch or 1, queries, keys) booleans, None if everyone sees everyone. stride: how far its tokens stand
    from each other.
    """

    positions: Tensor
    segments: Tensor
    allowed: Tensor | None = None
    stride: int = 1

    @property
    def seq(self) -> int:
        return self.positions.shape[1]


class Pairs:
    """Tokens in twos from the start; the last of an odd number stays alone.

    maximum: a pair becomes its maximum, else its mean. least: a text of so many tokens is not pooled any further.
    """

    least = 1

    def __init__(self, *, maximum: bool) -> None:
        self.reduce = torch.amax if maximum else torch.mean

    def members(self, seq: int, device: torch.device) -> Tensor:
        """Which tokens each pooled one is made of, (pooled, 2)."""
        return _in_twos(torch.arange(seq, device=device))

    def exempt(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """Pairs for which neither distance nor segment counts, broadcastable to (queries, keys)."""
        return torch.zeros(1, 1, dtype=torch.bool, device=device)

    def lengthen(self, x: Tensor, times: int, seq: int) -> Tensor:
        """Every token `times` times, up to `seq` tokens. Shapes: (batch, pooled, d_model) -> (batch, seq, d_model)."""
        return x.repeat_interleave(times, 1)[:, :seq]

    def pool(self, x: Tensor) -> Tensor:
        """Shapes: (batch, seq, d_model) -> (batch, pooled, d_model)."""
        members = self.members(x.shape[1], x.device)
        return self.reduce(x.index_select(1, members.flatten()).unflatten(1, members.shape), 2)

    def pool_queries(self, resolution: Resolution) -> Resolution:
        """A pooled token stands where its first one does, belongs to its segment and sees what it sees."""
        first = self.members(resolution.seq, resolution.positions.device)[:, 0]
        allowed = None if resolution.allowed is None else resolution.allowed[:, first]
        return Resolution(resolution.positions[:, first], resolution.segments[:, first], allowed, 2 * resolution.stride)

    def pool_keys(self, resolution: Resolution) -> Resolution:
        """A pooled token is seen by those who see both of its tokens."""
        if resolution.allowed is None:
            return resolution
        members = self.members(resolution.allowed.shape[2], resolution.positions.device)
        both = resolution.allowed[:, :, members.flatten()].unflatten(2, members.shape).all(-1)
        return replace(resolution, allowed=both)


class PairsAfterFirst(Pairs):
    """The first token ([CLS]) stays alone, and is exempt from distances and segments.

    cut: each pooling leaves the last token out, so that a length that is a power of two remains one.
    """

    least = 2

    def __init__(self, *, maximum: bool, cut: bool) -> None:
        super().__init__(maximum=maximum)
        self.cut = int(cut)

    def members(self, seq: int, device: torch.device) -> Tensor:
        tokens = torch.arange(seq - self.cut, device=device)
        return _in_twos(torch.cat([tokens[:1], tokens]))

    def exempt(self, queries: int, keys: int, device: torch.device) -> Tensor:
        return (torch.arange(queries, device=device) == 0)[:, None] | (torch.arange(keys, device=device) == 0)

    def lengthen(self, x: Tensor, times: int, seq: int) -> Tensor:
        # Tokens that were left out get zeros.
        others = F.pad(x[:, 1:].repeat_interleave(times, 1), (0, 0, 0, self.cut * (times - 1)))
        return torch.cat([x[:, :1], others[:, : seq - 1]], 1)


def _in_twos(tokens: Tensor) -> Tensor:
    """Pairs of neighbours, the last one with itself when it has none."""
    even = torch.cat([tokens, tokens[-1:]])[: len(tokens) + len(tokens) % 2]
    return even.view(-1, 2)
