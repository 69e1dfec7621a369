"""Runs of sentences that fill the examples of the masked objective, and the pairs made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import InputRefused
from llmkit.training.objectives.chop import chop

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus


@dataclass(frozen=True)
class Text:
    """Tokens of documents cut into sentences.

    ids: (n_tokens,); sentences: (n_sentences + 1,) offsets into ids; documents: (n_documents + 1,) offsets into
    sentences. The last entry of each closes the one before. place: a directory for what is found out about the text,
    None for memory.
    """

    ids: NDArray[np.integer]
    sentences: NDArray[np.int64]
    documents: NDArray[np.int64]
    place: Path | None = None

    @classmethod
    def of(cls, corpus: TokenCorpus) -> Text:
        """The arrays of a corpus that was cut into sentences."""
        return cls(corpus.ids, corpus.sentence_starts, corpus.document_sentences, corpus.place)


class Windows:
    """Runs of sentences that fill an example as far as whole sentences do; a longer sentence is cut into its parts.

    first, last: (n,) the sentences of each window, the last exclusive; begin, lengths: (n,) its first token and its
    number of tokens.
    """

    def __init__(
        self, text: Text, room: int, *, within_documents: bool, least: int = 1, least_sentences: int = 1
    ) -> None:
        """room: most tokens of a window; least: fewest, windows of fewer tokens or sentences are left out."""
        self.text = text
        self.first, self.last, self.begin, self.lengths = chop(
            text.sentences,
            text.documents,
            room,
            within_documents=within_documents,
            least=least,
            least_sentences=least_sentences,
            place=text.place,
        )
        if not len(self.lengths) and least_sentences > 1:
            raise InputRefused(
                f"no document has {least_sentences} sentences that fit into an example together",
                "use longer documents, or a larger train.seq_len",
            )
        if not len(self.lengths):
            raise InputRefused(f"no piece of the text has {least} tokens", "use more text")

    def whole(self, window: int) -> NDArray[np.integer]:
        """All tokens of a window."""
        return self.text.ids[self.begin[window] : self.end(window)]

    def end(self, window: int) -> int:
        """Where it ends."""
        return int(self.begin[window]) + int(self.lengths[window])

    def pair(
        self, window: int, room: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.integer], NDArray[np.integer], bool]:
        """A and B of a window and whether B is random; together at most `room` tokens, and neither is empty."""
        begin, end = int(self.begin[window]), self.end(window)
        cut = self._cut(window, rng)
        is_random = bool(rng.random() < 0.5) or cut >= end
        a = self.text.ids[begin:cut]
        if not is_random:
            return a, self.text.ids[cut:end], False
        # As long as the real B would have been, so that the length does not give the answer away.
        wanted = max(1, min(room - len(a), end - cut))
        b = self._elsewhere(window, wanted, rng)
        return a[: room - len(b)] if len(a) + len(b) > room else a, b, True

    def halves(self, window: int, rng: np.random.Generator) -> tuple[NDArray[np.integer], NDArray[np.integer], bool]:
        """The two parts of a window of at least two tokens, and whether they have changed places."""
        cut = self._cut(window, rng)
        a, b = self.text.ids[self.begin[window] : cut], self.text.ids[cut : self.end(window)]
        return (b, a, True) if rng.random() < 0.5 else (a, b, False)

    def _cut(self, window: int, rng: np.random.Generator) -> int:
        """Where B begins: with some sentence, or in the middle of the only one."""
        first, last, begin = int(self.first[window]), int(self.last[window]), int(self.begin[window])
        if last - first < 2:
            return begin + max(1, (self.end(window) - begin) // 2)
        return int(self.text.sentences[rng.integers(first + 1, last)])

    def _elsewhere(self, window: int, wanted: int, rng: np.random.Generator) -> NDArray[np.integer]:
        """Up to `wanted` tokens from a random sentence on, in another document if there is one."""
        sentences, documents = self.text.sentences, self.text.documents
        home = int(np.searchsorted(documents, self.first[window], side="right")) - 1
        other = int(rng.integers(len(documents) - 1))
        if other == home:
            other = (home + 1 + int(rng.integers(max(1, len(documents) - 2)))) % (len(documents) - 1)
        start = int(rng.integers(documents[other], documents[other + 1]))
        end = int(sentences[documents[other + 1]])
        while start > documents[other] and end - sentences[start] < wanted:
            start -= 1  # short Bs must not be a sign of random ones
        stop = min(int(sentences[start]) + wanted, end)
        return self.text.ids[int(sentences[start]) : stop]
