"""Permutation language modelling (XLNet, Yang et al. 2019, arXiv:1906.08237).

Tokens are guessed in an order drawn anew for each example: each from those before it in that order, wherever they stand
in the text. Only the last of the order are asked for, a share `mask_rate` of the text, because the first have little
to go by; they come in runs of 1 to 5 tokens, each in a stretch of text as much longer as the rate is below 1. What is
guessed is told to later guesses, which sets it apart from masking: there is no [MASK], and guesses are not independent.

An example is `sentences [SEP] [CLS]`, filled across documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.training.objectives.causal import with_perplexity
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Lane, Mark, lane
from llmkit.training.objectives.objective import (
    NO_TARGET,
    TARGET_STEP,
    WIDTH_STEP,
    Batch,
    Loss,
    Measured,
    Picks,
    Plain,
    by_length,
    held_out,
    padded_width,
    round_up,
)
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.objectives.windows import Text, Windows
from llmkit.training.order import BucketedOrder
from llmkit.training.seeds import Purpose, generators

if TYPE_CHECKING:
    from llmkit.models.relative_shells import TwoStreamModel

PART = "guessed"
HOLE = "___"


@dataclass(frozen=True, kw_only=True)
class PermutationBatch(Batch):
    """input_ids, attention_mask: (batch, seq); the mask is None when nothing is padding.

    perm_mask: (batch, seq, seq), 1 where token i may not look at token j. target_mapping: (batch, places, seq), 1 where
    the token to be guessed at a place stands. positions: (n,) the places in use, of the flattened (batch * places);
    targets: (n,) their ids, NO_TARGET where it only fills up to a round number.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    perm_mask: Tensor
    target_mapping: Tensor
    positions: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Frame:
    """The ids at the end of every example, and the one that fills up shorter ones."""

    sep: int
    cls: int
    pad: int


class Permutation(Plain):
    """Windows of sentences of which the last of a random order are guessed.

    rate: share of them; mean_span: mean length of a run of them. decode: ids -> text, for samples along the way.
    """

    def __init__(
        self,
        text: Text,
        frame: Frame,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        rate: float = 1 / 6,
        mean_span: float = 3.0,
        label_smoothing: float = 0.0,
        validation: Text | None = None,
        decode: Callable[[list[int]], str] | None = None,
    ) -> None:
        self.frame, self.seq_len, self.batch_size, self.seed = frame, seq_len, batch_size, seed
        self.rate, self.longest_span = rate, max(1, round(2 * mean_span - 1))
        self.label_smoothing, self.decode = label_smoothing, decode
        self.train = Windows(text, max(1, seq_len - 2), within_documents=False)
        self.validation = Windows(validation, max(1, seq_len - 2), within_documents=False) if validation else None
        self.n_examples = len(self.train.lengths)
        self.order = BucketedOrder(self.train.lengths, seed, batch_size)

    def picks(self, first: int, count: int) -> Picks:
        """See Objective; a batch holds examples of similar length."""
        return self.order.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        return by_length(self.validation.lengths, self.batch_size) if self.validation is not None else []

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> PermutationBatch:
        """Examples, each with an order of its own."""
        windows = self.validation if picks.held_out else self.train
        assert windows is not None
        texts = [windows.whole(int(window)) for window in picks.index]
        places = [order(spans(len(t), self.rate, self.longest_span, r), r) for t, r in zip(texts, rngs, strict=True)]
        lengths = np.array([len(text) + 2 for text in texts])
        width = padded_width(int(lengths.max()), self.seq_len)
        most = round_up(max(int((place >= 0).sum()) for place in places), WIDTH_STEP)
        ids = np.full((len(texts), width), self.frame.pad, dtype=np.int64)
        place = np.full((len(texts), width), -1, dtype=np.int64)
        mapping = np.zeros((len(texts), most, width), dtype=np.uint8)
        positions, targets = [], []
        for row, (text, of) in enumerate(zip(texts, places, strict=True)):
            ids[row, : len(text) + 2] = [*text, self.frame.sep, self.frame.cls]
            place[row, : len(text)] = of
            columns = np.flatnonzero(of >= 0)
            mapping[row, np.arange(len(columns)), columns] = 1
            positions.append(row * most + np.arange(len(columns)))
            targets.append(text[columns].astype(np.int64))
        attention = np.arange(width) < lengths[:, None]
        where, due = np.concatenate(positions), np.concatenate(targets)
        unused = round_up(len(due), TARGET_STEP) - len(due)
        return PermutationBatch(
            counts={PART: len(due)},
            n_examples=len(texts),
            n_tokens=int(lengths.sum()),
            input_ids=torch.from_numpy(ids),
            attention_mask=None if attention.all() else torch.from_numpy(attention.astype(np.int64)),
            perm_mask=torch.from_numpy(hidden_from(place).astype(np.uint8)),
            target_mapping=torch.from_numpy(mapping),
            positions=torch.from_numpy(np.pad(where, (0, unused))),
            targets=torch.from_numpy(np.pad(due, (0, unused), constant_values=NO_TARGET)),
        )

    def loss(self, model: TwoStreamModel, batch: PermutationBatch) -> Loss:
        """Cross-entropy of the tokens that are guessed, in nats."""
        nats = token_nats(model.head, _guesses(model, batch), batch.targets, label_smoothing=self.label_smoothing)
        return Loss({PART: nats}, batch.counts)

    def measure(self, model: TwoStreamModel, batch: PermutationBatch) -> Measured:
        """Nats and hits of the guesses."""
        logits, n = model.head(_guesses(model, batch)).float(), batch.counts[PART]
        nats = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum", ignore_index=NO_TARGET)
        return {"loss": (nats, n), "accuracy": ((logits.argmax(-1) == batch.targets).sum(), n)}

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Nats per guess, the share that is right, and perplexity."""
        found = with_perplexity(means["loss"])
        return {"loss": found["loss"], "guess_accuracy": means["accuracy"], "perplexity": found["perplexity"]}

    def sample(self, model: TwoStreamModel, step: int) -> tuple[str, str] | None:
        """A text with holes, and what the model puts there, each hole knowing those filled before it."""
        if self.decode is None:
            return None
        n = self.n_examples if self.validation is None else len(self.validation.lengths)
        picks = held_out(np.array([step % n]))
        picks = picks if self.validation is not None else Picks(picks.epoch, picks.index, picks.draw)
        batch = self.collate(picks, generators(self.seed, Purpose.SAMPLE, picks.draw))
        device = model.embedding_weight.device
        real, columns = batch.targets != NO_TARGET, batch.target_mapping[0].argmax(-1)
        found = model.head(_guesses(model, batch.to(device))).argmax(-1).cpu()[real].tolist()
        truth, shown, at = batch.targets[real].tolist(), [], 0
        ids, holes = batch.input_ids[0, : batch.n_tokens - 2].tolist(), columns[: len(found)].tolist()
        for hole in holes:
            shown += [self.decode(ids[at:hole])] if hole > at else []
            shown, at = [*shown, HOLE], hole + 1
        shown.append(self.decode(ids[at:]))
        told = ", ".join(
            f"{self.decode([a]).strip()}{'' if a == b else f' (it was: {self.decode([b]).strip()})'}"
            for a, b in zip(found, truth, strict=True)
        )
        return " ".join(part.strip() for part in shown), told

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The text, what is known from the start, and the tokens to be guessed, in their order."""
        batch = self.collate(picks, rngs)
        frame = frozenset((self.frame.sep, self.frame.cls))
        found = []
        hides = batch.perm_mask.numpy().astype(bool)
        for row, ids in enumerate(batch.input_ids.tolist()):
            n = len(ids) if batch.attention_mask is None else int(batch.attention_mask[row].sum())
            asked = hides[row].diagonal()[:n]  # what may not look at itself
            # The earlier a token comes in the order, the fewer others see it not.
            turns = sorted(np.flatnonzero(asked), key=lambda i, r=row: hides[r, :, i].sum())  # type: ignore[misc]
            seen = [
                (i, Mark.SPECIAL if i in frame else Mark.HIDDEN if hidden else Mark.PLAIN)
                for i, hidden in zip(ids[:n], asked, strict=True)
            ]
            lanes = [lane("text", ids[:n], special=frame), Lane("input", seen)]
            found.append(Glimpse([*lanes, lane("in this order", [ids[i] for i in turns], Mark.TARGET)]))
        return found


def spans(n: int, rate: float, longest: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,) tokens to guess: runs of 1 to `longest`, each within a stretch 1 / rate times as long; at least one."""
    chosen = np.zeros(n, dtype=np.bool_)
    at = 0
    while at < n:
        length = int(rng.integers(1, longest + 1))
        stretch = int(length / rate + rng.random())  # rounded so that the rate is met on average
        start = at + int(rng.integers(stretch - length + 1))
        chosen[start : start + length] = True
        at += stretch
    if not chosen.any():
        chosen[rng.integers(n)] = True
    return chosen


def order(chosen: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) the turn of each chosen token in a random order; -1 for the others, which come first of all."""
    turns = np.full(len(chosen), -1, dtype=np.int64)
    turns[chosen] = rng.permutation(int(chosen.sum()))
    return turns


def hidden_from(turns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """turns (batch, seq) -> (batch, seq, seq): whether token i may not look at j, whose turn is not before its own."""
    return (turns[:, None, :] >= 0) & (turns[:, :, None] <= turns[:, None, :])


def _guesses(model: TwoStreamModel, batch: PermutationBatch) -> Tensor:
    """Hidden states (n, d_model) of the places to be guessed."""
    hidden = model.encode(
        batch.input_ids, batch.attention_mask, perm_mask=batch.perm_mask, target_mapping=batch.target_mapping
    )
    return hidden.flatten(0, 1)[batch.positions]


def make(given: Given) -> Permutation:
    """The objective as the recipe has it."""
    o, t, words, validation = given.objective, given.train, given.words, given.validation
    assert words.sep is not None
    assert words.cls is not None
    return Permutation(
        Text.of(given.text),
        Frame(words.sep, words.cls, words.pad or 0),
        seq_len=t.seq_len,
        batch_size=t.batch_size,
        seed=t.seed,
        rate=o.rate,
        mean_span=o.mean_span,
        label_smoothing=o.label_smoothing,
        validation=Text.of(validation) if validation is not None else None,
        decode=given.tokenizer.decode if given.tokenizer is not None else None,
    )
