"""How a story is told: frames with slots, a cast that keeps its facts, pronouns only where it is clear who is meant.

A frame is a line such as

    {a} [looked|searched] {S1}, but {it} was not there. // {a} sighed.

[x|y] is a choice, // parts sentences, {slots} are facts of the story. Capital letters name (A, B people, C an adult, O,
Q things, M an animal, P, R places), small ones refer back: {a} is "she" where that can only be A, else her name. B is
introduced ("her friend Ben") at the first mention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

from llmkit.data.world.words import Animal, Place, Thing, an

T = TypeVar("T")
Sentence = tuple[str, int, str]  # a %-format, the bits of who is in it, and the letters that refer back
BIT = {"A": 1, "B": 2, "C": 4, "O": 8, "Q": 16, "M": 32}
PEOPLE = 7
# Every slot that mentions somebody or something, by the letter of whom it mentions.
_MENTIONS = {
    "A": ("A", "a", "he", "him", "his", "self"),
    "B": ("B", "Bi", "b", "bhe", "bhim", "bhis", "bself"),
    "C": ("C", "c", "che", "chim", "chis"),
    "O": ("O", "anO", "o", "it"),
    "Q": ("Q", "anQ", "q", "qit"),
    "M": ("M", "anM", "m", "mit"),
}
_LETTER = {slot: letter for letter, slots in _MENTIONS.items() for slot in slots}
_REFERS = {"B": "!", "a": "A", "b": "B", "c": "C", "it": "O", "qit": "Q", "mit": "M"}
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
PRONOUNS = {"f": ("she", "her", "her", "herself"), "m": ("he", "him", "his", "himself")}


class Frames:
    """Ways of telling one thing: the lines of `source`, one frame each, chosen alike whatever choices they hold."""

    __slots__ = ("frames",)

    def __init__(self, source: str) -> None:
        lines = [line.strip() for line in source.strip().splitlines()]
        self.frames: list[str | tuple[tuple[Sentence, ...], ...]] = [line for line in lines if line]

    def variants(self, i: int) -> tuple[tuple[Sentence, ...], ...]:
        """All ways to say frame i; worked out on first use."""
        found = self.frames[i]
        if isinstance(found, str):
            found = self.frames[i] = compiled(found)
        return found


@cache
def compiled(line: str) -> tuple[tuple[Sentence, ...], ...]:
    """Every expansion of one frame, parted into sentences."""
    open_choice = _CHOICE.search(line)
    if open_choice is None:
        return (tuple(_sentence(part.strip()) for part in line.split("//")),)
    before, after = line[: open_choice.start()], line[open_choice.end() :]
    ways: list[tuple[Sentence, ...]] = []
    for choice in open_choice.group(1).split("|"):
        ways += compiled(re.sub(" +", " ", before + choice + after).replace(" ,", ",").replace(" .", ".").strip())
    return tuple(dict.fromkeys(ways))  # of nested choices the outer ones come up more than once


def _sentence(text: str) -> Sentence:
    bits = 0
    refers = ""
    for slot in _SLOT.findall(text):
        bits |= BIT.get(_LETTER.get(slot, ""), 0)
        if slot in _REFERS and _REFERS[slot] not in refers:
            refers += _REFERS[slot]
    return _SLOT.sub(r"%(\1)s", text.replace("%", "%%")), bits, refers


class Teller:
    """Holds one story's facts (`d`, by slot) and tells it sentence by sentence.

    random: numbers in [0, 1), the story's only source of chance.
    """

    __slots__ = (
        "before",
        "before_it",
        "d",
        "facts",
        "last",
        "last_it",
        "people",
        "random",
        "seen",
        "sentences",
        "short",
        "summary",
        "used",
    )

    def __init__(self, random: Callable[[], float]) -> None:
        self.random = random
        self.d: dict[str, str] = {}
        self.sentences: list[str] = []
        self.facts: list[tuple[str, str, int]] = []
        self.summary = ""
        self.people: dict[str, str] = {}
        # letter -> slot that refers back, pronoun, full form, bit, bits of those the pronoun could be mistaken for
        self.short: dict[str, tuple[str, str, str, int, int]] = {}
        # Who was mentioned: ever, in the last two sentences with people in them, and in the last two sentences.
        self.seen = self.last = self.before = self.last_it = self.before_it = 0
        self.used: dict[Frames, int] = {}

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.random() * len(options))]

    def pick_some(self, options: Sequence[T], n: int) -> list[T]:
        """n different ones, in random order."""
        left = list(options)
        return [left.pop(int(self.random() * len(left))) for _ in range(n)]

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.random() < p

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def person(self, letter: str, name: str, gender: str) -> None:
        """Cast A, B or C. Pronouns of A are {he him his self}, of B {bhe bhim bhis bself}, of C {che chim chis}."""
        d = self.d
        mark = "" if letter == "A" else letter.lower()
        d[letter] = name
        d[mark + "he"], d[mark + "him"], d[mark + "his"], d[mark + "self"] = PRONOUNS[gender]
        rivals = 0
        for other, its_gender in self.people.items():
            if its_gender == gender:
                rivals |= BIT[other]
                slot, pronoun, full, bit, its_rivals = self.short[other]
                self.short[other] = (slot, pronoun, full, bit, its_rivals | BIT[letter])
        self.people[letter] = gender
        self.short[letter] = (letter.lower(), PRONOUNS[gender][0], name, BIT[letter], rivals)

    def thing(self, letter: str, thing: Thing) -> None:
        """Cast O or Q: {O} "red kite", {anO} "a red kite", {o} "kite", {os} "kites", {adj}, {use used using}."""
        d = self.d
        x = self.random()
        looks = [self.pick(thing.first)] if x < 0.5 else []
        if x > 0.25:
            looks.append(self.pick(thing.second))
        whole = f"{' '.join(looks)} {thing.noun}"
        small = letter.lower()
        d[letter], d["an" + letter], d[small], d[small + "s"] = whole, an(whole), thing.noun, thing.plural
        d[small + "look"] = " and ".join(looks)
        if letter == "O":
            d["use"], d["used"], d["using"] = thing.verbs
        self._neuter(letter, "it" if letter == "O" else "qit", thing.noun)

    def animal(self, animal: Animal) -> None:
        """Cast M: {M} "brown dog", {anM}, {m}, {ms}, {sounded}, {moved}, {food} "a carrot", {foods} "carrots"."""
        d = self.d
        whole = f"{self.pick(animal.first)} {self.pick(animal.second)} {animal.noun}"
        d["M"], d["anM"], d["m"], d["ms"] = whole, an(whole), animal.noun, animal.plural
        d["sounded"], d["moved"], d["food"], d["foods"] = animal.sounded, animal.moved, animal.food, animal.foods
        self._neuter("M", "mit", animal.noun)

    def place(self, letter: str, place: Place) -> None:
        """Cast P or R: {P} "the garden", {inP} "in the garden", {toP} "to the garden"."""
        d = self.d
        d[letter] = f"the {place.noun}"
        d["in" + letter] = f"{place.at} the {place.noun}"
        d["to" + letter] = f"{place.to} the {place.noun}"

    def _neuter(self, letter: str, slot: str, noun: str) -> None:
        rivals = (BIT["O"] | BIT["Q"] | BIT["M"]) & ~BIT[letter]
        self.short[letter] = (slot, "it", f"the {noun}", BIT[letter], rivals)

    def say(self, frames: Frames) -> None:
        """Tell one of `frames`, not one already told in this story while there is another."""
        n = len(frames.frames)
        i = int(self.random() * n)
        told = self.used.get(frames, 0)
        for _ in range(n):
            if not told >> i & 1:
                break
            i = (i + 1) % n
        self.used[frames] = told | 1 << i
        ways = frames.variants(i)
        for text, bits, refers in ways[int(self.random() * len(ways))]:
            if refers:
                self._refer(refers, bits)
            sentence = text % self.d
            if "!" in refers:
                self.d["B"] = self.short["B"][2]
            if sentence[0].islower():
                sentence = sentence[0].upper() + sentence[1:]
            self.sentences.append(sentence)
            self.before_it, self.last_it = self.last_it, bits
            if bits & PEOPLE:
                self.before, self.last = self.last, bits
            self.seen |= bits

    def maybe(self, p: float, frames: Frames) -> None:
        """`say` with probability p."""
        if self.random() < p:
            self.say(frames)

    def fact(self, question: str, answer: str) -> None:
        """Note a question that the sentence just told answers; both may hold naming slots."""
        self.facts.append((question, answer, len(self.sentences) - 1))

    def _refer(self, letters: str, bits: int) -> None:
        """Decide for each letter between pronoun and noun.

        A pronoun needs somebody mentioned lately and nobody it could be mistaken for since; a thing or an animal also
        nothing else of its kind in the sentence itself.
        """
        if "!" in letters:  # B is introduced at the first mention: "her friend Ben"
            if not self.seen & BIT["B"]:
                self.d["B"] = self.d["Bi"]
            letters = letters.replace("!", "")
        for letter in letters:
            slot, pronoun, full, bit, rivals = self.short[letter]
            if bit & PEOPLE:
                last, before = self.last, self.before
                clear = bool(self.seen & bit) and not last & rivals
            else:
                last, before = self.last_it, self.before_it
                clear = not (last | bits) & rivals
            if clear and not last & bit:
                clear = not before & rivals and (bool(before & bit) or letter == "A")
            self.d[slot] = pronoun if clear and self.random() < 0.8 else full
