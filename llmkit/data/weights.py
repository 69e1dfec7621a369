"""Several sources with weights: an epoch holds each in proportion to its weight.

A weight of 2.5 means all documents twice, and half of them once more. Which half is a pure function of their places,
and of every thousand documents it is as exact a half as can be; of running text it is the beginning of each piece of
some hundred thousand characters. So the corpus itself is what an epoch holds, and its order remains that of any corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

from llmkit.data.codes import Codes
from llmkit.data.order import permuted
from llmkit.data.parallel import BothSides, Pair, Pairs
from llmkit.data.parallel_split import open_pair_split
from llmkit.data.pieces import Piece, cut_place
from llmkit.data.sources import Sha256, Spec, file_sha256, open_source, refuse_twice
from llmkit.data.split import Corpus, open_split
from llmkit.errors import UsageError

MOST = 100.0
# Of so many documents in a row a fraction is taken exactly.
_BLOCK = 1000
T = TypeVar("T", Piece, Pair)


P = TypeVar("P", Corpus, Pairs)
S = TypeVar("S", bound="_Together[Any]")


@dataclass(frozen=True)
class _Together(Generic[P]):
    """Parts with their weights, as one text."""

    parts: tuple[P, ...]
    weights: tuple[float, ...]

    def epoch_bytes(self) -> float:
        """The size of an epoch, in which parts come as often as they weigh."""
        return sum(w * part.about_bytes() for w, part in zip(self.weights, self.parts, strict=True))

    def about_bytes(self) -> int:
        """The size of all parts, each read once."""
        return sum(part.about_bytes() for part in self.parts)

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """See Source.fingerprint."""
        lines: list[str] = [
            f"{part.fingerprint(sha256)} {w!r}" for part, w in zip(self.parts, self.weights, strict=True)
        ]
        return hashlib.sha256("\n".join(["weighted 1", *lines]).encode()).hexdigest()

    def describe(self) -> str:
        """One phrase for a header."""
        return " + ".join(self.origins())

    def origins(self) -> tuple[str, ...]:
        """What each part is, by its number."""
        return tuple(f"{part.describe()} x {w:g}" for part, w in zip(self.parts, self.weights, strict=True))

    def spooled(self: S, directory: Path) -> S:
        """See Source.spooled."""
        return replace(self, parts=tuple(part.spooled(directory) for part in self.parts))


@dataclass(frozen=True)
class Weighted(_Together[Corpus]):
    """Texts one after the other, each as often as its weight says."""

    def pieces(self) -> Iterator[Piece]:
        """The pieces of an epoch; `origin` is the number of the part, `again` marks all but the first reading."""
        for origin, (part, weight) in enumerate(zip(self.parts, self.weights, strict=True)):
            yield from _repeated(part.pieces, weight, origin)

    def documents(self) -> Iterator[str]:
        """The text of all parts, each once: what a tokenizer is learned from."""
        return (piece.text for part in self.parts for piece in part.pieces())

    def codes(self) -> tuple[str, ...]:
        """Those of all parts."""
        found = Codes()
        for part in self.parts:
            found.add_all(part.codes())
        return found.ordered()


@dataclass(frozen=True)
class WeightedPairs(_Together[Pairs], BothSides):
    """Parallel texts one after the other, each as often as its weight says."""

    def pairs(self) -> Iterator[Pair]:
        """The pairs of an epoch; `origin` and `again` as in Weighted."""
        for origin, (part, weight) in enumerate(zip(self.parts, self.weights, strict=True)):
            yield from _repeated(part.pairs, weight, origin)

    def documents(self) -> Iterator[str]:
        """The texts of all parts, each once: what a tokenizer is learned from."""
        return (text for part in self.parts for text in part.documents())


def open_weighted(
    train: Spec, weights: Sequence[float], validation: Spec | None = None, *, fraction: float = 0.1, **options: Any
) -> tuple[Weighted, Corpus | None]:
    """`open_split` for each entry of `train`, with its weight; validation counts every held-out part once.

    fraction 0 without `validation` holds out nothing.
    """
    specs = [train] if isinstance(train, str | PathLike) else list(train)
    weights = check_weights(weights, len(specs))
    refuse_twice(file for spec in specs for file in open_source(spec, **options).files)
    if validation is not None:
        opened = [open_split(spec, validation, fraction=fraction or 0.05, **options) for spec in specs]
        return Weighted(tuple(source for source, _ in opened), weights), opened[0][1]
    if fraction == 0:
        return Weighted(tuple(open_source(spec, **options) for spec in specs), weights), None
    opened = [open_split(spec, fraction=fraction, **options) for spec in specs]
    held_out = Weighted(tuple(part for _, part in opened), (1.0,) * len(opened))
    return Weighted(tuple(source for source, _ in opened), weights), held_out


def open_weighted_pairs(
    train: Spec,
    target: Spec | None,
    weights: Sequence[float],
    validation: Spec | None = None,
    validation_target: Spec | None = None,
    **options: Any,
) -> tuple[WeightedPairs, Pairs | None]:
    """`open_pair_split` for each entry of `train`, with its weight."""
    specs = [train] if isinstance(train, str | PathLike) else list(train)
    weights = check_weights(weights, len(specs))
    targets: Sequence[Spec | None]
    if target is None:
        targets = [None] * len(specs)
    else:
        targets = [target] if isinstance(target, str | PathLike) else list(target)
    if len(targets) != len(specs):
        raise UsageError(
            f"data.train names {len(specs)} and data.target {len(targets)}", "with weights, each needs its own"
        )
    opened = [
        open_pair_split(spec, other, validation, validation_target, **options)
        for spec, other in zip(specs, targets, strict=True)
    ]
    pairs = WeightedPairs(tuple(ours for ours, _ in opened), weights)
    parts = [theirs for _, theirs in opened if theirs is not None]
    if validation is not None or not parts:
        return pairs, parts[0] if parts else None
    return pairs, WeightedPairs(tuple(parts), (1.0,) * len(parts))


def check_weights(weights: Sequence[float], n_sources: int) -> tuple[float, ...]:
    """The weights as numbers; raises UsageError unless there is one above 0 for each source."""
    if len(weights) != n_sources:
        raise UsageError(
            f"data.weights has {len(weights)} weights, and data.train names {n_sources}",
            "one weight for each entry of data.train, in the same order",
        )
    for weight in weights:
        if not 0 < weight <= MOST:
            raise UsageError(f"data.weights holds {weight:g}", f"a weight is above 0 and at most {MOST:g}")
    return tuple(float(weight) for weight in weights)


def is_taken(index: int, fraction: float) -> bool:
    """Whether document `index` is among the `fraction` of all that is read once more."""
    block, within = divmod(index, _BLOCK)
    quota = int((block + 1) * _BLOCK * fraction) - int(block * _BLOCK * fraction)
    return permuted(0, block, within, _BLOCK) < quota


def _repeated(read: Callable[[], Iterator[T]], weight: float, origin: int) -> Iterator[T]:
    whole = int(weight)
    for turn in range(whole):
        for item in read():
            yield item._replace(origin=origin, again=turn > 0)
    if fraction := weight - whole:
        for item in _some(read(), fraction):
            yield item._replace(origin=origin, again=whole > 0)


def _some(items: Iterator[T], fraction: float) -> Iterator[T]:
    index = -1
    for item in items:
        if isinstance(item, Piece) and item.running:
            text = item.text[: int(len(item.text) * fraction)]
            yield item._replace(text=text[: cut_place(text)])
            continue
        index += 1
        if is_taken(index, fraction):
            yield item
