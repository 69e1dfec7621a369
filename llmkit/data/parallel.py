"""Parallel text: pairs of a text and what it becomes, such as its translation, its summary or the answer to it.

Pairs come from two line-aligned files, from two columns of a table, or from the built-in stories. Neither side may be
empty: such pairs are left out and counted (see corpus_writer.py). Held-out pairs are chosen by a hash of the text
alone, so that both sides move together and a text that occurs twice is never on both sides of the split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from llmkit.data.sources import Sha256, Source, file_sha256
from llmkit.data.split import Side, is_held_out
from llmkit.data.text_in import shown, text_lines
from llmkit.errors import InputRefused, UsageError
from llmkit.suggest import nearest

STORY_PAIRS = ("summary", "question", "mirror")


class Pair(NamedTuple):
    """A text and what it becomes, both without white space around them; origin and again as in Piece."""

    text: str
    target: str
    origin: int = 0
    again: bool = False


@runtime_checkable
class Pairs(Protocol):
    """Parallel text that can be read repeatedly and knows its own digest."""

    def pairs(self) -> Iterator[Pair]:
        """All pairs in order, those with an empty side too."""

    def documents(self) -> Iterator[str]:
        """The texts of both sides in turn, for a tokenizer that serves both."""

    def about_bytes(self) -> int:
        """A guess at the size of both sides."""

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """A sha256 of what determines the pairs."""

    def describe(self) -> str:
        """One phrase for a header."""

    def spooled(self, directory: Path) -> Pairs:
        """The same with stdin and pipes copied to files in `directory`."""


class BothSides:
    """What all kinds of pairs share."""

    def pairs(self) -> Iterator[Pair]:
        """See Pairs."""
        raise NotImplementedError

    def documents(self) -> Iterator[str]:
        """See Pairs."""
        return (side for pair in self.pairs() for side in (pair.text, pair.target) if side)


@dataclass(frozen=True)
class LinePairs(BothSides):
    """Line i of the files of `texts` with line i of those of `targets`, file by file."""

    texts: Source
    targets: Source

    def __post_init__(self) -> None:
        ours, theirs = len(self.texts.files), len(self.targets.files)
        if self.texts.stories or self.targets.stories:
            raise UsageError("data.target goes with files, not with stories", "leave it out and set data.pair")
        if ours != theirs:
            raise UsageError(
                f"data.train names {ours} files and data.target {theirs}", "the lines of each file need a partner"
            )
        for source in (self.texts, self.targets):
            for path in source.files:
                if source.kind(path) != "text":
                    raise UsageError(
                        f"{shown(path)} is a table; data.target joins lines of plain text",
                        "leave out data.target and name the columns: data.text and data.pair",
                    )
        if both := set(self.texts.files) & set(self.targets.files):
            raise UsageError(f"{shown(min(both))} is both the text and its target")

    def pairs(self) -> Iterator[Pair]:
        """See Pairs. Raises InputRefused when two files differ in their number of lines, naming both."""
        for path, other in zip(self.texts.files, self.targets.files, strict=True):
            ours = (line for _, line in text_lines(path, self.texts.errors))
            theirs = (line for _, line in text_lines(other, self.targets.errors))
            n = 0
            for line in ours:
                partner = next(theirs, None)
                if partner is None:
                    raise _unequal(shown(path), n + 1 + _count(ours), shown(other), n)
                n += 1
                yield Pair(line.strip(), partner.strip())
            if more := _count(theirs):
                raise _unequal(shown(path), n, shown(other), n + more)

    def about_bytes(self) -> int:
        """See Pairs."""
        return self.texts.about_bytes() + self.targets.about_bytes()

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """See Pairs."""
        return digest_of_parts("lines", self.texts.fingerprint(sha256), self.targets.fingerprint(sha256))

    def describe(self) -> str:
        """See Pairs."""
        return f"the lines of {self.texts.describe()} with those of {self.targets.describe()}"

    def spooled(self, directory: Path) -> LinePairs:
        """See Pairs."""
        return replace(self, texts=self.texts.spooled(directory), targets=self.targets.spooled(directory))


@dataclass(frozen=True)
class StoryPairs(BothSides):
    """Pairs made of the built-in stories.

    form: "summary" (a story, what happened in one sentence), "question" (a question and a story, the answer) or
    "mirror" (a sentence, the same in Mirrorish; one pair for every sentence).
    """

    source: Source
    form: str

    def __post_init__(self) -> None:
        if self.source.files:
            raise UsageError("stories and files cannot be pairs together", "name one of them in data.train")
        if self.form not in STORY_PAIRS:
            near = nearest(self.form, STORY_PAIRS, most=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"stories have no pair {self.form!r}", f"{hint}data.pair: {', '.join(STORY_PAIRS)}")

    def pairs(self) -> Iterator[Pair]:
        """See Pairs."""
        from llmkit.data.mirror import mirrored
        from llmkit.data.stories import stories

        for story in stories(self.source.stories, self.source.seed, start=self.source.story_start):
            if self.form == "mirror":
                yield from (Pair(sentence, mirrored(sentence)) for sentence in story.sentences)
            elif self.form == "summary":
                yield Pair(story.text, story.summary)
            else:
                yield Pair(f"{story.question} {story.text}", story.answer)

    def about_bytes(self) -> int:
        """See Pairs."""
        return 2 * self.source.about_bytes()

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """See Pairs."""
        return digest_of_parts(f"stories {STORY_PAIRS_VERSION} {self.form}", self.source.fingerprint(sha256))

    def describe(self) -> str:
        """See Pairs."""
        how = {
            "summary": "each with its summary",
            "question": "each with a question about it",
            "mirror": "each sentence with its translation into Mirrorish",
        }
        return f"{self.source.describe()}, {how[self.form]}"

    def spooled(self, directory: Path) -> StoryPairs:
        """See Pairs."""
        return self


STORY_PAIRS_VERSION = 1
"""Goes up whenever a pair is put together otherwise; the stories have a version of their own."""


@dataclass(frozen=True)
class PairPart(BothSides):
    """One side of split pairs: about `fraction` of the texts are held out, by their hash."""

    source: Pairs
    side: Side
    fraction: float

    def pairs(self) -> Iterator[Pair]:
        """See Pairs. Raises InputRefused when none are on this side."""
        some = False
        for pair in self.source.pairs():
            if is_held_out(pair.text, self.fraction) == (self.side == "validation"):
                some = True
                yield pair
        if not some:
            raise InputRefused(
                f"a {self.side} part of {self.fraction:g} of {self.source.describe()} leaves no pairs",
                "raise data.validation_fraction, or name pairs in data.validation",
            )

    def about_bytes(self) -> int:
        """See Pairs."""
        return int(self.source.about_bytes() * (self.fraction if self.side == "validation" else 1 - self.fraction))

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """See Pairs."""
        return digest_of_parts("part", self.source.fingerprint(sha256), f"{self.side} {self.fraction!r}")

    def describe(self) -> str:
        """See Pairs."""
        share = self.fraction if self.side == "validation" else 1 - self.fraction
        return f"{self.source.describe()}, {share:.4g} of them by hash"

    def spooled(self, directory: Path) -> PairPart:
        """See Pairs."""
        return replace(self, source=self.source.spooled(directory))


def _count(lines: Iterator[str]) -> int:
    return sum(1 for _ in lines)


def _unequal(name: str, n: int, other: str, m: int) -> InputRefused:
    return InputRefused(
        f"{name} has {n:,} lines and {other} has {m:,}", "line i of one must belong to line i of the other"
    )


def digest_of_parts(*parts: str) -> str:
    """A sha256 of some words."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
