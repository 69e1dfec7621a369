"""First values of weights by how many units they join (Glorot and Bengio 2010, without their factor of two)."""

from __future__ import annotations

import torch
from torch import nn

from llmkit.nn.init import Draws


@torch.no_grad()
def init_by_shape(model: nn.Module, std: float | None = None) -> None:
    """Linear weights of deviation (units in + units out) ** -0.5, embeddings of deviation 1, biases zero.

    std: one deviation for all of them instead. Tied weights are drawn once, as embeddings. A module with weights of
    another kind draws them itself, in a method `draw(std)`.
    """
    drawn: set[int] = set()
    for module in model.modules():
        # On the meta device there is nothing to draw, and torch would import its compiler (2 s) to draw it.
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, Draws):
            module.draw(1.0 if std is None else std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, (nn.Linear, nn.Embedding)) and id(module.weight) not in drawn:
            drawn.add(id(module.weight))
            usual = sum(module.weight.shape) ** -0.5 if isinstance(module, nn.Linear) else 1.0
            nn.init.normal_(module.weight, std=usual if std is None else std)
