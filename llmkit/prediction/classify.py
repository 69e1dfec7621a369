"""Labels for texts and pairs of texts, by a fine-tuned classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmkit.prediction.batches import Row, batches

if TYPE_CHECKING:
    from llmkit.models.shells import Model
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

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._pad_id = next((i for i in (model.config.pad_id, tokenizer.pad_id) if i is not None), 0)
        self.labels = tuple(model.config.labels)

    def __call__(self, texts: Sequence[str | tuple[str, str]]) -> list[Classified]:
        """One answer per text or pair, in order."""
        framed = [frame(self._tokenizer, text, self._model.config.max_seq_len) for text in texts]
        answers: list[Classified | None] = [None] * len(texts)
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            for batch in batches([row for row, _ in framed], pad_id=self._pad_id, device=device):
                output = self._model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
                for i, probs in zip(batch.index, output.logits.float().softmax(-1).tolist(), strict=True):
                    answers[i] = Classified(tuple(probs), self.labels, framed[i][1])
        return [answer for answer in answers if answer is not None]


def frame(tokenizer: Tokenizer, text: str | tuple[str, str], room: int) -> tuple[Row, bool]:
    """`[CLS] text [SEP]` or `[CLS] a [SEP] b [SEP]`, as far as the tokenizer has these, and whether it was cut."""
    before = [i for i in (tokenizer.cls_id,) if i is not None]
    after = [i for i in (tokenizer.sep_id,) if i is not None]
    first, second = (text, None) if isinstance(text, str) else text
    a = tokenizer.encode(first)
    b = tokenizer.encode(second) if second is not None else []
    free = room - len(before) - len(after) * (1 if second is None else 2)
    over = len(a) + len(b) - max(1, free)
    if over > 0:
        # One token at a time from the longer side, of equals from the second, in closed form.
        from_a = max(0, min(over, len(a) - len(b))) + max(0, over - abs(len(a) - len(b))) // 2
        a, b = a[: len(a) - from_a], b[: len(b) - (over - from_a)]
    ids = [*before, *a, *after]
    if second is None:
        # A text without a single token still needs something to look at.
        return Row(ids or [tokenizer.eos_id or 0]), over > 0
    return Row([*ids, *b, *after], segment_start=len(ids)), over > 0
