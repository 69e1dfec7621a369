"""Prefix language modelling: the beginning of a block is read both ways, the rest is written token by token.

Raffel et al. 2020, arXiv:1910.10683, section 3.2.1; UniLM's sequence-to-sequence task (Dong et al. 2019,
arXiv:1905.03197). One stack of blocks is encoder and decoder at once: only the mask differs. Where the beginning ends
is drawn anew each time, evenly over the block; the loss is on what follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from llmkit.training.objectives.causal import PART, Causal, CausalBatch, refuse_without, stream_options, with_perplexity
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Mark, lane
from llmkit.training.objectives.objective import NO_TARGET, TARGET_STEP, Loss, Measured, Picks, round_up
from llmkit.training.objectives.token_loss import token_nats

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel


@dataclass(frozen=True, kw_only=True)
class PrefixBatch(CausalBatch):
    """prefix: (batch,), tokens of each row that are seen both ways.

    positions: (n,) where predictions are due in the flattened (batch * seq): the last of the prefix and all after it;
    due: (n,) the ids that follow there, NO_TARGET in the places that only fill up to a round number.
    """

    prefix: Tensor
    positions: Tensor
    due: Tensor

    @property
    def sight(self) -> dict[str, Any]:
        """The prefix beside the documents."""
        return {**super().sight, "prefix": self.prefix}


class Prefix(Causal):
    """The blocks of `Causal`; all of a block but its last token may be prefix, and at least its first is."""

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> PrefixBatch:
        """Blocks, each with a prefix drawn from its own generator."""
        plain = super().collate(picks, rngs)
        width = plain.input_ids.shape[1]
        prefix = torch.tensor([int(rng.integers(1, max(2, width))) for rng in rngs])
        asked = torch.arange(width) >= prefix[:, None] - 1
        positions = asked.flatten().nonzero()[:, 0]
        n = len(positions)
        unused = round_up(n, TARGET_STEP) - n
        of_plain = {f.name: getattr(plain, f.name) for f in fields(plain)}
        return PrefixBatch(
            **{**of_plain, "counts": {PART: n}},
            prefix=prefix,
            positions=torch.nn.functional.pad(positions, (0, unused)),
            due=torch.nn.functional.pad(plain.targets.flatten()[positions], (0, unused), value=NO_TARGET),
        )

    def loss(self, model: DecoderModel, batch: PrefixBatch) -> Loss:  # type: ignore[override]
        """Cross-entropy of what follows the prefix, in nats."""
        return Loss({PART: self._rest(model, batch, batch.sight, self.label_smoothing)}, batch.counts)

    def measure(self, model: DecoderModel, batch: PrefixBatch) -> Measured:  # type: ignore[override]
        """Nats of what follows, with the prefix seen both ways and with all seen from the left."""
        n = batch.counts[PART]
        from_left = {k: v for k, v in batch.sight.items() if k != "prefix"}
        return {
            "loss": (self._rest(model, batch, batch.sight), n),
            "loss_from_left": (self._rest(model, batch, from_left), n),
        }

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Nats per token that follows and perplexity; what the same costs if the model reads from the left only."""
        return {**with_perplexity(means["loss"]), "loss_from_left": means["loss_from_left"]}

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The block, with its prefix marked, and what is to be said."""
        batch = self.collate(picks, rngs)
        found = []
        for ids, targets, length in zip(batch.input_ids, batch.targets, batch.prefix.tolist(), strict=True):
            text = [*ids.tolist(), int(targets[-1])]
            both_ways = lane("seen both ways", text[:length])
            found.append(Glimpse([lane("text", text), both_ways, lane("target", text[length:], Mark.TARGET)]))
        return found

    def _rest(
        self, model: DecoderModel, batch: PrefixBatch, sight: Mapping[str, Any], label_smoothing: float = 0.0
    ) -> Tensor:
        hidden = model.encode(batch.input_ids, **sight).flatten(0, 1)[batch.positions]
        return token_nats(model.head, hidden, batch.due, label_smoothing=label_smoothing)


def make(given: Given) -> Prefix:
    """The objective as the recipe has it."""
    refuse_without(given.config, "see the beginning of a text both ways", "choose a family such as gpt2 or llama")
    return Prefix(given.text.ids, **stream_options(given))
