"""One matrix product for each segment of rows: what a mixture of experts computes once its tokens are sorted.

The lengths of the segments are known only when the tokens are, so the loop over them hides inside an operator of its
own: compilers trace it as a single step, and its cost is that of the rows there are, whatever the number of segments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROW_STEP = 64
_LIBRARY = torch.library.Library("llmkit", "FRAGMENT")
_LIBRARY.define("segment_linear(Tensor x, Tensor weight, Tensor ends) -> Tensor")
_LIBRARY.define("segment_outer(Tensor y, Tensor x, Tensor ends) -> Tensor")


def segment_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Row r of x times weight[e]^T, where e is the segment of r.

    Shapes: x (rows, d_in), weight (segments, d_out, d_in), ends (segments,): the row after the last of each, ascending
    -> (rows, d_out). Rows after the last segment are zero. Under autocast it computes in the dtype of matrix products.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    y: Tensor = torch.ops.llmkit.segment_linear(x, weight, ends)
    return y


def _linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    y = x.new_empty(x.shape[0], weight.shape[1])
    start = 0
    for matrix, end in zip(weight.unbind(), ends.tolist(), strict=True):  # device sync
        if end > start:
            y[start:end] = torch.mm(_round(x[start:end]), matrix.t())[: end - start]
        start = end
    y[start:] = 0
    return y


def _outer(y: Tensor, x: Tensor, ends: Tensor) -> Tensor:
    """The sum of y_r x_r^T over each segment's rows: the gradient of its weight, (segments, d_out, d_in)."""
    total = x.new_empty(ends.shape[0], y.shape[1], x.shape[1])
    start = 0
    for matrix, end in zip(total.unbind(), ends.tolist(), strict=True):
        if end > start:
            torch.mm(_round(y[start:end]).t(), _round(x[start:end]), out=matrix)
        else:
            matrix.zero_()
        start = end
    return total


def _round(rows: Tensor) -> Tensor:
    """Zero rows added up to a round number, where oneDNN would build and keep a kernel for every number there is: at
    each step other numbers of tokens go to an expert, and a run in bfloat16 grew by 100 MB with each (measured)."""
    missing = -len(rows) % _ROW_STEP
    if missing == 0 or rows.dtype not in (torch.bfloat16, torch.float16) or rows.device.type != "cpu":
        return rows
    return torch.nn.functional.pad(rows, (0, 0, 0, missing))


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, ends = ctx.saved_tensors
    wants_x, wants_weight, _ = ctx.needs_input_grad
    return (
        torch.ops.llmkit.segment_linear(grad, weight.transpose(1, 2), ends) if wants_x else None,
        torch.ops.llmkit.segment_outer(grad.contiguous(), x, ends) if wants_weight else None,
        None,
    )


_LIBRARY.impl("segment_linear", _linear, "CompositeExplicitAutograd")
_LIBRARY.impl("segment_outer", _outer, "CompositeExplicitAutograd")
# Shapes alone, for compilers.
torch.library.register_fake(
    "llmkit::segment_linear", lambda x, weight, ends: x.new_empty(x.shape[0], weight.shape[1]), lib=_LIBRARY
)
torch.library.register_fake(
    "llmkit::segment_outer", lambda y, x, ends: x.new_empty(ends.shape[0], y.shape[1], x.shape[1]), lib=_LIBRARY
)
torch.library.register_autograd("llmkit::segment_linear", _backward, setup_context=_remember, lib=_LIBRARY)
