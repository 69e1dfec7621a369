"""Labels for texts and pairs of texts, by a fine-tuned classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmkit.prediction.batches import batches, finite
from llmkit.tokenization.framing import Framed, framed

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel
    from llmkit.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Classified:
    """probs: one per label, in the model's order, summing to 1; was_cut: the text did not fit the context."""

    probs: tuple[float, ...]
    labels: tuple[str, ...]
    was_cut: bool = False

    @property
    def best(self) -> int:
        return max(range(len(self.probs)), key=self.probs.__getitem__)

    @property
    def label(self) -> str:
        return self.labels[self.best]

    @property
    def prob(self) -> float:
        return self.probs[self.best]

    def as_json(self) -> dict[str, object]:
        """The label and all probabilities."""
        return {"label": self.label, "prob": self.prob, "probs": dict(zip(self.labels, self.probs, strict=True))}


class Classifier:
    """Classifies texts; a text longer than the model's context is cut at its end, of a pair the longer side first."""

    def __init__(self, model: AnyModel, tokenizer: Tokenizer) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._pad_id = next((i for i in (model.config.pad_id, tokenizer.pad_id) if i is not None), 0)
        self.labels = tuple(model.config.labels)

    def __call__(self, texts: Sequence[str | tuple[str, str]]) -> list[Classified]:
        """One answer per text or pair, in order."""
        rows = self._rows(texts)
        answers: list[Classified | None] = [None] * len(texts)
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            for batch in batches(rows, pad_id=self._pad_id, device=device):
                output = self._model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
                for i, probs in zip(batch.index, finite(output.logits).softmax(-1).tolist(), strict=True):
                    answers[i] = Classified(tuple(probs), self.labels, rows[i].was_cut)
        return [answer for answer in answers if answer is not None]

    def _rows(self, texts: Sequence[str | tuple[str, str]]) -> list[Framed]:
        sides = [side for text in texts for side in ((text,) if isinstance(text, str) else text)]
        ids = iter(self._tokenizer.encode_batch(sides))
        room = self._model.config.max_seq_len
        return [
            framed(self._tokenizer, next(ids), None if isinstance(text, str) else next(ids), room) for text in texts
        ]
