"""One vector for a whole text, and the decision made from it."""

from __future__ import annotations

from torch import Tensor

from llmkit.nn.activations import Activation
from llmkit.nn.heads import Decision


def first_place(hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The hidden state at the first place, (batch, seq, d_model) -> (batch, d_model), be it padding or not."""
    return hidden[:, 0]


def last_place(hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The hidden state at the last place, be it padding or not."""
    return hidden[:, -1]


def mean_place(hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The mean of all hidden states; padding counts."""
    return hidden.mean(1)


# Under the names of Hugging Face's `summary_type`; its "cls_index" is told a place, and without one takes the last.
SUMMARIES = {"first": first_place, "last": last_place, "mean": mean_place, "cls_index": last_place}


class ActivatedDecision(Decision):
    """act(linear(dropout(x))): scores bent by an activation (XLM's and XLNet's `summary_activation`)."""

    def __init__(self, d_model: int, n: int, act: Activation, *, dropout: float = 0.0) -> None:
        super().__init__(d_model, n, dropout=dropout)
        self.act = act

    def forward(self, hidden: Tensor) -> Tensor:
        return self.act(super().forward(hidden))
