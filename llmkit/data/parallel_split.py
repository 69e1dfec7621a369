"""Which pairs to train and which to validate on: what a recipe names, opened and split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmkit.data.pair_columns import ColumnPairs
from llmkit.data.parallel import LinePairs, PairPart, Pairs, StoryPairs
from llmkit.data.sources import DEFAULT_STORIES, Source, Spec, open_source
from llmkit.data.split import VALIDATION_STORIES, refuse_fraction
from llmkit.data.text_in import Errors, shown
from llmkit.errors import UsageError


def open_pairs(
    train: Spec,
    target: Spec | None = None,
    *,
    text: str | None = None,
    pair: str | None = None,
    stories: int = DEFAULT_STORIES,
    seed: int = 0,
    errors: Errors = "strict",
) -> Pairs:
    """The pairs that `train` names, without reading them.

    target: the files whose lines belong to those of `train`; without them `train` is tables with the columns `text` and
    `pair`, or "stories", where `pair` is summary, question or mirror. Raises UsageError for what cannot be pairs.
    """
    source = open_source(train, stories=stories, seed=seed, errors=errors)
    if target is not None:
        if pair is not None:
            raise UsageError(
                f"data.target names files, and data.pair a column ({pair!r})",
                "the other side is in one of them: set the other to null",
            )
        return LinePairs(source, open_source(target, errors=errors))
    if source.stories:
        if pair is None:
            raise UsageError("stories are pairs in several ways", "set data.pair: summary, question or mirror")
        return StoryPairs(source, pair)
    return ColumnPairs(source, text, pair)


def open_pair_split(
    train: Spec,
    target: Spec | None = None,
    validation: Spec | None = None,
    validation_target: Spec | None = None,
    *,
    fraction: float = 0.1,
    text: str | None = None,
    pair: str | None = None,
    stories: int = DEFAULT_STORIES,
    seed: int = 0,
    errors: Errors = "strict",
) -> tuple[Pairs, Pairs | None]:
    """The training and the validation pairs; fraction 0 without `validation` means none of the latter.

    Summaries and answers are validated on other stories, `fraction` of `stories` in addition. Sentences recur in
    stories, so their translations are held out by hash, as files are.
    """
    pairs = open_pairs(train, target, text=text, pair=pair, stories=stories, seed=seed, errors=errors)
    if validation is None:
        if validation_target is not None:
            raise UsageError("data.validation_target without data.validation", "name the text that it belongs to")
        if fraction == 0:
            return pairs, None
        refuse_fraction(fraction)
        if isinstance(pairs, StoryPairs) and pairs.form != "mirror":
            return pairs, replace(pairs, source=_other_stories(pairs.source, stories, fraction))
        return PairPart(pairs, "train", fraction), PairPart(pairs, "validation", fraction)
    if target is not None and validation_target is None and validation != "stories":
        raise UsageError("data.validation without data.validation_target", "name the file with the other side of it")
    named = open_pairs(validation, validation_target, text=text, pair=pair, stories=stories, seed=seed, errors=errors)
    if isinstance(named, StoryPairs):
        named = replace(named, source=_other_stories(named.source, stories, fraction or 0.05))
    for path in sorted({p.resolve() for p in _files(named)} & {p.resolve() for p in _files(pairs)}):
        raise UsageError(f"{shown(path)} is both for training and for validation")
    return pairs, named


def _other_stories(source: Source, stories: int, fraction: float) -> Source:
    return replace(source, stories=max(1, round(stories * fraction)), story_start=VALIDATION_STORIES)


def _files(pairs: Pairs) -> list[Path]:
    if isinstance(pairs, LinePairs):
        return [*pairs.texts.files, *pairs.targets.files]
    return list(pairs.source.files) if isinstance(pairs, ColumnPairs) else []
