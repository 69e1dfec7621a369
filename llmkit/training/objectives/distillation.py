"""Distillation: a student learns to say what a trained teacher says (Sanh et al. 2019, arXiv:1910.01108).

Where something is to be predicted, the student is shown the teacher's probabilities of all tokens, both softened by a
temperature (Hinton et al. 2015, arXiv:1503.02531), beside the token that really stands there; and its last hidden
states are turned in the direction of the teacher's. Encoders fill in masks, decoders guess next tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.models.family import Kind
from llmkit.models.registry import family_of
from llmkit.recipe.schema import ObjectiveSettings
from llmkit.training.objectives import causal, masked
from llmkit.training.objectives.apprentice import check_teacher, hidden_width, start_from
from llmkit.training.objectives.causal import Causal, CausalBatch
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.masked import Masked
from llmkit.training.objectives.masked_batch import MaskedBatch, at_targets, encoded
from llmkit.training.objectives.objective import NO_TARGET, Batch, Loss, Measured, Picks, Plain
from llmkit.training.objectives.staged import Staged

TEACHER, TRUTH, HIDDEN = "teacher", "truth", "hidden"


@dataclass(frozen=True)
class Weights:
    """How much each part of the loss counts, and the temperature of the teacher's part."""

    teacher: float = 5.0
    truth: float = 2.0
    hidden: float = 1.0
    temperature: float = 2.0

    @classmethod
    def of(cls, o: ObjectiveSettings) -> Weights:
        """Those of a recipe."""
        return cls(o.teacher_weight, o.truth_weight, o.hidden_weight, o.temperature)


class Distillation(Plain):
    """The examples of `data`, with the answers of `teacher`, which stays as it is and where the student is."""

    def __init__(
        self,
        data: Masked | Staged | Causal,
        teacher: Any,
        weights: Weights,
        *,
        label_smoothing: float = 0.0,
        remarks: Sequence[str] = (),
    ) -> None:
        self.data, self.weights, self.label_smoothing, self._remarks = data, weights, label_smoothing, remarks
        self.teacher = teacher.eval().requires_grad_(False)
        self.n_examples = data.n_examples

    @property
    def remarks(self) -> Sequence[str]:
        """See Objective."""
        return self._remarks

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.data.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        return self.data.held_out()

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> Batch:
        """Examples of the data."""
        batch = self.data.collate(picks, rngs)
        n = next(iter(batch.counts.values()))
        every = {TEACHER: n, TRUTH: n, HIDDEN: batch.n_tokens}
        return replace(batch, counts={part: n for part, n in every.items() if getattr(self.weights, part)})

    def loss(self, model: Any, batch: Any) -> Loss:
        """The parts of the loss that count for something, weighted."""
        return Loss(self._parts(model, batch, self.label_smoothing)[0], batch.counts)

    def measure(self, model: Any, batch: Any) -> Measured:
        """The parts of the loss, and what both guess first."""
        parts, student, teacher = self._parts(model, batch, 0.0)
        targets = batch.targets.flatten()
        real = targets != NO_TARGET
        n = int(real.sum())
        first, answer = student.argmax(-1), teacher.argmax(-1)
        return {
            **{f"{part}_loss": (nats, batch.counts[part]) for part, nats in parts.items()},
            "accuracy": ((first == targets).sum(), n),
            "teacher_accuracy": ((answer == targets).sum(), n),
            "agreement": (((first == answer) & real).sum(), n),
            "nats": (F.cross_entropy(student, targets, reduction="sum"), n),
            "teacher_nats": (F.cross_entropy(teacher, targets, reduction="sum"), n),
        }

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """The loss; how often the student is right, and says what the teacher says; and the parts of the loss."""
        parts = {f"{part}_loss": means[f"{part}_loss"] for part in (TEACHER, TRUTH, HIDDEN) if f"{part}_loss" in means}
        said = {name: means[name] for name in ("agreement", "accuracy", "teacher_accuracy", "nats", "teacher_nats")}
        return {"loss": sum(parts.values()), **said, **(parts if len(parts) > 1 else {})}

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """What the student says, and what the teacher says to the same."""
        mine = self.data.sample(model, step)
        if mine is None:
            return None
        told = self.data.sample(self.teacher, step)
        return mine[0], f"{mine[1]}; the teacher: {told[1] if told else ''}"

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """What student and teacher see."""
        return self.data.preview(picks, rngs)

    def _parts(self, model: Any, batch: Any, label_smoothing: float) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The weighted sums of the loss by part, and the scores (n, vocab) of student and teacher."""
        w, targets = self.weights, batch.targets.flatten()
        hidden = _hidden(model, batch)
        student = model.head(_asked(hidden, batch)).float()
        with torch.no_grad():
            shown = _hidden(self.teacher, batch)
            teacher = self.teacher.head(_asked(shown, batch)).float()
        parts = {}
        if w.teacher:
            nats = divergence(student, teacher, w.temperature)
            parts[TEACHER] = w.teacher * nats.where(targets != NO_TARGET, 0.0).sum()
        if w.truth:
            nats = F.cross_entropy(student, targets, reduction="sum", label_smoothing=label_smoothing)
            parts[TRUTH] = w.truth * nats
        if w.hidden:
            parts[HIDDEN] = w.hidden * _turned(hidden, shown, batch)
        return parts, student, teacher


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(n,) Kullback-Leibler divergence, in nats, of softened probabilities from the teacher's; scores: (n, vocab).

    Times the temperature squared, so that the size of its gradient does not depend on it.
    """
    mine, theirs = ((scores / temperature).log_softmax(-1) for scores in (student, teacher))
    return temperature**2 * F.kl_div(mine, theirs, reduction="none", log_target=True).sum(-1)


def _hidden(model: Any, batch: Any) -> Tensor:
    """Last hidden states (batch, seq, d_model)."""
    if isinstance(batch, MaskedBatch):
        return encoded(model, batch)
    hidden: Tensor = model.encode(batch.input_ids, **batch.sight)
    return hidden


def _asked(hidden: Tensor, batch: Any) -> Tensor:
    """(n, d_model) the hidden states where predictions are due."""
    return at_targets(hidden, batch) if isinstance(batch, MaskedBatch) else hidden.flatten(0, 1)


def _turned(hidden: Tensor, shown: Tensor, batch: Any) -> Tensor:
    """1 - cosine of the angle between hidden states of student and teacher, summed over what is not padding."""
    away = 1.0 - F.cosine_similarity(hidden.float(), shown.float(), dim=-1)
    mask = None if isinstance(batch, CausalBatch) else batch.attention_mask
    return away.sum() if mask is None else away.where(mask != 0, 0.0).sum()


def make(given: Given) -> Distillation:
    """The objective as the recipe has it; without a checkpoint to load, a plan's, the teacher is a random model."""
    o, model = given.objective, given.model
    family = family_of(given.config)
    teacher: Any = given.load(o.teacher) if given.load and o.teacher else family.build(given.config)
    decodes = family.kind is Kind.DECODER
    data = causal.make(given) if decodes else masked.make(given)
    longest = given.config.max_seq_len if o.long_share else given.train.seq_len
    check_teacher(teacher.config, given.config, longest)
    weights, remarks = Weights.of(o), []
    if model is not None:
        teacher.to(given.device or next(model.parameters()).device)
        if o.from_teacher:
            start_from(model, teacher)
        widths = hidden_width(model), hidden_width(teacher)
        if weights.hidden and widths[0] != widths[1]:
            mine, theirs = widths
            remarks.append(f"hidden states are not compared: the student's are {mine} wide, the teacher's {theirs}")
            weights = replace(weights, hidden=0.0)
    smoothing = o.label_smoothing
    return Distillation(data, teacher, weights, label_smoothing=smoothing, remarks=remarks)  # type: ignore[arg-type]
