# ruff: noqa: E501 - a frame is one line of prose
"""Something is lost and looked for."""

from __future__ import annotations

from llmkit.data.world import scenes
from llmkit.data.world.teller import Frames, Teller

HAVE = Frames("""
    {A} had {anO}.
    {A} had {anO} that {he} [loved|liked] very much.
    {A} owned {anO} and took it everywhere.
    {A} got {anO} from {C}.
    {C} had given {A} {anO}.
    Of all {his} things, {A} liked {his} {O} best.
    {A} never left home without {his} {O}.
    Everyone knew {A} by {his} {O}.
""")
GO = Frames("""
    {when} {a} [took|brought] {it} {toP}.
    {when} {a} [went|walked|ran] {toP} with {it}.
    {when} {a} stayed {inP} and {used} {it} until [noon|dinner].
    {when} {a} went {toP} and {used} {it} for an hour.
    {when} {a} was {inP} and showed everyone the {o}.
""")
LOSE = Frames("""
    But when {a} [came|got] home, the {o} was [gone|missing].
    On the way home {a} [saw|noticed|found] that {he} had lost {it}.
    {a} put {it} down for a moment and [forgot about it|ran to drink some water]. // When {a} came back, the {o} was gone.
    Then {a} [looked around|reached for it], but the {o} was [gone|missing|not there anymore].
    "Where is my {o}?" {a} [asked|cried].
    Somehow {a} lost {it} there.
    In the evening {a} could not find the {o}.
""")
LOOK = Frames("""
    {a} [looked|searched] {S1}, but {it} was not there.
    First {a} looked {S1}. // There was [nothing|only dust|only a dead leaf] there.
    {a} looked {S1} and {S2}, but the {o} was not there.
    Was {it} {S1}? // No, it was not.
    "Maybe {it} is {S1}," {a} thought. // But {it} was not there.
    {a} found [an old shoe|a button|a feather|some string|a spoon] {S1}, but not the {o}.
    {a} went back {toP} and looked {S1}. // [Nothing|The {o} was not there].
""")
LOOK_MORE = Frames("""
    Then {a} looked {S2}, [again without luck|but it was not there either].
    {a} searched every corner {inP}.
    Next {a} [looked|searched] {S2}. // The {o} was not there either.
    {a} looked for {it} for [an hour|two hours|a long time].
    {a} [emptied|turned out] all {his} pockets.
""")
ASK = Frames("""
    "Have you seen my {o}?" {a} asked {B}.
    {a} asked {Bi} for help.
    {a} asked {B} if {bhe} had seen {it}.
    "I have lost my {o}," {a} told {Bi}. // "What does it look like?" asked {B}. // "It is {olook}," said {A}.
    "[Please help me|Help me to look for it]," {a} said to {Bi}.
""")
ANSWER = Frames("""
    "No, but I will help you [look|search]," said {B}.
    "Let us look together," said {B}.
    "I have not seen it [today|anywhere]," said {B}, "but two see more than one."
    {B} [nodded|took {bhis} coat] and helped {A}.
    "When did you last see it?" asked {B}.
""")
FOUND_BY_FRIEND = Frames("""
    {B} looked {S3} and shouted, "Here it is!" // {B} gave the {o} back to {A}.
    Then {B} saw something {S3}. // It was the {O}!
    At last {B} found the {o} {S3} and gave it to {A}.
    "What is that {S3}?" cried {B}. // There was the {O}.
    After a while {B} came back with the {o} in {bhis} hands. // It had been {S3}.
""")
FOUND_ALONE = Frames("""
    {a} sat down and thought hard. // Then {a} went straight back and found the {o} {S3}.
    Nobody could help {A}. // But {a} remembered every step of the day, and there, {S3}, was the {O}.
    {a} made a map of {P} and searched it bit by bit. // In the last bit, {S3}, was the {O}.
    {a} did not give up. // When all the others had gone home, {a} found the {o} {S3}.
""")
GONE = Frames("""
    {a} searched until [the sun went down|it was dark], but the {o} was gone for ever.
    In the end {a} found the {o} {S3}, but it was [broken|ruined]. // Nobody could mend it.
    The {o} never came back. // It had been {his} last gift from {C}.
    Nobody ever found the {o}.
    {a} never saw the {o} again.
""")
TAKEN = Frames("""
    Then {A} saw the {o} in the hands of {Bi}. // {B} had taken it without asking.
    Just then {Bi} came by with the {o}. // "It is mine now," {B} laughed.
    At last {A} learned that {B} had hidden the {o} {S3} for a joke. // {B} only laughed.
    "I took it," said {Bi}, "and I will not give it back."
""")
LOST_TOO = Frames("""
    {a} looked [deeper and deeper|farther and farther away]. // Soon it was dark, and {a} did not know the way home.
    Then the sun went down, and something [moved|growled|rustled] {S3}.
    {a} felt around {S3}, and something cold touched {his} hand.
    Suddenly a [big|huge] dog stood in front of {A} and showed its teeth.
""")


def lost(t: Teller, mood: str) -> None:
    """A loses O at P and looks for it."""
    scenes.cast(t)
    scenes.kin(t)
    thing = scenes.treasure(t)
    scenes.setting(t, outdoors=True if thing.outdoors or mood == "scared" else None)
    scenes.opening(t)
    t.say(HAVE)
    t.fact("What did {A} have?", "{O}")
    t.say(GO)
    t.fact("Where did {A} take the {o}?", "{P}")
    t.say(LOSE)
    t.fact("What did {A} lose?", "{o}")
    t.say(LOOK)
    if t.chance(0.4):
        t.say(LOOK_MORE)
    if mood == "happy":
        t.say(ASK)
        t.say(ANSWER)
        t.say(FOUND_BY_FRIEND)
        t.fact("Who found the {o}?", "{B}")
        t.fact("Where was the {o}?", "{S3}")
        t.summary = "{A} lost {his} {O} and {B} found it {S3}."
    elif mood == "proud":
        t.say(FOUND_ALONE)
        t.fact("Where did {A} find the {o}?", "{S3}")
        t.summary = "{A} lost {his} {O} and found it {S3} without help."
    elif mood == "sad":
        if t.chance(0.5):
            t.say(ASK)
            t.say(ANSWER)
        t.say(GONE)
        t.summary = "{A} lost {his} {O} and never got it back."
    elif mood == "angry":
        t.say(TAKEN)
        t.fact("Who had the {o}?", "{B}")
        t.summary = "{A} looked for {his} {O}, but {B} had taken it."
    else:
        t.say(LOST_TOO)
        t.summary = "{A} looked for {his} {O} and met something frightening."
    scenes.ending(t, mood)
