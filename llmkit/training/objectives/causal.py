"""Causal language modelling: predict each token from those before it, on blocks packed without padding.

Blocks hold documents side by side. Tokens may look back over the edge of their document, as in GPT-2 and GPT-3, or see
only their own, each beginning at position 0 (as LLaMA 3 was trained: arXiv:2407.21783, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.data.order import mixed
from llmkit.errors import InputRefused, UsageError
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Mark, lane
from llmkit.training.objectives.objective import Batch, Loss, Measured, Picks, Plain, held_out
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.order import ShuffledOrder
from llmkit.training.seeds import Purpose

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel

PART = "token"
# Tokens in one forward pass of the validation: large enough to keep the processor busy, small enough for any machine.
EVAL_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class CausalBatch(Batch):
    """input_ids and targets: (batch, seq), int64; targets are the input one token later.

    documents: (batch, seq), the number of each token's document; None where all of a row may be seen.
    """

    input_ids: Tensor
    targets: Tensor
    documents: Tensor | None = None

    @property
    def sight(self) -> dict[str, Any]:
        """What the model is told about who sees whom. Nothing if nothing is hidden: not all models take it."""
        return {} if self.documents is None else {"documents": self.documents}


class Causal(Plain):
    """Blocks of `seq_len` tokens from one long stream.

    An epoch covers the stream once; where its blocks begin is drawn per epoch, so that they differ between epochs.
    ids, validation: token streams, shape (n_tokens,). validation_bytes: bytes of text behind `validation`.
    documents, validation_documents: where documents start in them, if tokens are to see only their own.
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
        documents: NDArray[np.integer] | None = None,
        validation_documents: NDArray[np.integer] | None = None,
        prompt: str = "",
        continue_text: Callable[[Any, str, int], str] | None = None,
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
        self.documents, self.validation_documents = documents, validation_documents
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
        ids, starts = self._stream(picks)
        tokens = torch.from_numpy(np.stack(self._blocks(ids, starts)).astype(np.int64))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        n = targets.numel()
        documents = self._documents(picks, starts, inputs.shape[1])
        return CausalBatch(
            counts={PART: n}, n_examples=len(tokens), n_tokens=n, input_ids=inputs, targets=targets, documents=documents
        )

    def _stream(self, picks: Picks) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
        """The stream that examples are of, and where each begins in it."""
        if picks.held_out:
            assert self.validation is not None
            return self.validation, picks.index * self.seq_len
        epochs = np.unique(picks.epoch)
        offsets = {int(e): mixed(self.seed, Purpose.OFFSET, int(e)) % (self.slack + 1) for e in epochs}
        return self.ids, picks.index * self.seq_len + np.array([offsets[int(e)] for e in picks.epoch])

    def _blocks(self, ids: NDArray[np.integer], starts: NDArray[np.int64]) -> list[NDArray[np.integer]]:
        """seq_len + 1 tokens each; the last block of the validation text may have fewer."""
        return [ids[s : s + self.seq_len + 1] for s in starts]

    def _documents(self, picks: Picks, starts: NDArray[np.int64], width: int) -> Tensor | None:
        bounds = self.validation_documents if picks.held_out else self.documents
        if bounds is None:
            return None
        numbers = np.searchsorted(bounds, starts[:, None] + np.arange(width), side="right")
        # Attention runs faster without a mask.
        return torch.from_numpy(numbers) if (numbers[:, :1] != numbers[:, -1:]).any() else None

    def loss(self, model: DecoderModel, batch: CausalBatch) -> Loss:
        """Cross-entropy of every next token, in nats."""
        return Loss({PART: self._nats(model, batch, self.label_smoothing)}, batch.counts)

    def measure(self, model: DecoderModel, batch: CausalBatch) -> Measured:
        """Nats of every token."""
        return {"loss": (self._nats(model, batch), batch.counts[PART])}

    def _nats(self, model: DecoderModel, batch: CausalBatch, label_smoothing: float = 0.0) -> Tensor:
        hidden = model.encode(batch.input_ids, **batch.sight).flatten(0, 1)
        return token_nats(model.head, hidden, batch.targets.flatten(), label_smoothing=label_smoothing)

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Nats per token, perplexity and bits per byte."""
        assert self.validation is not None
        scores = with_perplexity(means["loss"])
        if self.validation_bytes:
            bytes_per_token = self.validation_bytes / len(self.validation)
            scores["bits_per_byte"] = means["loss"] / math.log(2) / bytes_per_token
        return scores

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """A continuation of the prompt; none from a model that only reads whole texts."""
        if self.continue_text is None or not hasattr(model, "new_cache"):
            return None
        return self.prompt, self.continue_text(model, self.prompt, step)

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The block, and the same one token later."""
        batch = self.collate(picks, rngs)
        found = []
        for row, (inputs, targets) in enumerate(zip(batch.input_ids.tolist(), batch.targets.tolist(), strict=True)):
            notes = {}
            if batch.documents is not None:
                notes["documents"] = f"{len(batch.documents[row].unique())}, which see nothing of each other"
            found.append(Glimpse([lane("input", inputs), lane("target", targets, Mark.TARGET)], notes))
        return found


def with_perplexity(mean: float) -> dict[str, float]:
    """The mean loss in nats, and its exponential."""
    return {"loss": mean, "perplexity": math.exp(min(mean, 700.0))}


def stream_options(given: Given) -> dict[str, Any]:
    """What `Causal`, and what derives from it, is made with, the text aside."""
    from llmkit.training.samples import continuation

    t, validation = given.train, given.validation
    apart = not given.objective.across_documents
    if apart:
        refuse_without(given.config, "keep documents apart", "leave out objective.across_documents")
    return {
        "seq_len": t.seq_len,
        "seed": t.seed,
        "label_smoothing": given.objective.label_smoothing,
        "validation": validation.ids if validation else None,
        "validation_bytes": validation.n_bytes if validation else 0,
        "documents": given.text.document_starts if apart else None,
        "validation_documents": validation.document_starts if validation and apart else None,
        "prompt": t.sample_prompt or "",
        "continue_text": continuation(given.tokenizer) if given.tokenizer else None,
    }


def refuse_without(config: ModelConfig, what: str, fix: str) -> None:
    """Raise UsageError for a model that cannot be told who sees whom."""
    family = family_of(config)
    with torch.device("meta"):
        model = family.build(config)
    if not getattr(model, "limits_sight", False):
        raise UsageError(f"{family.name} cannot {what}: its attention is of another make", fix)


def make(given: Given) -> Causal:
    """The objective as the recipe has it."""
    options = stream_options(given)
    return Causal(given.text.ids, **options)
