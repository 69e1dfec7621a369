"""A sample of a large corpus, spread over all of it: enough to learn a tokenizer from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from llmkit.data.weights import is_taken

ENOUGH = 100_000_000
"""Bytes, about. More text changes the last few entries of a vocabulary, and takes ten seconds for each 100 MB."""


class Readable(Protocol):
    """Text of about a known size."""

    def documents(self) -> Iterator[str]:
        """All of it, long documents in pieces."""

    def about_bytes(self) -> int:
        """A guess at its size."""


def sampled(text: Readable, most: int = ENOUGH) -> tuple[Iterator[str], float]:
    """About `most` bytes of the documents and the share that this is: 1.0 when it is all of them.

    Which are taken is a pure function of their places.
    """
    size = text.about_bytes()
    if size <= most:
        return text.documents(), 1.0
    share = most / size
    return (document for i, document in enumerate(text.documents()) if is_taken(i, share)), share
