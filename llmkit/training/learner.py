"""The model and what it is asked to do as one module: a batch in, the sums of the loss terms out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from llmkit.training.objectives.objective import Measured, Objective


class Learner(nn.Module):
    """Everything that learns: the model, and the objective's second network where there is one.

    Its forward pass is the loss, so that whatever wraps modules (distributed training, compilers) sees all of it.
    """

    partner: nn.Module | None

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.partner = objective.partner
        self.objective = objective

    def forward(self, batch: Any, *, measure: bool = False) -> dict[str, Tensor] | Measured:
        """Sums of the loss terms by part, each over batch.counts[part] terms; or what `measure` gives on the batch."""
        if measure:
            return self.objective.measure(self.model, batch)
        return dict(self.objective.loss(self.model, batch).sums)

    def learning(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name; the model's own names stay as they are."""
        found = self.named_parameters()  # one that both networks share comes once
        return {name.removeprefix("model."): p for name, p in found if p.requires_grad}
