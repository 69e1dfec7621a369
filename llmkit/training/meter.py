"""What a run makes of its machine: puts operations per second, and their share of the limit, into the steps' events."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from llmkit.models.two_towers import EncoderDecoderModel
from llmkit.recipe.schema import TrainSettings
from llmkit.training.events import Event, Stage, Start, Step
from llmkit.training.flops import step_flops
from llmkit.training.limit import matrix_limit, raise_limit
from llmkit.training.objectives.objective import Batch, Objective
from llmkit.training.seeds import Purpose, generators

# A rate so many times the limit is a slip of the clock over a few short steps, and no discovery.
_BELIEVED = 1.5


@dataclass
class Meter:
    """Completes the events of a session on their way to the listeners.

    seconds: what earlier sessions of the run trained for; the steps' seconds become those of the whole run.
    devices: accelerators that share the work.
    """

    model: nn.Module
    objective: Objective
    settings: TrainSettings
    device: torch.device
    dtype: torch.dtype
    seconds: float = 0.0
    devices: int = 1
    per_token: float = 0.0
    limit: float | None = None

    def __call__(self, event: Event) -> Event:
        """The event with what is known about it."""
        if isinstance(event, Start):
            self.per_token = self._flops_per_token(event.step)
            limit = matrix_limit(self.device, self.dtype)
            self.limit = limit * self.devices if limit else None
            return replace(event, flops_per_token=self.per_token, limit_flops=self.limit)
        if isinstance(event, Stage):
            self.per_token = self._flops_per_token(event.step)
        elif isinstance(event, Step):
            return replace(event, seconds=self.seconds + event.seconds, utilisation=self._utilisation(event))
        return event

    def _utilisation(self, event: Step) -> float | None:
        if not self.limit or not self.per_token:
            return None
        reached = self.per_token * event.tokens_per_second
        if self.limit < reached < _BELIEVED * self.limit:
            self.limit = reached
            raise_limit(self.device, self.dtype, reached / self.devices)
        return min(1.0, reached / self.limit)

    def _flops_per_token(self, step: int) -> float:
        """Operations per token of the batch at `step`; 0 where they cannot be told."""
        s = self.settings
        try:
            picks = self.objective.picks(step * s.accumulate * s.batch_size, s.batch_size)
            batch = self.objective.collate(picks, generators(s.seed, Purpose.CORRUPTION, picks.draw))
            return batch_flops(self.model, batch, self.objective.partner) / max(1, batch.n_tokens)
        except Exception:  # a number for people to look at: whatever is wrong with it, the run goes on without
            return 0.0


def batch_flops(model: nn.Module, batch: Batch, partner: nn.Module | None = None) -> float:
    """Operations of one step on `batch`. partner: a second network that learns on the same tokens.

    Where the loss has several parts, the model's head is taken to work for the largest of them, the partner's for the
    smallest, as in ELECTRA; an encoder-decoder's output is as long as it has targets. Padding is no work, and a
    teacher's is not counted.
    """
    counts = list(batch.counts.values()) or [0]
    length, n = batch.n_tokens / max(1, batch.n_examples), batch.n_examples
    answer = None
    if isinstance(model, EncoderDecoderModel):
        answer = min(length, max(counts) / max(1, n))
        length -= answer
    total = step_flops(model, examples=n, seq_len=max(1.0, length), targets=max(counts), output_len=answer)
    if partner is not None:
        total += step_flops(partner, examples=n, seq_len=length, targets=min(counts))
    return total
