"""Cross-entropy of an output layer without its matrix of scores.

With a large vocabulary the scores, their softmax and its gradient are the largest tensors of a training step, each
(rows, vocab). Here a chunk of rows at a time goes forward and at once backward, in one buffer; what stays is the
gradient of the rows and of the output layer's weight, which there has to be anyhow.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.heads import LMHead
from llmkit.nn.linear import product
from llmkit.training.objectives.objective import NO_TARGET

# Up to here the whole matrix is as fast or faster (measured: by up to 15 % in bfloat16), and memory enough for it.
LEAST_SCORES = 2**22
# Scores of one chunk: as many as a processor's caches bear; an accelerator wants large products.
CHUNK_SCORES = {"cpu": 2**22, "cuda": 2**26}
_ROW_STEP = 64


def token_nats(head: nn.Module, rows: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Summed cross-entropy of `head(rows)`, in nats: a float32 scalar with gradient.

    rows: (n, d_model) hidden states; targets: (n,) ids, NO_TARGET (-100) where nothing is asked. The same as
    `F.cross_entropy(head(rows).float(), targets, reduction="sum", label_smoothing=...)`, which is what runs where there
    are few scores. A second backward pass through the result raises RuntimeError, as the first uses its gradients up.
    """
    if not isinstance(head, LMHead) or not _is_worth_it(head, rows):
        return F.cross_entropy(head(rows).float(), targets, reduction="sum", label_smoothing=label_smoothing)
    decoder = head.decoder
    nats: Tensor = _ChunkedNats.apply(
        head.transform(rows), decoder.weight, decoder.bias, targets, label_smoothing, torch.is_grad_enabled()
    )
    return nats


def _is_worth_it(head: LMHead, rows: Tensor) -> bool:
    if rows.shape[0] * head.decoder.out_features < LEAST_SCORES:
        return False
    # A weight cut up over processes comes together only inside its own module's forward pass.
    return type(head.decoder.weight) is nn.Parameter


class _ChunkedNats(torch.autograd.Function):
    """Inputs (n, d), weight (vocab, d), bias (vocab,) or None, targets (n,) to summed nats."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, learns: bool
    ) -> Tensor:
        wants = [
            t is not None and learns and wanted
            for t, wanted in zip((x, weight, bias), ctx.needs_input_grad[:3], strict=True)
        ]
        found: list[Tensor | None] = [torch.empty_like(x) if wants[0] else None, None, None]
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x, weight = (t.to(torch.get_autocast_dtype(device)) for t in (x, weight))
        nats = torch.zeros((), device=x.device, dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            for part in _chunks(x.shape[0], weight.shape[0], device):
                grad = _scores_to_gradient(product(x[part], weight, bias), targets[part], smoothing, nats)
                if wants[2]:
                    found[2] = _plus(found[2], grad.sum(0))
                grad = grad.to(x.dtype)
                if found[0] is not None:
                    found[0][part] = product(grad, weight.t())
                if wants[1]:
                    found[1] = _plus(found[1], product(grad.t(), x[part].t()))
        ctx.save_for_backward(*found)
        return nats

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # In place, as a copy of the weight's gradient would be among the largest tensors of the step.
        x, weight, bias = (t if t is None else t.mul_(grads[0]) for t in ctx.saved_tensors)
        return x, weight, bias, None, None, None


def _plus(total: Tensor | None, more: Tensor) -> Tensor:
    """The sum in float32, in which many chunks lose no small gradients; `total` is changed."""
    return more.float() if total is None else total.add_(more)


def _chunks(rows: int, vocab: int, device: str) -> list[slice]:
    """Runs of rows of about equal length, each with about CHUNK_SCORES scores."""
    most = max(_ROW_STEP, CHUNK_SCORES["cpu" if device == "cpu" else "cuda"] // vocab // _ROW_STEP * _ROW_STEP)
    return [slice(first, min(first + most, rows)) for first in range(0, rows, most)]


def _scores_to_gradient(scores: Tensor, targets: Tensor, smoothing: float, nats: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy by `scores` (n, vocab), in their place; the sum is added to `nats`."""
    logs = F.log_softmax(scores, -1, dtype=torch.float32)
    counts = targets != NO_TARGET
    column = targets.where(counts, 0)[:, None]
    at_target = logs.gather(1, column)[:, 0].mul_(-(1.0 - smoothing))
    if smoothing:
        at_target -= logs.mean(-1) * smoothing
    nats += at_target.where(counts, 0.0).sum()
    grad = logs.exp_()
    grad.scatter_add_(1, column, grad.new_full((), smoothing - 1.0).expand(column.shape))
    if smoothing:
        grad -= smoothing / grad.shape[-1]
    if grad.device.type != "cpu" or not counts.all():  # elsewhere, asking would wait for the device
        grad.masked_fill_(~counts[:, None], 0.0)
    return grad
