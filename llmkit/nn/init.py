"""First values of weights. Everything is drawn from torch's global generator, in module order."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from llmkit.nn.attention import Attention
from llmkit.nn.feedforward import FeedForward, GatedFeedForward


@runtime_checkable
class Draws(Protocol):
    """A module that knows how its own weights begin; its submodules are drawn as usual."""

    def draw(self, std: float) -> None: ...


@torch.no_grad()
def init_normal(model: nn.Module, std: float, *, truncated: bool = False) -> None:
    """Weights of linear and embedding layers from a normal distribution, biases zero; norms keep ones and zeros.

    A module with weights of another kind draws them itself, in a method `draw(std)`.
    truncated: redraw what lies beyond two standard deviations, as BERT's first code does. Tied weights are drawn once.
    """
    drawn: set[int] = set()
    for module in model.modules():
        # On the meta device there is nothing to draw, and torch would import its compiler (2 s) to draw it.
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, Draws):
            module.draw(std)
        if not isinstance(module, (nn.Linear, nn.Embedding)):
            continue
        if id(module.weight) not in drawn:
            drawn.add(id(module.weight))
            if truncated and std > 0:
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            else:
                nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def shrink_residual_branches(model: nn.Module, n_layers: int) -> None:
    """Scale what each branch adds to the residual stream by 1 / sqrt(2 n_layers) (Radford et al. 2019).

    With two branches per layer, the stream's variance at the top then does not grow with depth.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            module.out.weight.mul_(1 / math.sqrt(2 * n_layers))
        elif isinstance(module, (FeedForward, GatedFeedForward)):
            module.down.weight.mul_(1 / math.sqrt(2 * n_layers))


@torch.no_grad()
def fill_with_sines(table: nn.Embedding) -> None:
    """Make row p of a table sines and cosines of p, in turns, as the paper does (Vaswani et al. 2017)."""
    rows, d_model = table.weight.shape
    if table.weight.is_meta:
        return
    pair = torch.arange(d_model, dtype=torch.float64, device="cpu") // 2
    angles = torch.arange(rows, dtype=torch.float64, device="cpu")[:, None] * 10000.0 ** (-2 * pair / d_model)
    angles[:, 1::2] += math.pi / 2  # a cosine is a sine a quarter of a turn ahead
    table.weight.copy_(angles.sin())
