"""Sparse mixtures of experts: many feed-forward layers, of which each token goes through few (Shazeer et al. 2017).

A router says which; tokens are sorted by expert, each expert works on its own, and the results go back in order. Work
is that of the experts chosen. What routers decided can be watched, which is how training balances them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.activations import Activation
from llmkit.nn.context import Context
from llmkit.nn.linear import Linear
from llmkit.nn.segments import segment_linear


class Routing(NamedTuple):
    """What a router decided. logits: (batch, seq, n_experts); experts, weights: (batch, seq, k), each token's experts
    (n_experts for none) and what their outputs are multiplied by."""

    logits: Tensor
    experts: Tensor
    weights: Tensor


class Jitter(nn.Module):
    """x times noise from [1 - amount, 1 + amount], in training (Fedus et al. 2021)."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.amount):
            return x
        return x * torch.empty_like(x).uniform_(1 - self.amount, 1 + self.amount)

    def extra_repr(self) -> str:
        return f"{self.amount}"


class Router(nn.Module):
    """x (batch, seq, d_model) -> Routing; the base of the others, so that they can be watched."""

    def __init__(self, d_model: int, n_experts: int, *, bias: bool = False) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.linear = Linear(d_model, n_experts, bias=bias)

    def forward(self, x: Tensor, ctx: Context) -> Routing:
        raise NotImplementedError


class TopRouter(Router):
    """The k experts with the highest scores, their probabilities scaled to sum to 1 (Jiang et al. 2024)."""

    def __init__(self, d_model: int, n_experts: int, k: int) -> None:
        super().__init__(d_model, n_experts)
        self.k = k

    def forward(self, x: Tensor, ctx: Context) -> Routing:
        logits = self.linear(x)
        weights, experts = torch.softmax(logits.float(), -1).topk(self.k, -1)
        return Routing(logits, experts, weights / weights.sum(-1, keepdim=True))

    def extra_repr(self) -> str:
        return f"k={self.k}"


class CapacityRouter(Router):
    """The one expert with the highest score, weighted by its probability, as long as it has room (Fedus et al. 2021).

    capacity: tokens of one text that an expert takes, first come first served; the others go through none. The cache
    remembers who came before, so that a text read in pieces is routed like the whole. dtype: that of scores and
    probabilities, for which float32 is precise enough to train stably when all else is in half precision. jitter: noise
    on what it looks at.
    """

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        *,
        capacity: int,
        bias: bool = False,
        jitter: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(d_model, n_experts, bias=bias)
        self.capacity = capacity
        self.jitter = Jitter(jitter)
        self.dtype = dtype

    def forward(self, x: Tensor, ctx: Context) -> Routing:
        bias = None if self.linear.bias is None else self.linear.bias.to(self.dtype)
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(self.jitter(x.to(self.dtype)), self.linear.weight.to(self.dtype), bias)
            probabilities = torch.softmax(logits, -1).to(x.dtype)
        weights, experts = probabilities.max(-1, keepdim=True)
        taken = ctx.cache.extend_choices(ctx.layer, experts[..., 0])
        numbers = torch.arange(self.n_experts, device=x.device)
        place = (taken[..., None] == numbers).cumsum(1)[:, -x.shape[1] :].gather(-1, experts)
        return Routing(logits, torch.where(place <= self.capacity, experts, self.n_experts), weights)

    def extra_repr(self) -> str:
        return f"capacity={self.capacity}, dtype={str(self.dtype).removeprefix('torch.')}"


class Experts(nn.Module):
    """Feed-forward layers without biases, one per expert: down_e(act(up_e(x))). dropout: of the hidden units.

    Shapes: x (tokens, d_model), experts and weights (tokens, k) -> (tokens, d_model), the weighted sum over k.
    Weights are stacked: up (n_experts, d_ff, d_model), down (n_experts, d_model, d_ff).
    """

    def __init__(self, d_model: int, d_ff: int, act: Activation, *, n_experts: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.act = act
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Parameter(torch.empty(n_experts, d_ff, d_model))
        self.down = nn.Parameter(torch.empty(n_experts, d_model, d_ff))

    def draw(self, std: float) -> None:
        for weight in self.parameters():
            nn.init.normal_(weight, std=std)

    def hidden(self, x: Tensor, ends: Tensor) -> Tensor:
        """Hidden units of tokens sorted by expert; ends: as in `segment_linear`."""
        return self.act(segment_linear(x, self.up, ends))

    def forward(self, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        tokens, k = experts.shape
        ranked, order = experts.flatten().sort(stable=True)
        ends = torch.searchsorted(ranked, torch.arange(self.n_experts, device=x.device), right=True)
        # Rows are fetched as from an embedding, whose gradient is summed faster than that of any other indexing.
        rows = F.embedding(order // k, x)
        y = segment_linear(self.dropout(self.hidden(rows, ends)), self.down, ends)
        back = torch.empty_like(order).scatter_(0, order, torch.arange(tokens * k, device=x.device))
        y = F.embedding(back, y).view(tokens, k, -1)
        return (y * weights[..., None]).sum(1).to(x.dtype)

    def extra_repr(self) -> str:
        n, d_model, d_ff = self.down.shape
        return f"{n} x ({d_model}, {d_ff})"


class GatedExperts(Experts):
    """The same with a gate: down_e(act(gate_e(x)) * up_e(x)).

    gate_up (n_experts, 2 d_ff, d_model) holds the rows of each expert's gate, then those of its up.
    """

    def __init__(self, d_model: int, d_ff: int, act: Activation, *, n_experts: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, d_ff, act, n_experts=n_experts, dropout=dropout)
        del self.up
        self.gate_up = nn.Parameter(torch.empty(n_experts, 2 * d_ff, d_model))

    def hidden(self, x: Tensor, ends: Tensor) -> Tensor:
        gate, up = segment_linear(x, self.gate_up, ends).chunk(2, -1)
        return self.act(gate) * up


class MixtureOfExperts(nn.Module):
    """Each token through the experts its router chose. jitter: noise on what router and experts see, in training.

    Shapes: x (batch, seq, d_model) -> (batch, seq, d_model).
    """

    def __init__(self, router: Router, experts: Experts, *, jitter: float = 0.0) -> None:
        super().__init__()
        self.jitter = Jitter(jitter)
        self.router = router
        self.experts = experts

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        x = self.jitter(x)
        routing = self.router(x, ctx)
        y = self.experts(x.flatten(0, 1), routing.experts.flatten(0, 1), routing.weights.flatten(0, 1))
        return y.view_as(x)
