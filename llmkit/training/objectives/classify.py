"""Sequence classification: one label for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmkit.tokenization.framing import Framed
from llmkit.training.objectives.objective import Batch, Loss, Picks, evenly_spaced, padded_width
from llmkit.training.order import BucketedOrder
from llmkit.training.scores import accuracy, macro_f1

if TYPE_CHECKING:
    from llmkit.models.shells import Model

PART = "label"


@dataclass(frozen=True)
class Labelled:
    """Texts as token ids, and their labels as indices (n,)."""

    texts: Sequence[Framed]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LabelBatch(Batch):
    """input_ids, attention_mask, token_type_ids: (batch, seq), the latter two None where they say nothing;
    labels: (batch,)."""

    input_ids: Tensor
    attention_mask: Tensor | None
    token_type_ids: Tensor | None
    labels: Tensor


class Classify:
    """Labels for texts. Batches hold texts of similar length, so that little of them is padding."""

    def __init__(
        self,
        train: Labelled,
        validation: Labelled | None,
        *,
        n_labels: int,
        pad_id: int,
        batch_size: int,
        seed: int,
        label_smoothing: float = 0.0,
        eval_batches: int = 0,
    ) -> None:
        self.train, self.validation, self.n_labels, self.pad_id = train, validation, n_labels, pad_id
        self.batch_size, self.label_smoothing, self.eval_batches = batch_size, label_smoothing, eval_batches
        self.n_examples = len(train.texts)
        lengths = np.array([len(t.ids) for t in train.texts])
        self.longest = int(lengths.max())
        self.order = BucketedOrder(lengths, seed, batch_size)

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.order.picks(first, count)

    def collate(self, picks: Picks, rng: np.random.Generator) -> LabelBatch:
        """Texts side by side, padded to the longest; nothing is random here."""
        return self._make(self.train, picks.index)

    def loss(self, model: Model, batch: LabelBatch) -> Loss:
        """Cross-entropy of the labels, in nats."""
        logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits.float()
        nats = F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=self.label_smoothing)
        return Loss({PART: nats}, batch.counts)

    @torch.no_grad()
    def evaluate(self, model: Model, poll: Callable[[], bool]) -> dict[str, float] | None:
        """Loss, accuracy and macro F1 on the validation texts."""
        if self.validation is None:
            return None
        found = self.confusion(model, self.validation, poll)
        if found is None:
            return None
        counts, nats = found
        return {"loss": nats / max(1, counts.sum()), "accuracy": accuracy(counts), "macro_f1": macro_f1(counts)}

    def sample(self, model: Model, step: int) -> tuple[str, str] | None:
        """A classifier has nothing to say."""
        return None

    @torch.no_grad()
    def confusion(
        self, model: Model, data: Labelled, poll: Callable[[], bool] = lambda: False
    ) -> tuple[NDArray[np.int64], float] | None:
        """How often label i was taken for label j, (n_labels, n_labels), and the summed loss; None if stopped."""
        device = next(model.parameters()).device
        counts = np.zeros((self.n_labels, self.n_labels), dtype=np.int64)
        nats = 0.0
        by_length = np.argsort([len(t.ids) for t in data.texts], kind="stable")
        size = max(self.batch_size, 64)
        batches = [by_length[i : i + size] for i in range(0, len(by_length), size)]
        for index in evenly_spaced(batches, self.eval_batches):
            if poll():
                return None
            batch = self._make(data, index).to(device)
            logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits.float()
            nats += float(F.cross_entropy(logits, batch.labels, reduction="sum"))
            np.add.at(counts, (data.labels[index], logits.argmax(-1).cpu().numpy()), 1)
        return counts, nats

    def _make(self, data: Labelled, index: NDArray[np.integer]) -> LabelBatch:
        rows = [data.texts[int(i)] for i in index]
        lengths = np.array([len(row.ids) for row in rows])
        width = padded_width(int(lengths.max()), self.longest)
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        types = np.zeros_like(ids)
        for row, text in enumerate(rows):
            ids[row, : lengths[row]] = text.ids
            if text.segment_start is not None:
                types[row, text.segment_start : lengths[row]] = 1
        attention = (np.arange(width) < lengths[:, None]).astype(np.int64)
        return LabelBatch(
            counts={PART: len(rows)},
            n_examples=len(rows),
            n_tokens=int(lengths.sum()),
            input_ids=torch.from_numpy(ids),
            attention_mask=None if attention.all() else torch.from_numpy(attention),
            token_type_ids=torch.from_numpy(types) if types.any() else None,
            labels=torch.from_numpy(data.labels[index]),
        )
