"""How good a trained tokenizer is, on text it did not learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmkit.tokenization.cuts import slices
from llmkit.tokenization.tokenizer import Tokenizer

_SLICE = 1 << 14  # characters
_EVERY = 64  # one slice (or short document) in so many is held out
_MOST = 1 << 18  # characters held out at most


class HeldOut:
    """Passes texts on but for a small sample. After iterating, `sample` is that text.

    A corpus too small to spare any (under about 1 MB, or 64 documents) is passed on whole; then `is_held_out` is false
    and the sample is its beginning.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self._held: list[str] = []
        self._seen: list[str] = []

    def __iter__(self) -> Iterator[str]:
        size = seen = 0
        for number, text in enumerate(slices(self._texts, _SLICE), 1):
            if number % _EVERY == 0 and size < _MOST:
                self._held.append(text)
                size += len(text)
                continue
            if seen < _MOST and not self._held:
                self._seen.append(text)
                seen += len(text)
            yield text

    @property
    def is_held_out(self) -> bool:
        return bool(self._held)

    @property
    def sample(self) -> list[str]:
        return self._held or self._seen


@dataclass(frozen=True)
class Report:
    """What `measure` found. Bytes are UTF-8 bytes of the sample.

    round_trip: whether the sample came back exactly; unknown: share of tokens that stand for unknown text.
    """

    vocab_size: int
    sample_bytes: int
    held_out: bool
    bytes_per_token: float | None
    tokens_per_word: float | None
    unknown: float
    round_trip: bool


def measure(tokenizer: Tokenizer, sample: list[str], *, held_out: bool) -> Report:
    """Encode the sample and decode it again."""
    encoded = tokenizer.encode_batch(sample)
    n_bytes = sum(len(text.encode("utf-8", "replace")) for text in sample)
    n_tokens = sum(map(len, encoded))
    n_words = sum(len(text.split()) for text in sample)
    unk = tokenizer.unk_id
    n_unknown = 0 if unk is None else sum(ids.count(unk) for ids in encoded)
    return Report(
        vocab_size=tokenizer.vocab_size,
        sample_bytes=n_bytes,
        held_out=held_out,
        bytes_per_token=n_bytes / n_tokens if n_tokens else None,
        tokens_per_word=n_tokens / n_words if n_words else None,
        unknown=n_unknown / n_tokens if n_tokens else 0.0,
        round_trip=all(tokenizer.decode(ids) == text for ids, text in zip(encoded, sample, strict=True)),
    )
