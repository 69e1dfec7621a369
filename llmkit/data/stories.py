"""Short English stories about a small world, made by a seeded generator: a corpus that needs no network and never ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmkit.data.order import mixed

VERSION = 0
"""Changes whenever any story changes; part of every cache key."""
MOODS = ("angry", "happy", "sad", "scared")


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of Story.text that name a PERSON, PLACE or THING."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Story:
    """text: sentences joined by spaces. answer == text[answer_start:][:len(answer)]."""

    seed: int
    index: int
    text: str
    sentences: tuple[str, ...]
    mood: str
    spans: tuple[Span, ...]
    question: str
    answer: str
    answer_start: int
    summary: str


def story(seed: int, index: int) -> Story:
    """Story `index` of world `seed`: a pure function."""
    bits = mixed(seed, index)
    name, she = (("Lily", "She"), ("Tom", "He"), ("Anna", "She"), ("Ben", "He"))[bits % 4]
    color = ("red", "blue", "green", "yellow")[bits // 4 % 4]
    thing = ("kite", "ball", "hat", "boat", "book", "drum")[bits // 16 % 6]
    place = ("garden", "park", "forest", "kitchen", "river")[bits // 96 % 5]
    mood = MOODS[bits // 480 % 4]
    sentences = (
        f"{name} had a {color} {thing}.",
        f"One day {she.lower()} lost the {thing} in the {place}.",
        f"{she} looked for it in the {place}.",
        f"The {color} {thing} was not there.",
        f"{name} was {mood}.",
    )
    text = " ".join(sentences)
    spans = [
        Span(text.index(w), text.index(w) + len(w), k)
        for w, k in ((name, "PERSON"), (thing, "THING"), (place, "PLACE"))
    ]
    return Story(
        seed, index, text, sentences, mood, tuple(spans), f"What did {name} lose?", f"{color} {thing}",
        text.index(f"{color} {thing}"), f"{name} lost a {thing}.",
    )  # fmt: skip


def stories(count: int, seed: int = 0, *, start: int = 0) -> Iterator[Story]:
    """Stories `start` to `start + count` of world `seed`."""
    return (story(seed, index) for index in range(start, start + count))
