"""From hidden states to decisions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmkit.nn.activations import Activation
from llmkit.nn.linear import Linear


class LMHead(nn.Module):
    """Hidden states to a score for every token of the vocabulary: decoder(transform(x)).

    tied: the embedding matrix (vocab, d_model) to share, or None for one of its own.

    Shapes: (..., d_model) -> (..., vocab), so it also takes just the rows whose targets count, (n, d_model).
    """

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        *,
        tied: Tensor | None = None,
        bias: bool = False,
        transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.transform = transform or nn.Identity()
        self.decoder = Linear(d_model, vocab_size, bias=bias)
        if tied is not None:
            self.decoder.weight = tied  # the parameter itself: an update through either name moves both

    def forward(self, hidden: Tensor) -> Tensor:
        return self.decoder(self.transform(hidden))


class Transform(nn.Module):
    """norm(act(dense(x))): BERT's extra layer before the decoder; no norm, unless given (ELECTRA's discriminator).

    Shapes: (..., d_model) -> (..., d_out), by default d_model (ALBERT and ELECTRA go back to their embeddings' width).
    """

    def __init__(
        self, d_model: int, act: Activation, norm: nn.Module | None = None, *, d_out: int | None = None
    ) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_out or d_model)
        self.act = act
        self.norm = norm or nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(self.act(self.dense(hidden)))


class Pooler(nn.Module):
    """tanh(dense(first token)): what BERT makes its pair and sentence decisions from.

    Shapes: (batch, seq, d_model) -> (batch, d_model).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_model)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.dense(hidden[:, 0]))


class Decision(nn.Module):
    """linear(dropout(pool(x))): a few scores for a whole text.

    Shapes: (batch, seq, d_model) -> (batch, n) with a pool that picks a token, else (..., d_model) -> (..., n).
    """

    def __init__(
        self, d_model: int, n: int, *, pool: nn.Module | None = None, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.pool = pool or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = Linear(d_model, n, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(self.dropout(self.pool(hidden)))


class FirstToken(nn.Module):
    """act(dense(dropout(first token))): the classification head that RoBERTa and its kin have in place of a pooler.

    Shapes: (batch, seq, d_model) -> (batch, d_out), by default d_model.
    """

    def __init__(
        self, d_model: int, act: Activation = torch.tanh, *, dropout: float = 0.0, d_out: int | None = None
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = Linear(d_model, d_out or d_model)
        self.act = act

    def forward(self, hidden: Tensor) -> Tensor:
        return self.act(self.dense(self.dropout(hidden[:, 0])))


class HiddenLayer(nn.Module):
    """act(dense(dropout(x))) of hidden states already picked: what BART and T5 put before their decision.

    Shapes: (..., d_model) -> same.
    """

    def __init__(self, d_model: int, act: Activation = torch.tanh, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = Linear(d_model, d_model)
        self.act = act

    def forward(self, hidden: Tensor) -> Tensor:
        return self.act(self.dense(self.dropout(hidden)))


def every_token(hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """All hidden states, as they are."""
    return hidden


class LastToken:
    """The hidden state of the last token that is not padding, (batch, seq, d_model) -> (batch, d_model).

    Padding is what equals pad_id, as Hugging Face's decoder classifiers decide it; without a pad_id, what the
    attention mask leaves out; without both, nothing.
    """

    def __init__(self, pad_id: int | None) -> None:
        self.pad_id = pad_id

    def __call__(self, hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        if self.pad_id is not None:
            real = ids != self.pad_id
        elif attention_mask is not None:
            real = attention_mask[:, -ids.shape[1] :] != 0
        else:
            return hidden[:, -1]
        last = (torch.arange(ids.shape[1], device=ids.device) * real).argmax(-1)
        return hidden[torch.arange(ids.shape[0], device=ids.device), last]


class LastEnd:
    """The hidden state at the last token that ends a text, (batch, seq, d_model) -> (batch, d_model) (BART, T5).

    A row without one is taken at its last token.
    """

    def __init__(self, eos_id: int | None) -> None:
        self.eos_id = -1 if eos_id is None else eos_id

    def __call__(self, hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        ends = (ids == self.eos_id) * (places + 1)
        last = (ends.max(-1).values - 1) % ids.shape[1]
        return hidden[torch.arange(ids.shape[0], device=ids.device), last]
