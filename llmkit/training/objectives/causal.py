"""Causal language modelling: predict each token from those before it, on blocks packed without padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmkit.data.order import mixed
from llmkit.errors import InputRefused
from llmkit.training.objectives.objective import Batch, Loss, Picks, evenly_spaced
from llmkit.training.order import ShuffledOrder
from llmkit.training.seeds import Purpose

if TYPE_CHECKING:
    from llmkit.models.shells import Model

PART = "token"
# Tokens in one forward pass of the validation: large enough to keep the processor busy, small enough for any machine.
EVAL_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class CausalBatch(Batch):
    """input_ids and targets: (batch, seq), int64; targets are the input one token later."""

    input_ids: Tensor
    targets: Tensor


class Causal:
    """Blocks of `seq_len` tokens from one long stream.

    An epoch covers the stream once; where its blocks begin is drawn per epoch, so that they differ between epochs.
    ids, validation: token streams, shape (n_tokens,). validation_bytes: bytes of text behind `validation`.
    continue_text: model, prompt -> text, for samples along the way.
    """

    def __init__(
        self,
        ids: NDArray[np.integer],
        *,
        seq_len: int,
        seed: int,
        label_smoothing: float = 0.0,
        validation: NDArray[np.integer] | None = None,
        validation_bytes: int = 0,
        eval_batches: int = 0,
        prompt: str = "",
        continue_text: Callable[[Model, str, int], str] | None = None,
    ) -> None:
        if len(ids) < seq_len + 1:
            raise InputRefused(
                f"the training text has {len(ids):,} tokens, fewer than one example needs ({seq_len + 1:,})",
                "use more text, or a smaller train.seq_len",
            )
        self.ids, self.seq_len, self.seed, self.label_smoothing = ids, seq_len, seed, label_smoothing
        self.slack = (len(ids) - 1) % seq_len if len(ids) - 1 < 2 * seq_len else seq_len - 1
        self.n_examples = (len(ids) - 1 - self.slack) // seq_len
        self.order = ShuffledOrder(self.n_examples, seed)
        self.validation, self.validation_bytes, self.eval_batches = validation, validation_bytes, eval_batches
        self.prompt, self.continue_text = prompt, continue_text

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.order.picks(first, count)

    def collate(self, picks: Picks, rng: np.random.Generator) -> CausalBatch:
        """Blocks as (batch, seq) inputs and targets; nothing here is random, so `rng` is left alone."""
        offsets = {int(e): mixed(self.seed, Purpose.OFFSET, int(e)) % (self.slack + 1) for e in np.unique(picks.epoch)}
        starts = picks.index * self.seq_len + np.array([offsets[int(e)] for e in picks.epoch])
        return _batch([self.ids[s : s + self.seq_len + 1] for s in starts])

    def loss(self, model: Model, batch: CausalBatch) -> Loss:
        """Cross-entropy of every next token, in nats."""
        logits = model.head(model.encode(batch.input_ids).flatten(0, 1))
        nats = F.cross_entropy(
            logits.float(), batch.targets.flatten(), reduction="sum", label_smoothing=self.label_smoothing
        )
        return Loss({PART: nats}, batch.counts)

    @torch.no_grad()
    def evaluate(self, model: Model, poll: Callable[[], bool]) -> dict[str, float] | None:
        """Loss over the validation text in blocks side by side: nats per token, perplexity and bits per byte."""
        if self.validation is None or len(self.validation) < 2:
            return None
        device = next(model.parameters()).device
        nats, tokens = torch.zeros((), dtype=torch.float64, device=device), 0
        for batch in self._validation_batches():
            if poll():
                return None
            batch = batch.to(device)
            logits = model.head(model.encode(batch.input_ids).flatten(0, 1))
            nats += F.cross_entropy(logits.float(), batch.targets.flatten(), reduction="sum")
            tokens += batch.n_tokens
        mean = float(nats) / tokens
        scores = {"loss": mean, "perplexity": math.exp(min(mean, 700.0))}
        if self.validation_bytes:
            bytes_per_token = self.validation_bytes / len(self.validation)
            scores["bits_per_byte"] = mean / math.log(2) / bytes_per_token
        return scores

    def sample(self, model: Model, step: int) -> tuple[str, str] | None:
        """A continuation of the prompt."""
        if self.continue_text is None:
            return None
        return self.prompt, self.continue_text(model, self.prompt, step)

    def _validation_batches(self) -> Iterator[CausalBatch]:
        assert self.validation is not None
        rows = max(1, EVAL_TOKENS // self.seq_len)
        starts = range(0, len(self.validation) - 1, self.seq_len)
        batches = [starts[i : i + rows] for i in range(0, len(starts), rows)]
        for batch in evenly_spaced(batches, self.eval_batches):
            blocks = [self.validation[s : s + self.seq_len + 1] for s in batch]
            whole = [b for b in blocks if len(b) == self.seq_len + 1]
            if whole:
                yield _batch(whole)
            if len(whole) < len(blocks):  # the end of the text, a shorter block
                yield _batch(blocks[-1:])


def _batch(blocks: list[NDArray[np.integer]]) -> CausalBatch:
    tokens = torch.from_numpy(np.stack(blocks).astype(np.int64))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    n = targets.numel()
    return CausalBatch(counts={PART: n}, n_examples=len(blocks), n_tokens=n, input_ids=inputs, targets=targets)
