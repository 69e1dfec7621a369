"""What a run is made from beside its recipe: texts, tokenizer, teacher. They must stay the same. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmkit.errors import InputRefused
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.resume import Resumption

# What each is called, and the key of the recipe that names it.
NAMES = {
    "tokenizer": ("tokenizer", "tokenizer.path"),
    "train": ("training text", "data.train"),
    "validation": ("validation text", "data.validation"),
    "teacher": ("teacher", "objective.teacher"),
}


@dataclass(frozen=True)
class Ingredient:
    """One of them. sha256: of all its content; counts: what tells two of them apart at a glance, by its plural.

    change: how it differs from what the run itself holds, where that is known.
    """

    sha256: str
    counts: Mapping[str, int] = field(default_factory=dict)
    change: str = ""

    @classmethod
    def of_tokenizer(cls, tokenizer: Tokenizer, own: Tokenizer | None = None) -> Ingredient:
        """own: the one that the run holds, if it may be another."""
        change = "" if own is None or own is tokenizer else first_difference(own, tokenizer)
        return cls(tokenizer.sha256, {"tokens": tokenizer.vocab_size}, change)


def first_difference(old: Tokenizer, new: Tokenizer) -> str:
    """Where the vocabularies of two tokenizers part, in a few words; "" if nowhere."""
    for i in range(min(old.vocab_size, new.vocab_size)):
        if old.token(i) != new.token(i):
            return f"id {i} was {old.token(i)!r} and is {new.token(i)!r}"
    return ""


def noted(ingredients: Mapping[str, Ingredient]) -> dict[str, Any]:
    """What a checkpoint remembers of them in its manifest."""
    return {
        "digests": {name: one.sha256 for name, one in ingredients.items()},
        "counts": {name: dict(one.counts) for name, one in ingredients.items()},
    }


def check_ingredients(resumption: Resumption, now: Mapping[str, Ingredient], allow: Iterable[str]) -> None:
    """Raise InputRefused, with the difference, when one is not what the run began with."""
    digests, counts = resumption.meta.get("digests", {}), resumption.meta.get("counts", {})
    for what, (name, key) in NAMES.items():
        # A validation text that is a part of the training text changes with it.
        allowed = {key, "data.train"} if what == "validation" else {key}
        one = now.get(what)
        if what not in digests or (one is not None and digests[what] == one.sha256) or allowed & set(allow):
            continue
        difference = f": {_difference(counts.get(what, {}), one)}" if one is not None else ": there is none now"
        raise InputRefused(
            f"the {name} is not the one that {resumption.checkpoint.path.parent} was trained with{difference}",
            f"bring the old one back, start a new run with --run NAME, or add --allow-change {key}",
        )


def _difference(then: Mapping[str, int], now: Ingredient) -> str:
    changed = [f"{then[what]:,} {what} became {n:,}" for what, n in now.counts.items() if then.get(what, n) != n]
    if not changed and then:
        changed = [f"as many {' and '.join(then)}, but not the same"]
    return "; ".join([*changed, *([now.change] if now.change else [])]) or "its content changed"
