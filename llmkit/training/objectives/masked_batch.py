"""Examples with masks as tensors, and what a model makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.hiding import Hiding, glimpse
from llmkit.training.objectives.objective import NO_TARGET, Batch

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel

# What pairs are judged by, and what to say of one with label 0 and with label 1.
NEXT, ORDER = "next_sentence", "sentence_order"
VERDICTS = {NEXT: ("yes, it follows", "no, from elsewhere"), ORDER: ("as in the text", "swapped")}


@dataclass(frozen=True, kw_only=True)
class MaskedBatch(Batch):
    """input_ids, attention_mask, token_type_ids: (batch, seq); the mask is None when nothing is padding.

    positions: (n,) where predictions are due in the flattened (batch * seq); targets: (n,) the original ids there,
    NO_TARGET in the places that only fill up to a round number;
    pair_labels: (batch,) 0 when B follows A and 1 when not, as BERT and ALBERT have it, or None.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    token_type_ids: Tensor
    positions: Tensor
    targets: Tensor
    pair_labels: Tensor | None = None

    def originals(self) -> tuple[Tensor, Tensor]:
        """The ids before corruption and whether each is to be predicted, (batch, seq) each."""
        ids, real = self.input_ids.flatten().clone(), self.targets != NO_TARGET
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        ids[self.positions[real]], chosen[self.positions[real]] = self.targets[real], True
        return ids.view_as(self.input_ids), chosen.view_as(self.input_ids)

    def lengths(self) -> list[int]:
        """Tokens of each row that are not padding."""
        if self.attention_mask is None:
            return [self.input_ids.shape[1]] * len(self.input_ids)
        return [int(n) for n in self.attention_mask.sum(1)]


def encoded(model: EncoderModel, batch: MaskedBatch) -> Tensor:
    """Hidden states (batch, seq, d_model)."""
    return model.encode(batch.input_ids, batch.attention_mask, batch.token_type_ids)


def at_targets(hidden: Tensor, batch: MaskedBatch) -> Tensor:
    """(n, d_model) the hidden states where predictions are due."""
    return hidden.flatten(0, 1)[batch.positions]


def guesses(model: EncoderModel, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of the targets, and how many are the likeliest token, summed. rows: (n, d_model), targets: (n,)."""
    scores = model.head(rows).float()
    return F.cross_entropy(scores, targets, reduction="sum"), (scores.argmax(-1) == targets).sum()


def glimpses(batch: MaskedBatch, hiding: Hiding, pairs: str | None = None) -> list[Glimpse]:
    """What became of each example."""
    truth, chosen = batch.originals()
    found = []
    for row, n in enumerate(batch.lengths()):
        seen, before, asked = (t[row, :n].tolist() for t in (batch.input_ids, truth, chosen))
        notes = {}
        if batch.pair_labels is not None and pairs is not None:
            notes[pairs] = VERDICTS[pairs][int(batch.pair_labels[row])]
        found.append(glimpse(seen, before, asked, hiding.tokens, **notes))
    return found
