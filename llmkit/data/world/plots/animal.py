# ruff: noqa: E501 - a frame is one line of prose
"""An animal in need, or a hungry one."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

FIND = Frames("""
    {when} {a} [found|saw] {anM} {inP}.
    {when} {a} went {toP}. // There sat {anM}.
    {when} there was {anM} {inP}. // {A} [stopped|came closer].
    {when} {a} heard something [cry|move] {S1}. // It was {anM}.
    {when} {anM} came up to {A} {inP}.
""")
STATE = Frames("""
    {mit} was [hungry|cold and hungry|thin and wet].
    {mit} [could not walk|had hurt its leg].
    {mit} {sounded} [softly|sadly] and looked at {A}.
    {mit} was all alone and did not know where to go.
    {mit} was caught in a piece of string.
    {mit} shook all over.
""")
WONDER = Frames("""
    "Are you lost?" {a} asked the {m}.
    "Where is your mother, little one?" asked {A}. // The {m} only {sounded}.
    "Do not be afraid," said {A}. // "I will not hurt you."
    {a} knelt down and held out {his} hand.
    {a} sat down in the grass and waited, until the {m} came closer.
    Whose {m} was it? // {A} did not know.
""")
FEED = Frames("""
    {a} gave {mit} {food}.
    {a} ran home and came back with {food} for the {m}.
    {a} had {food} in {his} bag, and the {m} ate it all.
    "Do {ms} like {foods}?" {a} asked {C}. // "They love it," said {C}. // So {A} gave the {m} {food}.
    {C} brought {food}, and {A} fed the {m}.
""")
STAY = Frames("""
    The {m} followed {A} home and stayed. // From then on the two were always together.
    "May I keep it?" {a} asked {C}. // "Yes, you may," said {C}.
    Soon the {m} was well again. // It {moved} around {A} in circles and {sounded}.
    Every morning after that the {m} waited for {A} at the door.
    The {m} put its head on {his} knee and fell asleep.
""")
SAVED = Frames("""
    {a} washed the {m} and put a bandage on its leg. // After {n} days it could walk again. // "You are a good doctor," said {C}.
    Nobody else dared to touch the {m}. // But {A} took a knife, cut the string and set it free.
    For {n} nights {a} got up to feed the {m}. // "It lives because of you," said {C}.
    The {m} had fallen into a deep hole. // {A} tied a rope to a tree, climbed down and brought it up.
    {a} asked at every door until {he} found the owner. // "You are a clever {kid}," said the owner, and thanked {A}.
""")
LEFT = Frames("""
    But the next morning the {m} was [gone|dead]. // {A} called for it all day.
    Then an old woman came. // "That is my {m}," she said, and took it away.
    "We cannot keep it," said {C}. // So {A} had to take the {m} back {toP} and leave it there.
    {A} fed the {m} every day. // But in autumn it went away and never came back.
    But the {m} was very ill. // {A} sat with it all night, and in the morning it did not open its eyes.
""")
MEAN = Frames("""
    But {B} threw a stone at the {m}, and it ran away. // {B} laughed.
    Then {B} came and pulled the {m} by the tail just for fun.
    But {B} said, "It is mine, I saw it first," and took the {m} away in a bag.
    {A} turned around to get some water. // When {he} came back, {B} was chasing the {m} with a stick.
    But {B} locked the {m} in a tiny box and would not open it. // "It is only an animal," said {B}.
""")
BIG = Frames("""
    Suddenly there was a growl {S2}. // A huge black dog came out and showed its teeth.
    Then {A} saw why the {m} shook. // {S2} stood a wolf.
    All at once the {m} ran off. // A long snake was moving through the grass toward {A}.
    Then the ground shook. // A bull with long horns ran straight at {A}.
    Behind {A} somebody breathed. // It was a bear, and it was much bigger than {he} was.
""")
THEN = Frames("""
    {A} stood there alone, and the path was far away.
    It came nearer, step by step.
    There was no tree to climb and no house to run to.
    {A} wanted to run, but {his} feet would not move.
""")


def animal(t: Teller, mood: str) -> None:
    """A meets the animal M at P."""
    scenes.cast(t)
    scenes.kin(t)
    scenes.beast(t)
    scenes.setting(t, outdoors=True, kinds=("green",))
    t.d["n"] = words.NUMBERS[t.between(3, 9)]
    scenes.opening(t)
    t.say(FIND)
    t.fact("What did {A} find?", "{M}")
    t.fact("Where was the {m}?", "{P}")
    t.say(STATE)
    t.maybe(0.3, STATE)
    t.maybe(0.7, WONDER)
    if mood != "scared" or t.chance(0.5):
        t.say(FEED)
        t.fact("What did the {m} eat?", "{food}")
    if mood == "happy":
        t.say(STAY)
        t.maybe(0.5, STAY)
        t.summary = "{A} found {anM} and it became {his} friend."
    elif mood == "proud":
        t.say(SAVED)
        t.summary = "{A} saved {anM}."
    elif mood == "sad":
        t.say(LEFT)
        t.summary = "{A} took care of {anM} but could not keep it."
    elif mood == "angry":
        t.say(MEAN)
        t.fact("Who was mean to the {m}?", "{B}")
        t.summary = "{A} helped {anM}, but {B} was cruel to it."
    else:
        t.say(BIG)
        t.say(THEN)
        t.summary = "{A} found {anM} and then met a dangerous animal."
    scenes.ending(t, mood)
