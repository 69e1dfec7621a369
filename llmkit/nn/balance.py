"""Keep experts equally busy: watch what routers decide, and say how far that is from balance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from llmkit.nn.moe import Router, Routing


@contextmanager
def watch_routers(model: nn.Module) -> Iterator[list[Routing]]:
    """Collect the routings of forward passes run inside the `with`, in the order in which layers run.

    Gradients flow through what is collected, so losses made from it train the routers. Costs nothing outside.
    """
    seen: list[Routing] = []
    routers = [module for module in model.modules() if isinstance(module, Router)]
    hooks = [router.register_forward_hook(lambda _, __, routing: seen.append(routing)) for router in routers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def balance_loss(routings: Sequence[Routing], mask: Tensor | None = None, *, per_text: bool = False) -> Tensor:
    """n_experts * sum over experts of (share of tokens that chose it) * (mean probability of it); k when balanced.

    Equations 4 to 6 of Fedus et al. 2021, over all layers together. mask: (batch, seq), 1 where a token counts.
    per_text: make it balanced within each text, the mean over texts (Switch); otherwise within the batch (Mixtral).
    """
    logits, counts = _together(routings, mask)
    probabilities = torch.softmax(logits, -1)
    k = routings[0].experts.shape[-1]
    chosen = torch.zeros_like(logits).scatter_(-1, logits.topk(k, -1).indices, 1.0)
    places = (1,) if per_text else (0, 1)
    total = counts.sum(places)
    share, mean = (chosen * counts).sum(places) / total, (probabilities * counts).sum(places) / total
    return logits.shape[-1] * (share * mean).sum(-1).mean()


def z_loss(routings: Sequence[Routing], mask: Tensor | None = None) -> Tensor:
    """Mean squared logarithm of the softmax's denominator, which keeps scores small (ST-MoE, Zoph et al. 2022)."""
    logits, counts = _together(routings, mask)
    return (logits.logsumexp(-1).square() * counts[..., 0]).sum() / counts.sum()


def _together(routings: Sequence[Routing], mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores of all layers, (batch, layers * seq, n_experts), and which count, (batch, layers * seq, 1)."""
    logits = torch.cat([routing.logits for routing in routings], 1).float()
    if mask is None:
        return logits, logits.new_ones(*logits.shape[:2], 1)
    return logits, mask.repeat(1, len(routings))[..., None].to(logits.dtype)
