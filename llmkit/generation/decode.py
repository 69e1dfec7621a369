"""The decode loop: read the prompt once, then a token per step on a preallocated KV cache, a whole batch together.

Prompts of different length share a batch without padding: the batch reads as many tokens as its shortest prompt has,
and rows whose prompt goes on are fed it, one token a step, while the others already draw. Every row sits at the same
position, so there are no padding masks and no positions to shift, and any decoder family gives its exact result.

Context: a prompt longer than the model's context keeps its end. Text that grows past the context slides: the oldest
half of the window is dropped and the rest is read again from position 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from llmkit.errors import InputRefused
from llmkit.generation.sampler import UniformStream, next_token
from llmkit.generation.settings import Sampling
from llmkit.generation.writers import Answer, Continuation, Writer

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.models.two_towers import EncoderDecoderModel


_ROOM = 1024  # tokens of room in the history at first; it doubles when they are used up


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token drawn for row `row` (numbered as the prompts were given).

    logprob: natural log of its probability under the model itself, before penalty, temperature and filters; None
    unless asked for.
    """

    row: int
    id: int
    logprob: float | None = None


class Decoder:
    """Continues a batch of prompts, one step at a time.

    prompts: non-empty lists of token ids; what an encoder-decoder's output begins with, its inputs being `sources`, one
    for each. samples: for each, the index that with the seed fixes its random numbers.
    notice: called once for each kind of thing the user should know (a prompt that was cut, a window that slid).
    The model must be in eval mode. Torch's global random state is neither read nor changed.
    """

    def __init__(
        self,
        model: DecoderModel | EncoderDecoderModel,
        prompts: Sequence[Sequence[int]],
        settings: Sampling,
        *,
        sources: Sequence[Sequence[int]] | None = None,
        samples: Sequence[int] | None = None,
        with_logprobs: bool = False,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        assert all(prompts), "each prompt needs at least one token"
        self._model = model
        self._settings = settings
        self._with_logprobs = with_logprobs
        self._notice = notice or (lambda message: None)
        self._context: int = model.config.max_seq_len
        prompts = [self._fit(prompt) for prompt in prompts]
        device = next(model.parameters()).device
        samples = samples if samples is not None else range(len(prompts))
        self._rows = list(range(len(prompts)))
        self._streams = [UniformStream(settings.seed, sample) for sample in samples]
        self._prompt_lengths = [len(prompt) for prompt in prompts]
        self._length = min(self._prompt_lengths)  # tokens known for every row
        longest = max(self._prompt_lengths)
        self._history = torch.zeros(len(prompts), longest + min(settings.max_tokens, _ROOM), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            self._history[row, : len(prompt)] = torch.tensor(prompt)
        self._history = self._history.to(device)
        self._starts = torch.tensor(self._prompt_lengths, device=device)
        self._window = 0  # where in the history the cache begins
        self._read = 0  # tokens of the history that went through the model
        self._one_prompt = len(prompts) > 1 and sources is None and all(prompt == prompts[0] for prompt in prompts)
        self._writer: Writer = _writer(model, sources)
        self._cache = self._writer.new_cache(
            1 if self._one_prompt else len(prompts), min(self._context, longest + settings.max_tokens)
        )

    @property
    def rows(self) -> list[int]:
        """The prompts still being continued."""
        return list(self._rows)

    @torch.inference_mode()
    def step(self) -> list[Drawn]:
        """Run the model once; return the tokens drawn, none for rows that are still reading their prompt."""
        at = self._length
        assert self._rows, "step() after every row was dropped"
        if at == self._history.shape[1]:
            self._history = torch.cat([self._history, torch.zeros_like(self._history)], dim=1)
        logits = self._advance()
        chosen = next_token(logits, self._history[:, :at], self._uniforms(), self._settings)
        is_reading = at < max(self._prompt_lengths)
        if is_reading:
            chosen = torch.where(self._starts > at, self._history[:, at], chosen)
        self._history[:, at] = chosen
        self._length = at + 1
        ids = chosen.tolist()
        if max(ids) >= logits.shape[-1]:  # a draw from numbers that are not finite ends behind the last token
            raise _not_finite()
        logprobs: list[float] | list[None] = [None] * len(ids)
        if self._with_logprobs:
            logprobs = (logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(-1)).tolist()
        return [
            Drawn(row, id, logprob)
            for row, id, logprob, start in zip(self._rows, ids, logprobs, self._prompt_lengths, strict=True)
            if start <= at
        ]

    @torch.inference_mode()
    def drop(self, rows: Collection[int]) -> None:
        """Stop continuing `rows`; the others no longer pay for them."""
        kept = [i for i, row in enumerate(self._rows) if row not in rows]
        if len(kept) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in kept]
        self._streams = [self._streams[i] for i in kept]
        self._prompt_lengths = [self._prompt_lengths[i] for i in kept]
        if kept:
            index = torch.tensor(kept, device=self._history.device)
            self._history, self._starts = self._history[index], self._starts[index]
            self._cache.reorder(index)
            self._writer.keep(index)

    def _advance(self) -> Tensor:
        """Feed what the model has not read yet; return float32 logits (batch, vocab) for the next position."""
        if self._length - self._window > self._context:
            self._window = self._length - max(1, self._context // 2)
            self._read = self._window
            self._cache.truncate(0)
            self._notice(f"the text outgrew the context of {self._context} tokens: its oldest half was dropped")
        is_first = self._read == 0
        ids = self._history[:, self._read : self._length]
        if is_first and self._one_prompt:
            hidden = self._writer.encode(ids[:1], self._cache)[:, -1].expand(len(self._rows), -1)
            self._cache.reorder(torch.zeros(len(self._rows), dtype=torch.long, device=ids.device))
        else:
            hidden = self._writer.encode(ids, self._cache)[:, -1]
        self._read = self._length
        logits: Tensor = self._model.head(hidden).float()
        if is_first and not bool(logits.isfinite().all()):
            raise _not_finite()
        return logits

    def _uniforms(self) -> Tensor | None:
        if self._settings.temperature == 0:
            return None
        at = self._length
        draws = [next(s) if n <= at else 0.0 for s, n in zip(self._streams, self._prompt_lengths, strict=True)]
        return torch.tensor(draws, device=self._history.device)

    def _fit(self, prompt: Sequence[int]) -> Sequence[int]:
        if len(prompt) > self._context:
            self._notice(f"the prompt has {len(prompt)} tokens, the context {self._context}: only its end is read")
        return prompt[-self._context :]


def _writer(model: DecoderModel | EncoderDecoderModel, sources: Sequence[Sequence[int]] | None) -> Writer:
    if sources is None:
        return Continuation(cast("DecoderModel", model))
    return Answer(cast("EncoderDecoderModel", model), sources)


def _not_finite() -> InputRefused:
    return InputRefused("the model gives numbers that are not finite", "its weights are damaged or diverged")
