"""Masked language modelling as BERT does it (Devlin et al. 2018, arXiv:1810.04805), RoBERTa's and ALBERT's variants.

Without pairs, an example is `[CLS] sentences [SEP]`, filled across documents (Liu et al. 2019, arXiv:1907.11692:
FULL-SENTENCES). With them it is `[CLS] A [SEP] B [SEP]`, two runs of sentences, and the model also judges the pair:

next_sentence   half of the time B does not follow A but comes from another document
sentence_order  half of the time A and B, which follow each other, have changed places (Lan et al. 2019,
                arXiv:1909.11942)

All of it is drawn anew each time an example is seen, unless maskings are static: then it is drawn a few times for each
example, and those are taken in turn, as BERT's own data were made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from llmkit.errors import InputRefused
from llmkit.training.objectives.frames import Ids, framed
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.hiding import Hiding, rounded
from llmkit.training.objectives.masked_batch import NEXT, ORDER, MaskedBatch, at_targets, encoded, glimpses, guesses
from llmkit.training.objectives.objective import Loss, Measured, Objective, Picks, Plain, by_length
from llmkit.training.objectives.staged import Staged
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.objectives.windows import Text, Windows
from llmkit.training.order import BucketedOrder
from llmkit.training.schedule import first_long_step

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel

TOKEN = "masked"


class Masked(Plain):
    """The objective over sentences packed into examples of `seq_len` tokens.

    pairs: NEXT, ORDER or None. static_masks: maskings made of each example; 0: as many as it is seen.
    fill: model, step -> (text with the mask, text with the answer), for samples along the way.
    """

    def __init__(
        self,
        text: Text,
        hiding: Hiding,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        pairs: str | None = NEXT,
        static_masks: int = 0,
        label_smoothing: float = 0.0,
        validation: Text | None = None,
        fill: Callable[[EncoderModel, int], tuple[str, str] | None] | None = None,
    ) -> None:
        self.hiding, self.seq_len, self.batch_size = hiding, seq_len, batch_size
        self.pairs, self.static_masks, self.label_smoothing = pairs, static_masks, label_smoothing
        if pairs == NEXT and len(text.documents) < 3:
            raise InputRefused(
                "next-sentence pairs need at least two documents, and the training text is one",
                "set objective.next_sentence=false, or give several files or JSON lines",
            )
        # Nothing can be put in order that has no two parts.
        shape: dict[str, Any] = {"within_documents": pairs is not None, "least": 2 if pairs == ORDER else 1}
        self.train = Windows(text, self.room, **shape)
        self.order = BucketedOrder(self.train.lengths, seed, batch_size)
        self.n_examples = len(self.train.lengths)
        # A validation text of one document still serves: its random B sides then come from itself.
        self.validation = None if validation is None else Windows(validation, self.room, **shape)
        self.fill = fill

    @property
    def room(self) -> int:
        """Tokens of text in an example, the frame taken off."""
        return max(1, self.seq_len - (2 if self.pairs is None else 3))

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        picks, n = self.order.picks(first, count), self.static_masks
        return replace(picks, draw=picks.index * n + picks.epoch % n) if n else picks

    def held_out(self) -> Sequence[Picks]:
        """Validation windows of similar length side by side."""
        return by_length(self.validation.lengths, self.batch_size) if self.validation is not None else []

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> MaskedBatch:
        """Examples with their partners and masks."""
        windows = self.validation if picks.held_out else self.train
        assert windows is not None
        made = [self._example(windows, int(window), rng) for window, rng in zip(picks.index, rngs, strict=True)]
        frames = framed([(a, b) for a, b, _ in made], self.hiding.tokens, self.seq_len)
        positions, targets = self.hiding(frames.ids, frames.is_text(self.hiding.tokens), rngs)
        counts = {TOKEN: len(targets)}
        if self.pairs is not None:
            counts[self.pairs] = len(made)
        positions, targets = rounded(positions, targets)
        return MaskedBatch(
            counts=counts,
            n_examples=len(made),
            n_tokens=int(frames.lengths.sum()),
            input_ids=torch.from_numpy(frames.ids),
            attention_mask=frames.attention_mask(),
            token_type_ids=torch.from_numpy(frames.segments),
            positions=torch.from_numpy(positions),
            targets=torch.from_numpy(targets),
            pair_labels=torch.tensor([label for *_, label in made], dtype=torch.int64) if self.pairs else None,
        )

    def _example(self, windows: Windows, window: int, rng: np.random.Generator) -> tuple[Ids, Ids | None, bool]:
        """A, B, and whether something is wrong with the pair."""
        if self.pairs == NEXT:
            return windows.pair(window, self.room, rng)
        if self.pairs == ORDER:
            return windows.halves(window, rng)
        return windows.whole(window), None, False

    def loss(self, model: EncoderModel, batch: MaskedBatch) -> Loss:
        """Cross-entropy at the masked positions only, plus that of the answer about the pair."""
        hidden = encoded(model, batch)
        # The output layer is most of the work of a small model: it runs at the masked positions only.
        rows = at_targets(hidden, batch)
        sums = {TOKEN: token_nats(model.head, rows, batch.targets, label_smoothing=self.label_smoothing)}
        if batch.pair_labels is not None and self.pairs is not None:
            scores = model.pair_head(hidden).float()
            sums[self.pairs] = F.cross_entropy(scores, batch.pair_labels, reduction="sum")
        return Loss(sums, batch.counts)

    def measure(self, model: EncoderModel, batch: MaskedBatch) -> Measured:
        """Nats and hits at the masked places, and of the pairs."""
        hidden, n = encoded(model, batch), batch.counts[TOKEN]
        nats, hits = guesses(model, at_targets(hidden, batch), batch.targets)
        found = {"masked_loss": (nats, n), "masked_accuracy": (hits, n)}
        if batch.pair_labels is not None and self.pairs is not None:
            scores = model.pair_head(hidden).float()
            pair_nats = F.cross_entropy(scores, batch.pair_labels, reduction="sum")
            found["pair_loss"] = pair_nats, len(batch.pair_labels)
            found[f"{self.pairs}_accuracy"] = (scores.argmax(-1) == batch.pair_labels).sum(), len(batch.pair_labels)
        return found

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """The loss, what share is right, and the perplexity at masked places."""
        mean = means["masked_loss"]
        scores = {"loss": mean + means.get("pair_loss", 0.0), "masked_accuracy": means["masked_accuracy"]}
        scores |= {name: means[name] for name in means if name == f"{self.pairs}_accuracy"}
        return scores | {"masked_loss": mean, "perplexity": math.exp(min(mean, 700.0))}

    def sample(self, model: EncoderModel, step: int) -> tuple[str, str] | None:
        """A sentence with a hole, and what the model puts there."""
        return self.fill(model, step) if self.fill is not None else None

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The text, and what the model sees of it."""
        return glimpses(self.collate(picks, rngs), self.hiding, self.pairs)


def make(given: Given) -> Objective:
    """The objective as the recipe has it."""
    return staged(given, Hiding.of(given))


def staged(given: Given, hiding: Hiding) -> Masked | Staged:
    """Examples as the recipe has them: in two stages when those of its last steps are longer."""
    t, o = given.train, given.objective
    short = masked(given, hiding, t.seq_len, t.batch_size)
    switch, longest = first_long_step(t.steps, o.long_share), given.config.max_seq_len
    if switch == t.steps or longest <= t.seq_len:
        return short
    later_batch_size = max(1, t.batch_size * t.seq_len // longest)
    return Staged(
        short,
        masked(given, hiding, longest, later_batch_size),
        switch=switch * t.accumulate * t.batch_size,
        batch_size=t.batch_size,
        later_batch_size=later_batch_size,
    )


def masked(given: Given, hiding: Hiding, seq_len: int, batch_size: int) -> Masked:
    """The objective with examples of `seq_len` tokens."""
    from llmkit.training.samples import filled_mask

    o, t, validation = given.objective, given.train, given.validation
    fill = None
    if given.tokenizer is not None:
        fill = filled_mask(given.tokenizer, t.sample_prompt, validation or given.text, t.seed)
    return Masked(
        Text.of(given.text),
        hiding,
        seq_len=seq_len,
        batch_size=batch_size,
        seed=t.seed,
        pairs=NEXT if o.next_sentence else ORDER if o.sentence_order else None,
        static_masks=o.static_masks,
        label_smoothing=o.label_smoothing,
        validation=Text.of(validation) if validation else None,
        fill=fill,
    )
