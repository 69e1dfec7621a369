"""What training a tokenizer tells whoever watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Stages come in this order: read, words, then merge or fit."""

    def read(self, n_chars: int) -> None:
        """So many more characters were read and counted."""

    def words(self, n_words: int) -> None:
        """Reading is over; so many distinct words will be learned from."""

    def merge(self, done: int, total: int, token: str, count: int) -> None:
        """Merge `done` of at most `total` made `token`, which occurs `count` times."""

    def fit(self, n_pieces: int, wanted: int) -> None:
        """A Unigram vocabulary of `n_pieces` was fitted; it shrinks until it has `wanted`."""


class Silent:
    """Nobody watches."""

    def read(self, n_chars: int) -> None: ...

    def words(self, n_words: int) -> None: ...

    def merge(self, done: int, total: int, token: str, count: int) -> None: ...

    def fit(self, n_pieces: int, wanted: int) -> None: ...
