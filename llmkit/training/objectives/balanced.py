"""Any objective, for a model with routers: experts are also kept equally busy, and routers' scores small.

Switch Transformers balance within each text, both stacks on their own (Fedus et al. 2021, arXiv:2101.03961); Mixtral
balances over the batch (Jiang et al. 2024, arXiv:2401.04088). Padding does not count.

Each layer is balanced by itself, as in the paper, and the mean over layers is taken. transformers counts the choices of
all layers together, and so is content when one layer's idle expert is another's busy one: measured on mixtral-mini,
after 160 steps every expert had about its eighth of all choices, but in each layer one had two fifths, and others none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmkit.errors import UsageError
from llmkit.models.registry import family_of
from llmkit.models.two_towers import EncoderDecoderModel
from llmkit.nn.balance import balance_loss, watch_routers, z_loss
from llmkit.nn.moe import CapacityRouter, Router, Routing
from llmkit.training.objectives.objective import NO_TARGET, Batch, Loss, Measured, Objective, Picks, sum_of

if TYPE_CHECKING:
    from llmkit.training.objectives.given import Given
    from llmkit.training.objectives.glimpse import Glimpse

BALANCE, Z = "balance", "z"
LOAD = "expert_load"


@dataclass(frozen=True)
class Watched:
    """What the routers of one stack decided in one pass.

    stack: its number. mask: (batch, seq), 1 where a token counts; None: all do. per_text: they are to be balanced
    within each text.
    """

    stack: int
    routings: Sequence[Routing]
    mask: Tensor | None
    per_text: bool


class Balanced:
    """`inner` with two more parts of the loss, each a mean over passes, weighted here; a weight of 0 leaves it out."""

    def __init__(self, inner: Objective, *, balance_weight: float, z_weight: float) -> None:
        self.inner = inner
        self.weights = {name: w for name, w in ((BALANCE, balance_weight), (Z, z_weight)) if w > 0}
        self.partner = inner.partner
        self.n_examples = inner.n_examples

    @property
    def remarks(self) -> Sequence[str]:
        """See Objective."""
        return self.inner.remarks

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.inner.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        return self.inner.held_out()

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> Batch:
        """See Objective; a micro-batch weighs as much as it has examples."""
        batch: Batch = self.inner.collate(picks, rngs)
        return replace(batch, counts={**batch.counts, **dict.fromkeys(self.weights, batch.n_examples)})

    def loss(self, model: Any, batch: Any) -> Loss:
        """See Objective."""
        with watched(model, batch) as passes:
            sums = dict(self.inner.loss(model, batch).sums)
        found = {
            BALANCE: [_mean([balance_loss([r], p.mask, per_text=p.per_text) for r in p.routings]) for p in passes],
            Z: [z_loss(p.routings, p.mask) for p in passes],
        }
        for name, weight in self.weights.items():
            # A Switch Transformer of one layer has no sparse one.
            terms = found[name] or [torch.zeros(())]
            sums[name] = sum_of(terms) * (weight * batch.n_examples)
        return Loss(sums, batch.counts)

    def measure(self, model: Any, batch: Any) -> Measured:
        """What the objective measures, and how many tokens chose each expert, (layers, n_experts)."""
        with watched(model, batch) as passes:
            found = dict(self.inner.measure(model, batch))
        loads: list[Tensor] = []
        first: dict[int, Watched] = {}
        for p in passes:
            first.setdefault(p.stack, p)  # later ones read the text in another way, or write answers
        for p in first.values():
            loads += [_load(routing, p.mask) for routing in p.routings]
        return {**found, LOAD: (torch.stack(loads), 0)} if loads else found

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """See Objective; with the share of a layer's tokens that its busiest expert takes, where that is worst."""
        if LOAD not in means:
            return self.inner.scores(means)
        loads = np.asarray(means[LOAD])
        return {**self.inner.scores(means), "busiest_expert": float((loads / loads.sum(-1, keepdims=True)).max())}

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """See Objective."""
        return self.inner.sample(model, step)

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """See Objective."""
        return self.inner.preview(picks, rngs)

    def state(self) -> dict[str, Tensor]:
        """See Objective."""
        return self.inner.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See Objective."""
        self.inner.load_state(tensors)

    def left_out(self) -> None:
        """See Objective."""
        self.inner.left_out()


@contextmanager
def watched(model: nn.Module, batch: Batch) -> Iterator[list[Watched]]:
    """Collect what routers decide inside the `with`; the list is filled at its end, a stack and a pass at a time."""
    found: list[Watched] = []
    with ExitStack() as hooks:
        seen = [(tower, hooks.enter_context(watch_routers(tower))) for tower in _towers(model)]
        yield found
    masks = real_tokens(batch)
    for stack, (tower, routings) in enumerate(seen):
        routers = [m for m in tower.modules() if isinstance(m, Router)]
        per_text = any(isinstance(r, CapacityRouter) for r in routers)
        for first in range(0, len(routings), max(1, len(routers))):
            of_pass = routings[first : first + len(routers)]
            mask = masks[stack]
            fits = mask is not None and mask.shape == of_pass[0].logits.shape[:2]
            found.append(Watched(stack, of_pass, mask if fits else None, per_text))


def real_tokens(batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """(batch, seq), 1 where a token is no padding, of what the model reads and of what it writes; None: all are real.

    Of answers to be written, what asks for no target is padding.
    """
    read: Tensor | None = getattr(batch, "attention_mask", None)
    written: Tensor | None = getattr(batch, "decoder_attention_mask", None)
    ids = getattr(batch, "decoder_input_ids", None)
    if ids is not None and written is None and hasattr(batch, "positions") and hasattr(batch, "targets"):
        asked = batch.positions[batch.targets != NO_TARGET]
        written = torch.zeros(ids.numel(), dtype=torch.long, device=ids.device).index_fill_(0, asked, 1).view_as(ids)
    return read, written


def _mean(terms: list[Tensor]) -> Tensor:
    return sum_of(terms) / len(terms)


def _towers(model: nn.Module) -> list[nn.Module]:
    """The stacks that read and write; a model of one stack is its own."""
    return [model.encoder, model.decoder] if isinstance(model, EncoderDecoderModel) else [model]


def _load(routing: Routing, mask: Tensor | None) -> Tensor:
    """How many tokens wanted each expert, (n_experts,), whether or not it had room."""
    k, n = routing.experts.shape[-1], routing.logits.shape[-1]
    wanted = routing.logits.topk(k, -1).indices
    kept = wanted if mask is None else wanted[mask != 0]
    return torch.bincount(kept.flatten(), minlength=n)


def balanced(objective: Objective, given: Given) -> Objective:
    """The objective, balanced if the model has routers and a weight is above 0.

    Raises UsageError when the recipe gives a weight for a model without routers.
    """
    o, config = given.objective, given.config
    asked = {"balance_weight": o.balance_weight, "z_weight": o.z_weight}
    if not hasattr(config, "balance_weight"):
        for name, weight in asked.items():
            if weight:
                raise UsageError(
                    f"objective.{name} is {weight:g}, but {family_of(config).name} has no routers to balance",
                    "remove it, or choose a family such as mixtral",
                )
        return objective
    wanted = getattr(config, "balance_loss", True)
    own = {name: getattr(config, name, 0.0) if wanted else 0.0 for name in asked}
    weights = {name: own[name] if weight is None else weight for name, weight in asked.items()}
    return Balanced(objective, **weights) if any(weights.values()) else objective
