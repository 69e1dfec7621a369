"""How well a language model knows a text: next tokens for decoders, hidden tokens for encoders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from llmkit.errors import InputRefused
from llmkit.prediction.batches import finite

if TYPE_CHECKING:
    from llmkit.models.shells import Model
    from llmkit.tokenization.tokenizer import Tokenizer

MASK_RATE = 0.15
_TOKENS = 8192  # in a batch
_HEAD_ROWS = 1024  # positions scored at once: times a vocabulary of 50k, 200 MB of logits
_ROWS_AHEAD = 64  # rows sorted by length together


@dataclass
class TextScore:
    """Sums over a text. nats: of cross-entropy; n_scored: tokens it is over; n_hits: of them, guessed right.

    n_bytes: bytes of text that the scored tokens stand for (next tokens only). n_unknown: characters of the text that
    the tokenizer has no token for; what the model knows of them is not measured.
    """

    nats: float = 0.0
    n_scored: int = 0
    n_hits: int = 0
    n_tokens: int = 0
    n_bytes: int = 0
    n_documents: int = 0
    n_unknown: int = 0

    @property
    def loss(self) -> float:
        """Nats per scored token."""
        return self.nats / self.n_scored if self.n_scored else math.nan

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def accuracy(self) -> float:
        return self.n_hits / self.n_scored if self.n_scored else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers, unlike loss and perplexity, where no character is unknown."""
        return self.nats / math.log(2) / self.n_bytes if self.n_bytes else math.nan


class _Row(NamedTuple):
    """One pass of the model: ids in, and for the positions `at` the tokens wanted there."""

    ids: list[int]
    at: list[int]
    wanted: list[int]


def score_next_tokens(
    model: Model, tokenizer: Tokenizer, documents: Iterable[tuple[str, bool]], *, stride: int | None = None
) -> TextScore:
    """Score every token given those before it.

    documents: (text, whether a document begins here). A document longer than the context is read in windows that
    begin `stride` tokens apart (default: half the context) and score what is new, so but for the first window every
    token is guessed from at least context - stride tokens before it. The first token of a document is guessed from
    the begin-of-text token; a model without one does not score it.
    """
    context = model.config.max_seq_len
    stride = min(stride or max(1, context // 2), context)
    begin = next((i for i in (tokenizer.bos_id, tokenizer.eos_id, model.config.bos_id) if i is not None), None)
    score = TextScore()

    def rows() -> Iterator[_Row]:
        for ids, n_bytes in _documents(tokenizer, documents, score):
            score.n_documents += 1
            score.n_tokens += len(ids)
            score.n_bytes += n_bytes - (0 if begin is not None else len(tokenizer.decode_bytes(ids[:1])))
            sequence = ids if begin is None else [begin, *ids]
            yield from _sliding(sequence, context, stride)

    _run(model, rows(), score, pad_id=tokenizer.pad_id or 0)
    return score


def score_hidden_tokens(
    model: Model, tokenizer: Tokenizer, documents: Iterable[tuple[str, bool]], *, seed: int = 0
) -> TextScore:
    """Hide MASK_RATE of the tokens behind the mask token, at places fixed by `seed`, and score the guesses.

    Documents are cut into pieces that fill the context, each framed as in training.
    """
    if tokenizer.mask_id is None:
        raise InputRefused("the tokenizer beside the model has no mask token", "choose a model trained with masks")
    mask_id = tokenizer.mask_id
    before = [i for i in (tokenizer.cls_id,) if i is not None]
    after = [i for i in (tokenizer.sep_id,) if i is not None]
    room = max(1, model.config.max_seq_len - len(before) - len(after))
    rng = np.random.default_rng(seed)
    score = TextScore()

    def rows() -> Iterator[_Row]:
        for ids, _ in _documents(tokenizer, documents, score):
            score.n_documents += 1
            score.n_tokens += len(ids)
            for start in range(0, len(ids), room):
                piece = ids[start : start + room]
                count = max(1, round(MASK_RATE * len(piece)))
                hidden = sorted(rng.choice(len(piece), size=count, replace=False).tolist())
                wanted = [piece[i] for i in hidden]
                for i in hidden:
                    piece[i] = mask_id
                yield _Row([*before, *piece, *after], [i + len(before) for i in hidden], wanted)

    pad = next((i for i in (tokenizer.pad_id, model.config.pad_id) if i is not None), 0)
    _run(model, rows(), score, pad_id=pad)
    return score


def _documents(
    tokenizer: Tokenizer, pieces: Iterable[tuple[str, bool]], score: TextScore
) -> Iterator[tuple[list[int], int]]:
    """(ids, bytes of text) of each document; texts without a token are passed over. Counts what is unknown."""
    ids: list[int] = []
    size = 0
    for text, is_first in pieces:
        if is_first and ids:
            yield ids, size
        if is_first:
            ids, size = [], 0
        found = tokenizer.encode(text)
        ids += found
        score.n_unknown += unknown_characters(tokenizer, text, found)
        size += len(text.encode("utf-8", "surrogatepass"))
    if ids:
        yield ids, size


def unknown_characters(tokenizer: Tokenizer, text: str, ids: list[int]) -> int:
    """How many characters of `text`, white space aside, stand behind no token but the unknown one in its `ids`."""
    unknown = tokenizer.unk_id
    if tokenizer.is_lossless or (unknown is not None and unknown not in ids):
        return 0
    spans = [(start, end) for i, start, end in tokenizer.encode_offsets(text) if i == unknown or unknown is None]
    marked = bytearray(len(text))
    for start, end in spans:
        marked[start:end] = b"\1" * (end - start)
    # Without an unknown token, what has no token leaves no trace.
    wanted = 0 if unknown is None else 1
    return sum(mark == wanted and not char.isspace() for mark, char in zip(marked, text, strict=True))


def _sliding(sequence: list[int], context: int, stride: int) -> Iterator[_Row]:
    scored = 1  # the token at 0 is only read
    while scored < len(sequence):
        end = min(len(sequence), max(context + 1, scored + stride))
        start = max(0, end - 1 - context)
        yield _Row(sequence[start : end - 1], list(range(scored - 1 - start, end - 1 - start)), sequence[scored:end])
        scored = end


def _run(model: Model, rows: Iterator[_Row], score: TextScore, *, pad_id: int) -> None:
    device = next(model.parameters()).device
    with torch.inference_mode():
        for group in _grouped(rows):
            longest = max(len(row.ids) for row in group)
            ids = torch.full((len(group), longest), pad_id)
            mask = torch.zeros(len(group), longest, dtype=torch.long)
            for place, row in enumerate(group):
                ids[place, : len(row.ids)] = torch.tensor(row.ids)
                mask[place, : len(row.ids)] = 1
            # Padding at the end is behind every causal query; only encoders could see it.
            attention = None if model.is_causal or bool(mask.all()) else mask.to(device)
            hidden = model.encode(ids.to(device), attention)
            places = [place for place, row in enumerate(group) for _ in row.at]
            chosen = hidden[places, [at for row in group for at in row.at]]
            wanted = torch.tensor([token for row in group for token in row.wanted], device=device)
            for some, targets in zip(chosen.split(_HEAD_ROWS), wanted.split(_HEAD_ROWS), strict=True):
                logits = finite(model.head(some))
                score.nats += float(F.cross_entropy(logits, targets, reduction="sum"))
                score.n_hits += int((logits.argmax(-1) == targets).sum())
            score.n_scored += len(wanted)


def _grouped(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    """Rows of like length together, at most _TOKENS tokens with padding."""
    ahead: list[_Row] = []
    for row in rows:
        ahead.append(row)
        if len(ahead) == _ROWS_AHEAD:
            yield from _cut(ahead)
            ahead = []
    yield from _cut(ahead)


def _cut(rows: list[_Row]) -> Iterator[list[_Row]]:
    group: list[_Row] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if group and (len(group) + 1) * len(row.ids) > _TOKENS:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
