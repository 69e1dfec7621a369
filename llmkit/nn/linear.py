"""Linear and embedding layers: first values left to the family, and the faster of two CPU kernels.

On AMD processors with AVX-512 the framework's matrix product for float32 (MKL) keeps to AVX2, while oneDNN, which is
built in too, uses the whole register width: about twice as fast, with the same float32 arithmetic. The choice depends
on the processor and on shapes alone, never on a timing, so that a resumed run repeats every bit.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# oneDNN builds a kernel, with memory of its own, for every new shape and keeps the last 1,024: with any number of rows
# (texts of all lengths) that would cost more time than it saves, and gigabytes.
_ROW_STEP = 64
_LEAST_WORK = 2**21  # multiplications; below, starting a oneDNN primitive costs more than it saves


class Linear(nn.Linear):
    """x W^T + b. Shapes: (..., d_in) -> (..., d_out).

    Memory is only reserved: every family draws its weights once, as its paper says, or loads them. Drawing the
    framework's default first would double the time to build a model.
    """

    def reset_parameters(self) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class Embedding(nn.Embedding):
    """Rows of a table by id. Shapes: (...) of ids -> (..., d_model). Memory is only reserved, see `Linear`."""

    def reset_parameters(self) -> None:
        pass


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` by the faster kernel. Shapes: x (..., d_in), weight (d_out, d_in)."""
    if torch.compiler.is_compiling() or not onednn_pays() or not _suits(x, weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        y: Tensor = _OneDnnLinear.apply(rows, weight, bias)
    else:
        y = _product(rows, weight, bias)
    return y.view(*x.shape[:-1], -1)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for matrices x (rows, d_in) by the faster kernel, where no gradient is wanted."""
    if onednn_pays() and _suits(x, weight):
        return _product(x, weight, bias)
    return F.linear(x, weight, None if bias is None else bias.to(x.dtype))


@lru_cache(maxsize=1)
def onednn_pays() -> bool:
    """Whether this processor is one where oneDNN's float32 product beats the framework's."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkl.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            processor = file.read(4096)
    except OSError:
        processor = os.environ.get("PROCESSOR_IDENTIFIER", "")
    return "AuthenticAMD" in processor


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype is torch.float32
        and weight.dtype is torch.float32
        and x.device.type == "cpu"
        and x.numel() * weight.shape[0] >= _LEAST_WORK
        and x.numel() // x.shape[-1] % _ROW_STEP == 0
        and not torch.is_autocast_enabled("cpu")
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b for matrices, in oneDNN."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class _OneDnnLinear(torch.autograd.Function):
    """Forward and backward of a linear layer on matrices x (rows, d_in), weight (d_out, d_in)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0]
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _product(grad, weight.t(), None) if wants_x else None,
            _product(grad.t(), x.t(), None) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
        )
