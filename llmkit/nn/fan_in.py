"""First values of weights as Mesh TensorFlow draws them: by the width of what comes in (T5, Raffel et al. 2020)."""

from __future__ import annotations

import torch
from torch import nn

from llmkit.nn.attention import Attention, CrossAttention
from llmkit.nn.init import Draws
from llmkit.nn.moe import Experts
from llmkit.nn.norms import RMSNorm
from llmkit.nn.score_bias import RelativeBias


@torch.no_grad()
def init_fan_in(model: nn.Module, factor: float, *, d_model: int) -> None:
    """Linear weights and experts from a normal distribution of deviation factor / sqrt(width of their input), biases
    zero.

    Embeddings have deviation `factor`, relative positions factor / sqrt(d_model), and norms begin at `factor`. Queries
    are smaller still by sqrt(head_dim), which stands for the scale that such attention leaves out. Tied weights are
    drawn once. A module with weights of another kind draws them itself, in a method `draw(factor)`.
    """
    drawn: set[int] = set()
    for module in model.modules():
        # On the meta device there is nothing to draw, and torch would import its compiler (2 s) to draw it.
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, nn.Embedding) and id(module.weight) not in drawn:
            drawn.add(id(module.weight))
            nn.init.normal_(module.weight, std=factor)
        elif isinstance(module, nn.Linear) and id(module.weight) not in drawn:
            drawn.add(id(module.weight))
            nn.init.normal_(module.weight, std=factor * module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.constant_(module.weight, factor)
        elif isinstance(module, Experts):  # stacked, (n_experts, units out, units in)
            for weight in module.parameters(recurse=False):
                nn.init.normal_(weight, std=factor * weight.shape[-1] ** -0.5)
        elif isinstance(module, Draws):
            module.draw(factor)
    for module in model.modules():
        if isinstance(module, RelativeBias) and not module.table.weight.is_meta:
            module.table.weight.mul_(d_model**-0.5)
        elif isinstance(module, Attention) and not module.qkv.weight.is_meta:
            module.qkv.weight[: module.widths[0]].mul_(module.head_dim**-0.5)
        elif isinstance(module, CrossAttention) and not module.q.weight.is_meta:
            module.q.weight.mul_(module.head_dim**-0.5)
