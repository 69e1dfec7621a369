"""Texts in and texts out: what every objective for a model of two stacks hands to it.

The encoder reads the source in the frame of the tokenizer's own template, as it does when the model is used. The
decoder reads the answer shifted right by one, behind the token that outputs begin with, and is asked for the answer
and the token that ends it. Only these are targets: what pads shorter rows is never asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.models.config import EncoderDecoderConfig
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import NO_TARGET, TARGET_STEP, Batch, padded_width, round_up

TOKEN = "token"
Ids = NDArray[np.integer]


@dataclass(frozen=True)
class Frame:
    """The ids around texts. before, after: a source. start: what the decoder reads first; begin: what every answer must
    begin with (some translation models: a language); end: what closes an answer."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    start: int
    begin: tuple[int, ...]
    end: int
    pad: int

    @classmethod
    def of(cls, given: Given) -> Frame:
        """That of a model and its tokenizer; with made-up tokens, only an end."""
        config, words = given.config, given.words
        assert isinstance(config, EncoderDecoderConfig), "an objective for two stacks"
        ends = tuple(i for i in (words.eos,) if i is not None)
        before, after = ((), ends) if given.tokenizer is None else source_frame(given.tokenizer)
        pad = words.pad or 0
        end = next((i for i in (config.eos_id, words.end) if i is not None), pad)
        start = pad if config.decoder_start_id is None else config.decoder_start_id
        begin = () if config.forced_bos_id is None else (config.forced_bos_id,)
        return cls(before, after, start, begin, end, pad)

    @property
    def around(self) -> int:
        """Ids around a source."""
        return len(self.before) + len(self.after)

    @property
    def beside(self) -> int:
        """Ids beside an answer, in what the decoder reads and in what it is to say alike."""
        return len(self.begin) + 1

    def source(self, ids: Ids) -> Ids:
        """The encoder's input (n,)."""
        return np.concatenate([self.before, ids, self.after]).astype(np.int64)

    def answer(self, ids: Ids) -> Ids:
        """What the decoder is to say (n,)."""
        return np.concatenate([self.begin, ids, [self.end]]).astype(np.int64)


def source_frame(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer's template puts before and after a text; without a template, the end token after it.

    The same as llmkit.generation.text.source_ids puts around a prompt.
    """
    plain, framed = (tokenizer.encode_batch(["a"], add_special=special)[0] for special in (False, True))
    if framed == plain:
        return (), tuple(i for i in (tokenizer.eos_id,) if i is not None)
    at = next(i for i in range(len(framed)) if framed[i : i + len(plain)] == plain)
    return tuple(framed[:at]), tuple(framed[at + len(plain) :])


@dataclass(frozen=True)
class Example:
    """One text and what is made of it, all without the ids around them.

    text: as it was; source: what the model reads; target: what it is to write, (n,) each. marks: what happened to the
    tokens of the source. hidden: (len(target),) whether a target is missing from the source; None: all are. bounds:
    where the target's sentences begin, closed by its length; None where it has none.
    """

    text: Ids
    source: Ids
    target: Ids
    marks: Sequence[Mark] = ()
    hidden: NDArray[np.bool_] | None = None
    bounds: NDArray[np.int64] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnswerBatch(Batch):
    """input_ids, attention_mask: (batch, source), the mask None when nothing is padding; decoder_input_ids: (batch,
    seq).

    positions: (n,) where answers are due in the flattened (batch * seq); targets: (n,) their ids, NO_TARGET in the
    places that only fill up to a round number; hidden: (n,) 1 for targets the source does not show, or None.
    to_write: examples, of the first rows, to be written out in full when scores are taken.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    decoder_input_ids: Tensor
    positions: Tensor
    targets: Tensor
    hidden: Tensor | None = None
    to_write: tuple[Example, ...] = ()


def batch_of(examples: Sequence[Example], frame: Frame, *, most: int, to_write: int = 0) -> AnswerBatch:
    """The batch of some examples; rows are padded to a round width, at most `most` unless one is longer."""
    sources = [frame.source(e.source) for e in examples]
    answers = [frame.answer(e.target) for e in examples]
    input_ids, is_read = _padded(sources, frame.pad, most)
    labels, is_asked = _padded(answers, frame.pad, most)
    decoder_input_ids = np.roll(labels, 1, axis=1)
    decoder_input_ids[:, 0] = frame.start
    positions = np.flatnonzero(is_asked)
    targets = labels[is_asked]
    unused = round_up(len(targets), TARGET_STEP) - len(targets)
    hidden = None
    if any(e.hidden is not None for e in examples):
        # A token that every answer begins or ends with is no skill.
        flags = [_flags(e, len(frame.begin)) for e in examples]
        hidden = torch.from_numpy(np.pad(np.concatenate(flags), (0, unused)))
    return AnswerBatch(
        counts={TOKEN: len(targets)},
        n_examples=len(examples),
        n_tokens=int(is_read.sum()) + len(targets),
        input_ids=torch.from_numpy(input_ids),
        attention_mask=None if is_read.all() else torch.from_numpy(is_read.astype(np.int64)),
        decoder_input_ids=torch.from_numpy(decoder_input_ids),
        positions=torch.from_numpy(np.pad(positions, (0, unused))),
        targets=torch.from_numpy(np.pad(targets, (0, unused), constant_values=NO_TARGET)),
        hidden=hidden,
        to_write=tuple(examples[:to_write]),
    )


def _padded(rows: Sequence[Ids], pad: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(batch, width) ids, and where they are real."""
    lengths = np.array([len(row) for row in rows])
    width = padded_width(int(lengths.max()), most)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    for row, content in zip(ids, rows, strict=True):
        row[: len(content)] = content
    return ids, np.arange(width) < lengths[:, None]


def _flags(example: Example, begin: int) -> NDArray[np.bool_]:
    hidden = np.ones(len(example.target), dtype=np.bool_) if example.hidden is None else example.hidden
    return np.pad(hidden, (begin, 1))
