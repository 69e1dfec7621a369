"""Training and validation text that cannot overlap.

- A validation source of its own: taken as it is.
- Stories: the validation stories come from far beyond the training stories in the same world, so their number does not
  depend on how many are trained on.
- Plain text: the last `fraction` of the characters of all text files in order. For one file, train is
  text[:int(n * (1 - fraction))], the split of nanoGPT's character benchmark. Where documents have codes, the last
  `fraction` of each file.
- Records, and stories beside files: by a hash of the text, so a duplicate of a training document is never validated
  on, and adding documents moves none.

Text files and records named together are each split by their own rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from llmkit.data.pieces import Piece
from llmkit.data.sources import DEFAULT_STORIES, Sha256, Source, Spec, file_sha256, open_source
from llmkit.data.text_in import STDIN, Errors, text_chunks
from llmkit.errors import InputRefused, UsageError

VALIDATION_STORIES = 1 << 40
"""Index of the first validation story."""
Side = Literal["train", "validation"]


class Corpus(Protocol):
    """Text that can be read repeatedly and knows its own digest: a Source or a Part."""

    def pieces(self) -> Iterator[Piece]: ...

    def documents(self) -> Iterator[str]: ...

    def codes(self) -> tuple[str, ...]: ...

    def about_bytes(self) -> int: ...

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str: ...

    def describe(self) -> str: ...

    def spooled(self, directory: Path) -> Corpus: ...


@dataclass(frozen=True)
class Part:
    """One side of a split source."""

    source: Source
    side: Side
    fraction: float

    def pieces(self) -> Iterator[Piece]:
        """The pieces on this side. Raises InputRefused when there are none."""
        some = False
        for piece in self._pieces():
            some = True
            yield piece
        if not some:
            raise InputRefused(
                f"a {self.side} part of {self.fraction:g} of {self.source.describe()} leaves nothing to read",
                "raise data.validation_fraction, or name a file in data.validation",
            )

    def documents(self) -> Iterator[str]:
        """`pieces`, text only."""
        return (piece.text for piece in self.pieces())

    def codes(self) -> tuple[str, ...]:
        """Those of both sides."""
        return self.source.codes()

    def about_bytes(self) -> int:
        """See Source.about_bytes."""
        share = self.fraction if self.side == "validation" else 1 - self.fraction
        return int(self.source.about_bytes() * share)

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """See Source.fingerprint."""
        settings = f"{self.source.fingerprint(sha256)} {self.side} {self.fraction!r}"
        return hashlib.sha256(settings.encode()).hexdigest()

    def spooled(self, directory: Path) -> Part:
        """See Source.spooled."""
        return replace(self, source=self.source.spooled(directory))

    def describe(self) -> str:
        """One phrase for a header."""
        share = self.fraction if self.side == "validation" else 1 - self.fraction
        text = "each text" if self.source.coded else "the text"
        by_place = f"{'last' if self.side == 'validation' else 'first'} {share:.4g} of {text}"
        by_hash = f"{share:.4g} of the records by hash"
        rules = [by_place] * bool(self.source.texts) + [by_hash] * self.source.has_records
        return f"{self.source.describe()}, {' and '.join(rules)}"

    def _pieces(self) -> Iterator[Piece]:
        total = 0 if self.source.coded else self._n_chars(*self.source.texts)
        at = 0
        for path, pieces in self.source.groups():
            if path is None:
                yield from self._by_hash(pieces)
            elif self.source.coded:  # one place for all files would hold out the last codes and nothing of the others
                yield from self._by_place(pieces, 0, int(self._n_chars(path) * (1 - self.fraction)))
            else:
                at = yield from self._by_place(pieces, at, int(total * (1 - self.fraction)))

    def _n_chars(self, *paths: Path) -> int:
        return sum(len(chunk) for path in paths for chunk in text_chunks(path, self.source.errors))

    def _by_place(self, pieces: Iterator[Piece], at: int, cut: int) -> Generator[Piece, None, int]:
        """Those before or from character `cut` on, the first being at `at`; returns where they end, or are beyond."""
        for piece in pieces:
            start, at = at, at + len(piece.text)
            if self.side == "train":
                if start >= cut:
                    return at
                yield piece if at <= cut else piece._replace(text=piece.text[: cut - start])
            elif at > cut:
                yield piece if start >= cut else piece._replace(text=piece.text[cut - start :], first=True)
        return at

    def _by_hash(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if is_held_out(piece.text, self.fraction) == (self.side == "validation"):
                yield piece


def is_held_out(text: str, fraction: float) -> bool:
    """Whether a text is among the about `fraction` of all texts that are kept for validation, by its hash."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"llmkit-split")
    return int.from_bytes(digest.digest(), "big") < int(fraction * 2**64)


def refuse_fraction(fraction: float) -> None:
    """Raise UsageError for a fraction that is none."""
    if not 0 < fraction < 1:
        raise UsageError(f"data.validation_fraction is {fraction:g}", "it must lie between 0 and 1")


def open_split(
    train: Spec,
    validation: Spec | None = None,
    *,
    fraction: float = 0.1,
    field: str | None = None,
    stories: int = DEFAULT_STORIES,
    seed: int = 0,
    errors: Errors = "strict",
    coded: bool = False,
    label: str | None = None,
) -> tuple[Source | Part, Source | Part]:
    """The training and the validation text, by the rules of this module.

    fraction: share of the text, records or (in addition to `stories`) stories to validate on; 0 < fraction < 1.
    Raises UsageError for a fraction that is none and for a file on both sides.
    """
    source = open_source(train, field=field, stories=stories, seed=seed, errors=errors, coded=coded, label=label)
    refuse_fraction(fraction)
    held_out = max(1, round(stories * fraction))
    if validation is not None:
        named = open_source(
            validation, field=field, stories=held_out, seed=seed, errors=errors, coded=coded, label=label
        )
        if named.stories:
            named = replace(named, story_start=VALIDATION_STORIES)
        ours = {path.resolve() for path in source.files if path != STDIN}
        for path in named.files:
            if path in source.files or path.resolve() in ours:
                raise UsageError(f"{path} is both data.train and data.validation")
        return source, named
    if source.stories and not source.files:
        return source, replace(source, stories=held_out, story_start=VALIDATION_STORIES)
    return Part(source, "train", fraction), Part(source, "validation", fraction)
