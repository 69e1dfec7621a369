"""Sequence classification: one label for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmkit.tokenization.framing import Framed
from llmkit.training.objectives.glimpse import Glimpse, lane
from llmkit.training.objectives.objective import Batch, Loss, Measured, Picks, Plain, by_length, padded_width
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


class Classify(Plain):
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
    ) -> None:
        self.train, self.validation, self.n_labels, self.pad_id = train, validation, n_labels, pad_id
        self.batch_size, self.label_smoothing = batch_size, label_smoothing
        self.n_examples = len(train.texts)
        lengths = np.array([len(t.ids) for t in train.texts])
        self.longest = int(lengths.max())
        self.order = BucketedOrder(lengths, seed, batch_size)

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.order.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """Validation texts of similar length side by side."""
        return self._batches(self.validation) if self.validation is not None else []

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> LabelBatch:
        """Texts side by side, padded to the longest; nothing is random here."""
        return self._make(self._data(picks), picks.index)

    def loss(self, model: Model, batch: LabelBatch) -> Loss:
        """Cross-entropy of the labels, in nats."""
        logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits.float()
        nats = F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=self.label_smoothing)
        return Loss({PART: nats}, batch.counts)

    def measure(self, model: Model, batch: LabelBatch) -> Measured:
        """Nats, and how often label i was taken for label j, (n_labels, n_labels)."""
        logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits.float()
        nats = F.cross_entropy(logits, batch.labels, reduction="sum")
        pairs = batch.labels * self.n_labels + logits.argmax(-1)
        counts = torch.bincount(pairs, minlength=self.n_labels**2).view(self.n_labels, self.n_labels)
        return {"loss": (nats, batch.n_examples), "confusion": (counts, 0)}

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Loss, accuracy and macro F1."""
        counts = means["confusion"]
        return {"loss": means["loss"], "accuracy": accuracy(counts), "macro_f1": macro_f1(counts)}

    @torch.no_grad()
    def confusion(self, model: Model, data: Labelled) -> NDArray[np.int64]:
        """How often label i was taken for label j in `data`, (n_labels, n_labels)."""
        device = next(model.parameters()).device
        found = torch.zeros(self.n_labels, self.n_labels, dtype=torch.int64, device=device)
        for picks in self._batches(data):
            found += self.measure(model, self._make(data, picks.index).to(device))["confusion"][0]
        return found.cpu().numpy()

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The text as the model sees it, and its label's number."""
        data = self._data(picks)
        return [Glimpse([lane("text", data.texts[i].ids)], {"label": str(data.labels[i])}) for i in picks.index]

    def _data(self, picks: Picks) -> Labelled:
        if not picks.held_out:
            return self.train
        assert self.validation is not None
        return self.validation

    def _batches(self, data: Labelled) -> list[Picks]:
        return by_length(np.array([len(t.ids) for t in data.texts]), max(self.batch_size, 64))

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
