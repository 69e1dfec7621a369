"""Short English stories about a small world, from a seeded generator: a corpus that needs no network and never ends.

`story(seed, index)` is a pure function of its two integers: the same text on every platform and Python version, as long
as VERSION stays. It draws from random.Random(int).random() only, which Python documents to be reproducible.
A story also carries labels: the mood of its main person at the end, names, places and things by character, a question
with its answer in the text, and a summary.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random

from llmkit.data.order import mixed
from llmkit.data.world import words
from llmkit.data.world.plots import PLOTS
from llmkit.data.world.scenes import MOODS
from llmkit.data.world.teller import Teller

VERSION = 1
"""Goes up whenever any story changes; part of every cache key."""
FEWEST_WORDS, MOST_WORDS = 60, 150
FEWEST_SENTENCES, MOST_SENTENCES = 5, 14

__all__ = ["MOODS", "VERSION", "Span", "Story", "stories", "story"]


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of Story.text that name a PERSON, a PLACE or a THING."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Story:
    """A story and what is known about it; labels are worked out when asked for."""

    seed: int
    index: int
    plot: str
    mood: str
    sentences: tuple[str, ...]
    _slots: dict[str, str]
    _facts: tuple[tuple[str, str, int], ...]
    _summary: str

    @cached_property
    def text(self) -> str:
        """The sentences joined by spaces."""
        return " ".join(self.sentences)

    @property
    def summary(self) -> str:
        """What happened, in one sentence."""
        return _capital(self._summary.format_map(self._slots))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Every name, place and thing of the world's vocabulary in the text, in order."""
        return tuple(Span(m.start(), m.end(), str(m.lastgroup)) for m in _entities().finditer(self.text))

    @cached_property
    def _question(self) -> tuple[str, str, int]:
        kinds = self._facts[mixed(self.seed, self.index, 7) % len(self._facts) :] + self._facts
        for question, answer, where in kinds:
            wanted = answer.format_map(self._slots)
            before = sum(len(s) + 1 for s in self.sentences[:where])
            for start in (before, 0):  # if not in the sentence that told it, then where it was first told
                found = re.compile(rf"\b{re.escape(wanted)}\b").search(self.text, start)
                if found and (start == 0 or found.end() <= before + len(self.sentences[where])):
                    return _capital(question.format_map(self._slots)), wanted, found.start()
        raise AssertionError(f"story {self.seed}/{self.index} answers no question")

    @property
    def question(self) -> str:
        """A question that the text answers."""
        return self._question[0]

    @property
    def answer(self) -> str:
        """Its answer, a piece of the text."""
        return self._question[1]

    @property
    def answer_start(self) -> int:
        """Where the answer begins: text[answer_start : answer_start + len(answer)] == answer."""
        return self._question[2]

    def as_dict(self) -> dict[str, object]:
        """Text and all labels as plain values, for JSON."""
        names = ("seed", "index", "plot", "text", "mood", "question", "answer", "answer_start", "summary")
        entities = [[s.start, s.end, s.kind] for s in self.spans]
        return {name: getattr(self, name) for name in names} | {"entities": entities}


def story(seed: int, index: int) -> Story:
    """Story `index` of world `seed`; any integers."""
    mood = MOODS[mixed(seed, index) % len(MOODS)]
    for attempt in range(1000):  # about one in twenty turns out too short or too long
        t = Teller(Random(mixed(seed, index, attempt)).random)
        plot = t.pick(PLOTS)
        plot(t, mood)
        n_words = sum(s.count(" ") + 1 for s in t.sentences)
        if FEWEST_WORDS <= n_words <= MOST_WORDS and FEWEST_SENTENCES <= len(t.sentences) <= MOST_SENTENCES:
            return Story(seed, index, plot.__name__, mood, tuple(t.sentences), t.d, tuple(t.facts), t.summary)
    raise AssertionError(f"no story of fitting length for {seed}/{index}")


def stories(count: int, seed: int = 0, *, start: int = 0) -> Iterator[Story]:
    """Stories `start` to `start + count` of world `seed`."""
    return (story(seed, index) for index in range(start, start + count))


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


_PATTERN: list[re.Pattern[str]] = []


def _entities() -> re.Pattern[str]:
    if not _PATTERN:
        people = [*words.GIRLS, *words.BOYS, "Grandma", "Grandpa"]
        places = [p.noun for p in words.OUTSIDE + words.INSIDE]
        things = [n for thing in words.TREASURES + words.EDIBLE for n in (thing.noun, thing.plural)]
        groups = (("PERSON", people), ("PLACE", places), ("THING", things))
        _PATTERN.append(re.compile("|".join(rf"(?P<{kind}>\b(?:{'|'.join(names)})\b)" for kind, names in groups)))
    return _PATTERN[0]


def main(arguments: list[str] | None = None) -> None:
    """Print stories: `python -m llmkit.data.stories 3 --seed 1 --labels`."""
    parser = argparse.ArgumentParser(
        prog="python -m llmkit.data.stories", description="Print stories of the small world."
    )
    parser.add_argument("count", type=int, nargs="?", default=1, help="how many (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="which world (default 0)")
    parser.add_argument("--start", type=int, default=0, help="index of the first story (default 0)")
    parser.add_argument("--labels", action="store_true", help="also mood, question, answer and summary")
    parser.add_argument("--jsonl", action="store_true", help="one JSON object per line, with all labels")
    options = parser.parse_args(arguments)
    for one in stories(options.count, options.seed, start=options.start):
        if options.jsonl:
            print(json.dumps(one.as_dict(), ensure_ascii=False))
            continue
        print(one.text)
        if options.labels:
            print(f"  [{one.plot}, {one.mood}] {one.summary}\n  {one.question} -> {one.answer}")
        print()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()
