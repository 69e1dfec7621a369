"""Causal language modelling: predict each token from those before it, on blocks packed without padding."""

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

from llmkit.data.order import mixed
from llmkit.errors import InputRefused
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Mark, lane
from llmkit.training.objectives.objective import Batch, Loss, Measured, Picks, Plain, held_out
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


class Causal(Plain):
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
        self.validation, self.validation_bytes = validation, validation_bytes
        self.prompt, self.continue_text = prompt, continue_text

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.order.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """The validation text in blocks side by side; the last, shorter one is a batch of its own."""
        n = 0 if self.validation is None else len(self.validation) - 1
        whole, rest = divmod(max(0, n), self.seq_len)
        rows = max(1, EVAL_TOKENS // self.seq_len)
        batches = [held_out(np.arange(i, min(i + rows, whole))) for i in range(0, whole, rows)]
        return batches + ([held_out(np.array([whole]))] if rest else [])

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> CausalBatch:
        """Blocks as (batch, seq) inputs and targets; nothing here is random."""
        tokens = torch.from_numpy(np.stack(self._blocks(picks)).astype(np.int64))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        n = targets.numel()
        return CausalBatch(counts={PART: n}, n_examples=len(tokens), n_tokens=n, input_ids=inputs, targets=targets)

    def _blocks(self, picks: Picks) -> list[NDArray[np.integer]]:
        """seq_len + 1 tokens each; the last block of the validation text may have fewer."""
        if picks.held_out:
            assert self.validation is not None
            ids, starts = self.validation, picks.index * self.seq_len
        else:
            epochs = np.unique(picks.epoch)
            offsets = {int(e): mixed(self.seed, Purpose.OFFSET, int(e)) % (self.slack + 1) for e in epochs}
            ids, starts = self.ids, picks.index * self.seq_len + np.array([offsets[int(e)] for e in picks.epoch])
        return [ids[s : s + self.seq_len + 1] for s in starts]

    def loss(self, model: Model, batch: CausalBatch) -> Loss:
        """Cross-entropy of every next token, in nats."""
        logits = model.head(model.encode(batch.input_ids).flatten(0, 1))
        nats = F.cross_entropy(
            logits.float(), batch.targets.flatten(), reduction="sum", label_smoothing=self.label_smoothing
        )
        return Loss({PART: nats}, batch.counts)

    def measure(self, model: Model, batch: CausalBatch) -> Measured:
        """Nats of every token."""
        logits = model.head(model.encode(batch.input_ids).flatten(0, 1))
        nats = F.cross_entropy(logits.float(), batch.targets.flatten(), reduction="sum")
        return {"loss": (nats, batch.counts[PART])}

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Nats per token, perplexity and bits per byte."""
        assert self.validation is not None
        mean = means["loss"]
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

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The block, and the same one token later."""
        return [
            Glimpse([lane("input", block[:-1]), lane("target", block[1:], Mark.TARGET)])
            for block in self._blocks(picks)
        ]


def make(given: Given) -> Causal:
    """The objective as the recipe has it."""
    from llmkit.training.samples import continuation

    t, validation = given.train, given.validation
    return Causal(
        given.text.ids,
        seq_len=t.seq_len,
        seed=t.seed,
        label_smoothing=given.objective.label_smoothing,
        validation=validation.ids if validation else None,
        validation_bytes=validation.n_bytes if validation else 0,
        prompt=t.sample_prompt or "",
        continue_text=continuation(given.tokenizer) if given.tokenizer else None,
    )
