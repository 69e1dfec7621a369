"""Conditional language modelling: each text begins with a code for what it is (Keskar et al. 2019, arXiv:1909.05858).

An example is a piece of one document behind the document's code, so that every token is written in sight of it. The
model then writes to order, and tells the other way round which code a text would most likely be written for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmkit.data.lengths import in_pieces
from llmkit.data.mapped import stowed
from llmkit.data.order import mixed
from llmkit.errors import InputRefused
from llmkit.training.objectives.causal import EVAL_TOKENS, PART, with_perplexity
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Lane, Mark, lane
from llmkit.training.objectives.objective import (
    NO_TARGET,
    TARGET_STEP,
    Batch,
    Loss,
    Measured,
    Picks,
    Plain,
    by_length,
    padded_width,
    round_up,
)
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.order import BucketedOrder
from llmkit.training.seeds import Purpose

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus
    from llmkit.models.shells import DecoderModel

# Codes that a held-out text is tried with, its own among them: each costs a pass.
MOST_TRIED = 8


@dataclass(frozen=True, kw_only=True)
class ControlBatch(Batch):
    """input_ids: (batch, seq), the code and the text but for its last token. attention_mask: (batch, seq), 1 where it
    is no padding, or None; nothing before the padding sees it, so the model is not told.

    positions: (n,) where predictions are due in the flattened (batch * seq); targets: (n,) the ids there, NO_TARGET in
    the places that only fill up to a round number. others: (batch, k) wrong codes to try, of held-out texts.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    positions: Tensor
    targets: Tensor
    others: Tensor | None = None


@dataclass(frozen=True)
class Coded:
    """Documents that begin with their codes, cut into even pieces of at most `seq_len` tokens.

    code, begin, lengths: of each piece, (n,); its tokens are ids[begin : begin + length], without the code. codes: the
    different ones, sorted.
    """

    ids: NDArray[np.integer]
    code: NDArray[np.integer]
    begin: NDArray[np.integer]
    lengths: NDArray[np.integer]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, corpus: TokenCorpus, seq_len: int) -> Coded:
        """The pieces of a corpus whose documents begin with codes."""
        codes: set[int] = set()
        code, begin, lengths = stowed(_cut(corpus, seq_len, codes), ["int32", "int64", "int32"], corpus.place)
        return cls(corpus.ids, code, begin, lengths, np.array(sorted(codes)))

    def piece(self, i: int) -> NDArray[np.integer]:
        """The tokens of a piece."""
        begin = int(self.begin[i])
        return self.ids[begin : begin + int(self.lengths[i])]


def _cut(corpus: TokenCorpus, seq_len: int, codes: set[int]) -> Iterator[tuple[NDArray[np.integer], ...]]:
    """Code, begin and length of pieces, of many documents at a time; the codes are added to `codes`."""
    for starts in in_pieces(corpus.document_starts):
        first, last = starts[:-1] + 1, starts[1:]
        pieces = -(-(last - first) // seq_len)
        document = np.repeat(np.arange(len(first)), pieces)
        number = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        length, of = (last - first)[document], pieces[document]
        begin, end = (first[document] + length * n // of for n in (number, number + 1))
        code = corpus.ids[starts[:-1]][document]
        codes.update(np.unique(code).tolist())
        yield code, begin, end - begin


class Control(Plain):
    """Pieces of documents, each behind its document's code; loss on all but the code.

    pad: fills shorter rows up. name: a code's id -> how it is written; continue_text: model, prompt, step -> text; both
    for samples along the way, which begin with a code drawn by the step and with `prompt`.
    """

    def __init__(
        self,
        text: Coded,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        pad: int = 0,
        label_smoothing: float = 0.0,
        validation: Coded | None = None,
        prompt: str = "",
        name: Callable[[int], str] = str,
        continue_text: Callable[[Any, str, int], str] | None = None,
    ) -> None:
        if not len(text.code):
            raise InputRefused("no document of the training text has a token behind its code")
        self.text, self.validation = text, validation
        self.seq_len, self.batch_size, self.seed, self.pad = seq_len, batch_size, seed, pad
        self.label_smoothing = label_smoothing
        self.n_examples = len(text.code)
        self.order = BucketedOrder(text.lengths, seed, batch_size)
        self.prompt, self.name, self.continue_text = prompt, name, continue_text

    def picks(self, first: int, count: int) -> Picks:
        """See Objective; a batch holds pieces of similar length."""
        return self.order.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        size = max(1, EVAL_TOKENS // self.seq_len)
        return by_length(self.validation.lengths, size) if self.validation is not None else []

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> ControlBatch:
        """Codes and pieces, padded to the right; nothing here is random."""
        text = self._text(picks)
        lengths = text.lengths[picks.index]
        width = padded_width(int(lengths.max()), self.seq_len)
        rows = np.full((len(lengths), width + 1), self.pad, dtype=np.int64)
        rows[:, 0] = text.code[picks.index]
        for row, piece in zip(rows, picks.index, strict=True):
            tokens = text.piece(piece)
            row[1 : 1 + len(tokens)] = tokens
        real = np.arange(width) < lengths[:, None]
        positions = np.flatnonzero(real)
        targets = rows[:, 1:].reshape(-1)[positions]
        n, unused = len(positions), round_up(len(positions), TARGET_STEP) - len(positions)
        return ControlBatch(
            counts={PART: n},
            n_examples=len(rows),
            n_tokens=n,
            input_ids=torch.from_numpy(np.ascontiguousarray(rows[:, :-1])),
            attention_mask=None if real.all() else torch.from_numpy(real.astype(np.int64)),
            positions=torch.from_numpy(np.pad(positions, (0, unused))),
            targets=torch.from_numpy(np.pad(targets, (0, unused), constant_values=NO_TARGET)),
            others=self._others(rows[:, 0]) if picks.held_out else None,
        )

    def _text(self, picks: Picks) -> Coded:
        if not picks.held_out:
            return self.text
        assert self.validation is not None
        return self.validation

    def _others(self, codes: NDArray[np.int64]) -> Tensor:
        """(batch, k) codes other than these, the next ones in a circle."""
        known = self.text.codes
        steps = np.arange(1, min(len(known), MOST_TRIED))
        return torch.from_numpy(known[(np.searchsorted(known, codes)[:, None] + steps) % len(known)])

    def loss(self, model: DecoderModel, batch: ControlBatch) -> Loss:
        """Cross-entropy of all tokens behind the code, in nats."""
        hidden = model.encode(batch.input_ids).flatten(0, 1)[batch.positions]
        nats = token_nats(model.head, hidden, batch.targets, label_smoothing=self.label_smoothing)
        return Loss({PART: nats}, batch.counts)

    def measure(self, model: DecoderModel, batch: ControlBatch) -> Measured:
        """Nats with the true code and with wrong ones, and for how many texts the true one is the likeliest."""
        assert batch.others is not None
        right, n = self._nats_by_row(model, batch, batch.input_ids), batch.counts[PART]
        found: dict[str, tuple[Tensor, int]] = {"loss": (right.sum(), n)}
        wrong = []
        for code in batch.others.unbind(1):
            ids = batch.input_ids.clone()
            ids[:, 0] = code
            wrong.append(self._nats_by_row(model, batch, ids))
        if wrong:
            tried = torch.stack(wrong)
            found["wrong"] = tried.mean(0).sum(), n
            # Strictly: a model that does not care for the code has guessed nothing.
            found["guessed"] = (right < tried.amin(0)).sum(), batch.n_examples
        return found

    def _nats_by_row(self, model: DecoderModel, batch: ControlBatch, ids: Tensor) -> Tensor:
        """(batch,) nats of each text."""
        hidden = model.encode(ids).flatten(0, 1)[batch.positions]
        nats = F.cross_entropy(model.head(hidden).float(), batch.targets, reduction="none", ignore_index=NO_TARGET)
        return nats.new_zeros(len(ids)).index_add_(0, batch.positions // ids.shape[1], nats)

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Nats per token and perplexity; the share of texts whose code is guessed right, of those tried; and the nats
        with wrong codes."""
        found = with_perplexity(means["loss"])
        if "guessed" in means:
            found |= {"code_accuracy": means["guessed"], "loss_with_wrong_code": means["wrong"]}
        return found

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """What the model writes for one of the codes."""
        if self.continue_text is None:
            return None
        codes = self.text.codes
        code = int(codes[mixed(self.seed, Purpose.SAMPLE, step) % len(codes)])
        prompt = self.name(code) + self.prompt
        return prompt, self.continue_text(model, prompt, step)

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The piece, with its code in front, and what is to be said."""
        text = self._text(picks)
        found = []
        for piece in picks.index:
            tokens = [int(i) for i in text.piece(piece)]
            seen = [(int(text.code[piece]), Mark.SPECIAL), *((i, Mark.PLAIN) for i in tokens)]
            found.append(Glimpse([Lane("text", seen), Lane("input", seen[:-1]), lane("target", tokens, Mark.TARGET)]))
        return found


def make(given: Given) -> Control:
    """The objective as the recipe has it."""
    from llmkit.training.samples import continuation

    t, tokenizer, validation = given.train, given.tokenizer, given.validation
    return Control(
        Coded.of(given.text, t.seq_len),
        seq_len=t.seq_len,
        batch_size=t.batch_size,
        seed=t.seed,
        pad=given.words.pad or 0,
        label_smoothing=given.objective.label_smoothing,
        validation=Coded.of(validation, t.seq_len) if validation is not None else None,
        prompt=t.sample_prompt or "",
        name=tokenizer.token if tokenizer is not None else str,
        continue_text=continuation(tokenizer) if tokenizer is not None else None,
    )
