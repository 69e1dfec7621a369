"""Text in, text out: prompts to completions, streamed or many at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from llmkit.errors import InputRefused, UsageError
from llmkit.generation.decode import Decoder, Drawn
from llmkit.generation.detokenize import TextStream
from llmkit.generation.settings import Sampling
from llmkit.generation.stopping import StopStrings

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.models.two_towers import EncoderDecoderModel

    # What can write text: a decoder continues the prompt, an encoder-decoder answers it.
    TextModel = DecoderModel | EncoderDecoderModel
    from llmkit.tokenization.tokenizer import Tokenizer

Finish = Literal["eos", "stop", "length"]
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Completion:
    """What one sample became.

    prompt: index of its prompt; sample: which of the n samples; text: without the stop string; ids: the tokens drawn
    (a stop string's too, but not the end-of-text token); finish: end-of-text token, stop string, or max_tokens;
    seconds: from the start of its batch; logprobs: of each id, if asked for.
    """

    prompt: int
    sample: int
    text: str
    ids: list[int]
    finish: Finish
    seconds: float
    n_prompt_tokens: int
    logprobs: list[float] | None = None

    @property
    def tok_per_s(self) -> float:
        return len(self.ids) / self.seconds if self.seconds > 0 else 0.0


def generate_text(
    model: TextModel,
    tokenizer: Tokenizer,
    prompt: str = "",
    *,
    max_tokens: int = Sampling.max_tokens,
    temperature: float = Sampling.temperature,
    top_k: int | None = Sampling.top_k,
    top_p: float | None = Sampling.top_p,
    min_p: float | None = Sampling.min_p,
    repetition_penalty: float = Sampling.repetition_penalty,
    seed: int = Sampling.seed,
    stop: str | Sequence[str] = (),
    notice: Notice | None = None,
) -> Iterator[str]:
    """Yield the text that follows `prompt`, piece by piece; joined, the pieces are the whole text.

    Same arguments, same text. With an empty prompt the model starts from its begin-of-text token. `notice` is told
    when the prompt or the text outgrows the model's context (see llmkit.generation.decode).
    """
    settings = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    for piece, _ in stream(model, tokenizer, prompt, settings, stop=stop, notice=notice):
        if piece:
            yield piece


def stream(
    model: TextModel,
    tokenizer: Tokenizer,
    prompt: str,
    settings: Sampling,
    *,
    stop: str | Sequence[str] = (),
    with_logprobs: bool = False,
    notice: Notice | None = None,
) -> Iterator[tuple[str, Completion | None]]:
    """Yield (new text, None) per token, then ("", the completion)."""
    rows = [_row(model, tokenizer, prompt, 0)]
    for sample, piece in _continue(model, tokenizer, rows, settings, stop, with_logprobs, notice):
        yield piece, None
        if sample.finish is not None:
            yield "", sample.completion(with_logprobs)


def complete(
    model: TextModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    settings: Sampling,
    *,
    n: int = 1,
    stop: str | Sequence[str] = (),
    with_logprobs: bool = False,
    batch_size: int = 16,
    notice: Notice | None = None,
) -> Iterator[Completion]:
    """Continue each prompt `n` times; yield completions in the order of the prompts, each as soon as it is its turn.

    Prompts of like length share a batch of `batch_size` samples; that changes the speed, not the text (but for the
    last bit of a matrix product, which can tip a choice between two tokens that are as good as equally likely).
    """
    first = [_row(model, tokenizer, prompt, index) for index, prompt in enumerate(prompts)]
    rows = [replace(row, sample=sample) for row in first for sample in range(n)]
    rows.sort(key=lambda row: len(row.source or row.ids))
    turns = ((index, sample) for index in range(len(prompts)) for sample in range(n))
    turn = next(turns, None)
    done: dict[tuple[int, int], Completion] = {}
    for batch in _batches(rows, batch_size, of_one_length=model.config.prefix_lm):
        for sample, _ in _continue(model, tokenizer, batch, settings, stop, with_logprobs, notice):
            if sample.finish is not None:
                done[sample.row.prompt, sample.row.sample] = sample.completion(with_logprobs)
            while turn in done:
                yield done.pop(turn)
                turn = next(turns, None)


def _batches(rows: Sequence[_Row], size: int, *, of_one_length: bool) -> Iterator[Sequence[_Row]]:
    """Rows sorted by length in batches of at most `size`. of_one_length: a prompt that is read both ways must be whole
    when it is read, so no shorter one may share its batch."""
    start = 0
    while start < len(rows):
        batch = rows[start : start + size]
        if of_one_length:
            batch = [row for row in batch if len(row.ids) == len(batch[0].ids)]
        yield batch
        start += len(batch)


def prompt_ids(model: TextModel, tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Token ids to start from: the prompt, after a begin-of-text token if the tokenizer's own template has one.

    An empty prompt is the begin-of-text (or end-of-text) token. Raises UsageError when there is neither, InputRefused
    when the tokenizer knows tokens the model does not.
    """
    ids = tokenizer.encode(prompt) if prompt else []
    bos = next((i for i in (tokenizer.bos_id, tokenizer.eos_id, *model.config.stop_ids) if i is not None), None)
    if not ids:
        if bos is None:
            raise UsageError("the prompt is empty and this model has no token to start from", "give a prompt")
        ids = [bos]
    elif bos is not None and ids[0] != bos and _template_begins_with(tokenizer, bos):
        ids = [bos, *ids]
    _check_ids(ids, model)
    return ids


def source_ids(model: EncoderDecoderModel, tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of an input as the tokenizer's own template frames it, or, without one, with the end-of-text token.

    Raises UsageError for an empty input, InputRefused when the tokenizer knows tokens the model does not, or the input
    is longer than the model can read.
    """
    if not text:
        raise UsageError("the prompt is empty; an encoder-decoder needs an input to answer", "give a prompt")
    ids = list(tokenizer.backend.encode(text, add_special_tokens=True).ids)
    if ids == tokenizer.encode(text) and tokenizer.eos_id is not None:
        ids.append(tokenizer.eos_id)
    _check_ids(ids, model)
    limit = model.encoder.embeddings.limit
    if len(ids) > limit:
        raise InputRefused(f"the input has {len(ids)} tokens; this model can read {limit}", "give it in parts")
    return ids


def _check_ids(ids: Sequence[int], model: TextModel) -> None:
    if max(ids) >= model.config.vocab_size:
        raise InputRefused(
            f"token id {max(ids)} of the tokenizer is outside the model's vocabulary of {model.config.vocab_size}",
            "the tokenizer.json beside the model belongs to another one",
        )


def stop_ids(model: TextModel, tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that end a text: those the checkpoint names, else the tokenizer's end-of-text token."""
    named = frozenset(model.config.stop_ids)
    return named or frozenset(i for i in (tokenizer.eos_id,) if i is not None)


def _template_begins_with(tokenizer: Tokenizer, bos: int) -> bool:
    ids = tokenizer.backend.encode("a", add_special_tokens=True).ids
    return bool(ids) and ids[0] == bos


@dataclass(frozen=True)
class _Row:
    """ids: what the text begins with; source: what an encoder-decoder reads, () for decoders."""

    prompt: int
    sample: int
    ids: tuple[int, ...]
    source: tuple[int, ...] = ()


def _row(model: TextModel, tokenizer: Tokenizer, prompt: str, index: int) -> _Row:
    from llmkit.models.two_towers import EncoderDecoderModel

    if not isinstance(model, EncoderDecoderModel):
        return _Row(index, 0, tuple(prompt_ids(model, tokenizer, prompt)))
    ids = source_ids(model, tokenizer, prompt)
    c = model.config
    start = next((i for i in (c.decoder_start_id, c.bos_id, c.pad_id, c.eos_id) if i is not None), None)
    if start is None:
        raise UsageError(
            "this model has no token that its outputs begin with", "set decoder_start_token_id in config.json"
        )
    begin = (start,) if c.forced_bos_id is None else (start, c.forced_bos_id)
    return _Row(index, 0, begin, tuple(ids))


class _Sample:
    """One sample while it is written."""

    def __init__(self, row: _Row, tokenizer: Tokenizer, stops: Sequence[str], ends: Collection[int], most: int) -> None:
        self.row = row
        self.finish: Finish | None = None
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._pieces: list[str] = []
        self._text = TextStream(tokenizer)
        self._stops = StopStrings(stops)
        self._ends = ends
        self._most = most
        self._began = time.perf_counter()
        self._seconds = 0.0

    def take(self, drawn: Drawn) -> str:
        """Add one token; return the text that became certain, and set `finish` at the end."""
        piece = ""
        if drawn.id in self._ends:
            self.finish = "eos"
        else:
            self._ids.append(drawn.id)
            if drawn.logprob is not None:
                self._logprobs.append(drawn.logprob)
            piece = self._stops.push(self._text.push(drawn.id))
            if not self._stops.is_met and len(self._ids) >= self._most:
                self.finish = "length"
        if self.finish is not None:
            piece += self._stops.push(self._text.flush())
        if self._stops.is_met:
            self.finish = "stop"
        if self.finish is not None:
            piece += self._stops.flush()
            self._seconds = time.perf_counter() - self._began
        self._pieces.append(piece)
        return piece

    def completion(self, with_logprobs: bool) -> Completion:
        assert self.finish is not None, "the sample is still being written"
        return Completion(
            prompt=self.row.prompt,
            sample=self.row.sample,
            text="".join(self._pieces),
            ids=self._ids,
            finish=self.finish,
            seconds=self._seconds,
            n_prompt_tokens=len(self.row.source or self.row.ids),
            logprobs=self._logprobs if with_logprobs else None,
        )


def _continue(
    model: TextModel,
    tokenizer: Tokenizer,
    rows: Sequence[_Row],
    settings: Sampling,
    stop: str | Sequence[str],
    with_logprobs: bool,
    notice: Notice | None,
) -> Iterator[tuple[_Sample, str]]:
    """Continue `rows` as one batch; yield each sample with its new text whenever it got a token."""
    ends = stop_ids(model, tokenizer)
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    samples = [_Sample(row, tokenizer, stops, ends, settings.max_tokens) for row in rows]
    with _evaluating(model):
        decoder = Decoder(
            model,
            [row.ids for row in rows],
            settings,
            sources=[row.source for row in rows] if rows[0].source else None,
            samples=[row.sample for row in rows],
            with_logprobs=with_logprobs,
            notice=notice,
        )
        while decoder.rows:
            for drawn in decoder.step():
                sample = samples[drawn.row]
                yield sample, sample.take(drawn)
            decoder.drop({row for row in decoder.rows if samples[row].finish is not None})


@contextmanager
def _evaluating(model: TextModel) -> Iterator[None]:
    """Dropout off, and back on for a trainer that only wanted to see a sample."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
