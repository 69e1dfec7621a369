"""Masked language modelling as BERT does it (Devlin et al. 2018, arXiv:1810.04805), and RoBERTa's variant.

With `next_sentence`, an example is `[CLS] A [SEP] B [SEP]`: A and B are runs of sentences, and half of the time B does
not follow A but comes from another document; the model also tells which. Without, it is `[CLS] sentences [SEP]`, filled
across documents (Liu et al. 2019, arXiv:1907.11692: FULL-SENTENCES). Of the tokens, `mask_rate` are to be predicted:
80 % of these become [MASK], 10 % a random token, 10 % stay. All of it is drawn anew each time an example is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmkit.errors import InputRefused
from llmkit.training.objectives.given import Given, Vocabulary
from llmkit.training.objectives.glimpse import Glimpse, Lane, Mark, lane
from llmkit.training.objectives.objective import (
    NO_TARGET,
    TARGET_STEP,
    Batch,
    Loss,
    Measured,
    Objective,
    Picks,
    Plain,
    by_length,
    padded_width,
    round_up,
)
from llmkit.training.objectives.staged import Staged
from llmkit.training.objectives.windows import Text, Windows
from llmkit.training.order import BucketedOrder
from llmkit.training.schedule import first_long_step
from llmkit.training.seeds import uniform

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel

TOKEN, PAIR = "masked", "next_sentence"


@dataclass(frozen=True)
class MaskTokens:
    """Ids the objective puts into examples; random replacements are drawn from `ordinary`."""

    cls: int
    sep: int
    mask: int
    pad: int
    ordinary: NDArray[np.int64]

    @classmethod
    def of(cls, words: Vocabulary) -> MaskTokens:
        """Those of a vocabulary that was checked to have them."""
        assert words.cls is not None
        assert words.sep is not None
        assert words.mask is not None
        return cls(words.cls, words.sep, words.mask, words.pad or 0, words.ordinary)


@dataclass(frozen=True, kw_only=True)
class MaskedBatch(Batch):
    """input_ids, attention_mask, token_type_ids: (batch, seq); the mask is None when nothing is padding.

    positions: (n,) where predictions are due in the flattened (batch * seq); targets: (n,) the original ids there,
    NO_TARGET in the places that only fill up to a round number;
    pair_labels: (batch,) 0 when B follows A and 1 when not, as BERT has it, or None.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    token_type_ids: Tensor
    positions: Tensor
    targets: Tensor
    pair_labels: Tensor | None


class Masked(Plain):
    """The objective of BERT (next_sentence=True) or RoBERTa over sentences packed into examples of `seq_len` tokens.

    fill: model, step -> (text with the mask, text with the answer), for samples along the way.
    """

    def __init__(
        self,
        text: Text,
        tokens: MaskTokens,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        mask_rate: float = 0.15,
        next_sentence: bool = True,
        label_smoothing: float = 0.0,
        validation: Text | None = None,
        fill: Callable[[EncoderModel, int], tuple[str, str] | None] | None = None,
    ) -> None:
        self.tokens, self.seq_len, self.batch_size, self.seed = tokens, seq_len, batch_size, seed
        self.mask_rate, self.next_sentence, self.label_smoothing = mask_rate, next_sentence, label_smoothing
        if next_sentence and len(text.documents) < 3:
            raise InputRefused(
                "next-sentence pairs need at least two documents, and the training text is one",
                "set objective.next_sentence=false, or give several files or JSON lines",
            )
        self.train = Windows(text, self.room, within_documents=next_sentence)
        self.order = BucketedOrder(self.train.lengths, seed, batch_size)
        self.n_examples = len(self.train.lengths)
        self.validation = None
        if validation is not None:
            # A validation text of one document still serves: its random B sides then come from itself.
            self.validation = Windows(validation, self.room, within_documents=next_sentence)
        self.fill = fill

    @property
    def room(self) -> int:
        """Tokens of text in an example, the frame taken off."""
        return max(1, self.seq_len - (3 if self.next_sentence else 2))

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.order.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """Validation windows of similar length side by side."""
        return by_length(self.validation.lengths, self.batch_size) if self.validation is not None else []

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> MaskedBatch:
        """Examples with fresh random partners and a fresh random mask."""
        return self._make(self._windows(picks), picks.index, rngs)

    def loss(self, model: EncoderModel, batch: MaskedBatch) -> Loss:
        """Cross-entropy at the masked positions only, plus that of the next-sentence answer."""
        token_logits, pair_logits = _predict(model, batch)
        sums = {
            TOKEN: F.cross_entropy(
                token_logits.float(), batch.targets, reduction="sum", label_smoothing=self.label_smoothing
            )
        }
        if batch.pair_labels is not None:
            sums[PAIR] = F.cross_entropy(pair_logits.float(), batch.pair_labels, reduction="sum")
        return Loss(sums, batch.counts)

    def measure(self, model: EncoderModel, batch: MaskedBatch) -> Measured:
        """Nats and hits at the masked places, and of the pairs."""
        token_logits, pair_logits = _predict(model, batch)
        hits = (token_logits.argmax(-1) == batch.targets).sum()
        nats = F.cross_entropy(token_logits.float(), batch.targets, reduction="sum")
        n = batch.counts[TOKEN]
        found = {"masked_loss": (nats, n), "masked_accuracy": (hits, n)}
        if batch.pair_labels is not None:
            pair_hits = (pair_logits.argmax(-1) == batch.pair_labels).sum()
            pair_nats = F.cross_entropy(pair_logits.float(), batch.pair_labels, reduction="sum")
            found["pair_loss"] = pair_nats, len(batch.pair_labels)
            found["next_sentence_accuracy"] = pair_hits, len(batch.pair_labels)
        return found

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """The loss, what share is right, and the perplexity at masked places."""
        mean = means["masked_loss"]
        scores = {"loss": mean + means.get("pair_loss", 0.0), "masked_accuracy": means["masked_accuracy"]}
        if "next_sentence_accuracy" in means:
            scores["next_sentence_accuracy"] = means["next_sentence_accuracy"]
        return scores | {"masked_loss": mean, "perplexity": math.exp(min(mean, 700.0))}

    def sample(self, model: EncoderModel, step: int) -> tuple[str, str] | None:
        """A sentence with a hole, and what the model puts there."""
        return self.fill(model, step) if self.fill is not None else None

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The text, and what the model sees of it."""
        batch = self.collate(picks, rngs)
        flat = batch.input_ids.flatten()
        whole = flat.clone()
        real = batch.targets != NO_TARGET
        whole[batch.positions[real]] = batch.targets[real]
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen[batch.positions[real]] = True
        rows = [t.view_as(batch.input_ids) for t in (flat, whole, chosen)]
        special = frozenset((self.tokens.cls, self.tokens.sep))
        found = []
        for row in range(batch.n_examples):
            seen, truth, is_chosen = (t[row].tolist() for t in rows)
            n = len(seen) if batch.attention_mask is None else int(batch.attention_mask[row].sum())
            marks = [self._mark(*of) for of in zip(seen[:n], truth[:n], is_chosen[:n], strict=True)]
            lanes = [lane("text", truth[:n], special=special), Lane("input", list(zip(seen, marks, strict=False)))]
            notes = {}
            if batch.pair_labels is not None:
                notes["next sentence"] = "no, from elsewhere" if batch.pair_labels[row] else "yes, it follows"
            found.append(Glimpse(lanes, notes))
        return found

    def _mark(self, seen: int, truth: int, is_chosen: bool) -> Mark:
        if not is_chosen:
            return Mark.SPECIAL if seen in (self.tokens.cls, self.tokens.sep) else Mark.PLAIN
        return Mark.HIDDEN if seen == self.tokens.mask else Mark.KEPT if seen == truth else Mark.REPLACED

    def _windows(self, picks: Picks) -> Windows:
        if not picks.held_out:
            return self.train
        assert self.validation is not None
        return self.validation

    def _make(self, windows: Windows, index: NDArray[np.integer], rngs: Sequence[np.random.Generator]) -> MaskedBatch:
        t = self.tokens
        rows: list[tuple[NDArray[np.integer], NDArray[np.integer] | None]] = []
        pair_labels: list[bool] = []
        for window, rng in zip(index, rngs, strict=True):
            if self.next_sentence:
                first, second, is_random = windows.pair(int(window), self.room, rng)
                rows.append((first, second))
                pair_labels.append(is_random)
            else:
                rows.append((windows.whole(int(window)), None))
        width = padded_width(max(len(a) + (2 if b is None else len(b) + 3) for a, b in rows), self.seq_len)
        ids = np.full((len(rows), width), t.pad, dtype=np.int64)
        types = np.zeros_like(ids)
        lengths = np.empty(len(rows), dtype=np.int64)
        for row, (a, b) in enumerate(rows):
            ids[row, 0] = t.cls
            ids[row, 1 : len(a) + 1] = a
            ids[row, len(a) + 1] = t.sep
            end = len(a) + 2
            if b is not None:
                ids[row, end : end + len(b)] = b
                ids[row, end + len(b)] = t.sep
                types[row, end : end + len(b) + 1] = 1
                end += len(b) + 1
            lengths[row] = end
        attention = np.arange(width) < lengths[:, None]
        is_text = attention & (ids != t.cls) & (ids != t.sep)
        positions, targets = mask(ids, is_text, self.mask_rate, t, rngs)
        counts = {TOKEN: len(targets)}
        unused = round_up(len(targets), TARGET_STEP) - len(targets)
        positions = np.pad(positions, (0, unused))
        targets = np.pad(targets, (0, unused), constant_values=NO_TARGET)
        if self.next_sentence:
            counts[PAIR] = len(rows)
        return MaskedBatch(
            counts=counts,
            n_examples=len(rows),
            n_tokens=int(lengths.sum()),
            input_ids=torch.from_numpy(ids),
            attention_mask=None if attention.all() else torch.from_numpy(attention.astype(np.int64)),
            token_type_ids=torch.from_numpy(types),
            positions=torch.from_numpy(positions),
            targets=torch.from_numpy(targets),
            pair_labels=torch.tensor(pair_labels, dtype=torch.int64) if self.next_sentence else None,
        )


def mask(
    ids: NDArray[np.int64],
    is_text: NDArray[np.bool_],
    rate: float,
    tokens: MaskTokens,
    rngs: Sequence[np.random.Generator],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hide a share `rate` of each row's text tokens in place (at least one), by the 80/10/10 rule.

    ids, is_text: (batch, seq); rngs: one per row. Returns the flat positions, ascending, and the ids that were there,
    (n,) each.
    """
    wanted = np.maximum(1, np.rint(is_text.sum(1) * rate)).astype(np.int64)
    draws = uniform(rngs, 3 * ids.shape[1]).reshape(len(ids), 3, -1)
    draw, fate, other = draws[:, 0], draws[:, 1].reshape(-1), draws[:, 2].reshape(-1)
    draw[~is_text] = 2.0
    limit = np.take_along_axis(np.sort(draw, axis=1), wanted[:, None] - 1, axis=1)
    positions = np.flatnonzero((draw <= limit) & is_text)
    flat = ids.reshape(-1)
    targets = flat[positions]
    flat[positions[fate[positions] < 0.8]] = tokens.mask
    randoms = positions[fate[positions] >= 0.9]
    flat[randoms] = tokens.ordinary[(other[randoms] * len(tokens.ordinary)).astype(np.int64)]
    return positions, targets


def _predict(model: EncoderModel, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """Token logits (n, vocab) at the masked positions and pair logits (batch, 2), the latter empty without pairs."""
    hidden = model.encode(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    # The output layer is most of the work of a small model: it runs at the masked positions only.
    tokens = model.head(hidden.flatten(0, 1)[batch.positions])
    pairs = model.pair_head(hidden) if batch.pair_labels is not None else hidden.new_zeros(0, 2)
    return tokens, pairs


def make(given: Given) -> Objective:
    """The objective as the recipe has it: in two stages when its last steps have longer examples."""
    t, o = given.train, given.objective
    short = masked(given, t.seq_len, t.batch_size)
    switch, longest = first_long_step(t.steps, o.long_share), given.config.max_seq_len
    if switch == t.steps or longest <= t.seq_len:
        return short
    later_batch_size = max(1, t.batch_size * t.seq_len // longest)
    return Staged(
        short,
        masked(given, longest, later_batch_size),
        switch=switch * t.accumulate * t.batch_size,
        batch_size=t.batch_size,
        later_batch_size=later_batch_size,
    )


def masked(given: Given, seq_len: int, batch_size: int) -> Masked:
    """The objective with examples of `seq_len` tokens."""
    from llmkit.training.samples import filled_mask

    o, t, validation = given.objective, given.train, given.validation
    fill = None
    if given.tokenizer is not None:
        fill = filled_mask(given.tokenizer, t.sample_prompt, validation or given.text, t.seed)
    return Masked(
        Text.of(given.text),
        MaskTokens.of(given.words),
        seq_len=seq_len,
        batch_size=batch_size,
        seed=t.seed,
        mask_rate=o.rate,
        next_sentence=o.next_sentence,
        label_smoothing=o.label_smoothing,
        validation=Text.of(validation) if validation else None,
        fill=fill,
    )
