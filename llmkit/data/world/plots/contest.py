"""Games and races."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

RACE = Frames("""
    {when} there was a [big|great] race {inP}.
    "I bet that I am faster than you," said {B} to {A}. // "Let us see," said {A}.
    {when} {A} and {B} wanted to know who was faster.
    {when} all the children met {inP} for a race.
    {C} drew a line on the ground. // {A} and {B} wanted to race.
    Every year there was a race {inP}, and {A} had never won it.
""")
READY = Frames("""
    "Ready, steady, go!" {called} {C}.
    {A} ran to the start and stood next to {B}.
    {n} children [stood|waited] at the line.
    They had to run around the big [tree|rock|fountain] and back.
    Who would be the first at the [tree|gate|fence]? // Everybody shouted.
    The winner would get {anO}.
""")
RUN = Frames("""
    At first {B} was ahead of {A}.
    {A} ran as fast as {he} could.
    {A} was fast, but {B} was faster.
    First {A} was ahead, then {B}.
    Halfway {A} fell and got up again.
    {A} heard the steps of {B} right behind {him}.
    In the middle of the race it began to rain, but nobody stopped.
""")
WIN = Frames("""
    But in the last moment {A} passed {B} and came in first.
    {A} did not look left or right, and suddenly there was nobody ahead of {him}.
    {A} won by a single step. // {A} had trained for {n2} months.
    {C} lifted {A}'s hand. // "The winner is {A}!" {C} {called}.
    {B} was the first to say, "You were better than I was." // {A} got {anO}.
""")
FUN = Frames("""
    {A} and {B} came in at the same moment. // They fell into the grass and laughed.
    Nobody knew who had won, and nobody cared. // There was [ice cream|lemonade|cake] for all.
    {A} came in last, and {B} came in next to last. // Then they raced the snails and won.
    {B} won, but {bhe} shared the prize with {A}. // They {used} the {o} together until dinner.
""")
LOSE = Frames("""
    {A} came in last. // Nobody had waited at the line.
    {A} lost by one step, and {B} got {anO}. // {A} had wanted it so much.
    Then {A} fell again and could not get up. // {C} carried {him} home, and the race went on without {him}.
    {B} won, and all ran to {B}. // {A} stood behind the others, and no one looked at {him}.
""")
CHEAT = Frames("""
    But {B} took a short cut and came in first. // {C} believed {B} and not {A}.
    Then {B} put out a foot, and {A} fell. // {B} won and only laughed.
    {A} was first, but {B} told a lie, and {B} got the {o}.
    {B} held {A} by the [shirt|jacket], and {C} did not see it. // So {B} won.
    "You started too early," said {B}, although it was not true. // {A} had to leave the race.
""")
HIDE = Frames("""
    {when} {A} and {B} played hide and seek {inP}.
    "Let us play hide and seek," said {B}. // "You hide, and I count to {big}."
    {when} the children played hide and seek {inP}. // {B} had to seek.
    {when} it was {A}'s turn to hide, and {B} had to look for {him}.
""")
HIDING = Frames("""
    {A} hid {S1}. // It was a very good place.
    {A} first thought of a place {S2}, but then {he} hid {S1}.
    "{B} will never find me {S1}," thought {A}, and hid there.
    {A} lay down flat {S1} and pulled a cloth over {his} head.
    There was a little space {S1}, and {A} crept into it.
""")
WAIT = Frames("""
    {A} heard {B} count. // Then all was quiet.
    {A} made {self} very small and waited.
    {A} waited for a long time. // Where was {B}?
    "Not here," {a} heard {B} say. // The steps went away.
""")
FOUND = Frames("""
    {B} looked {S2} and {S3}. // Then somebody sneezed, and it was {A}. // They both had to laugh.
    "Found you!" cried {B} at last. // Then {A} counted and {B} hid, again and again until dinner.
    {anM} sat down in front of {A} and {sounded}. // So {B} found {him}, and they laughed and laughed.
""")
BEST = Frames("""
    {B} looked everywhere, but nobody found {A}. // At last {B} gave up. // {A} had won for the first time.
    All the others were found. // Only {A} was left, and so {a} was the winner.
    "You are the best hider in town," said {B} at last. // "Nobody ever won against me before."
""")
FORGOT = Frames("""
    But {B} had gone home and had forgotten {A}.
    After an hour {a} came out. // The others were playing another game, and nobody had missed {him}.
    Nobody looked for {A}. // From far away {a} heard the others laugh without {him}.
""")
PEEK = Frames("""
    But {B} did not close {bhis} eyes. // {bhe} had seen it all and found {A} at once.
    {B} did not seek at all. // {B} had taken {A}'s {o} and was {using} it.
    {B} had locked the door from outside and laughed through the keyhole.
    "Found you," said {B}, who had only counted to three.
""")
DARK = Frames("""
    Then {a} wanted to go out, but the door would not open. // It was dark and cold.
    Suddenly {a} felt that {he} was not alone. // Somebody else was breathing there.
    Something with many legs ran over {his} neck.
    {A} called for {B}, but nobody heard it. // It grew darker and darker.
    Then there were steps, slow and heavy. // They were not the steps of {B}.
""")


def _race(t: Teller, mood: str) -> None:
    scenes.stranger(t, "teacher" if t.chance(0.5) else None)
    scenes.treasure(t)
    scenes.setting(t, outdoors=True)
    t.d["called"] = t.pick(("called", "shouted"))
    t.d["n2"] = words.NUMBERS[t.between(2, 9)]
    t.d["n"] = words.NUMBERS[t.between(4, 12)]
    scenes.opening(t)
    t.say(RACE)
    t.fact("Against whom did {A} race?", "{B}")
    t.fact("Where was the race?", "{P}")
    t.say(READY)
    t.say(RUN)
    t.maybe(0.7, RUN)
    t.say({"proud": WIN, "happy": FUN, "sad": LOSE, "angry": CHEAT}[mood])
    t.summary = {
        "proud": "{A} won a race against {B}.",
        "happy": "{A} and {B} had fun at a race.",
        "sad": "{A} lost a race against {B}.",
        "angry": "{B} cheated in a race against {A}.",
    }[mood]


def _hide(t: Teller, mood: str) -> None:
    scenes.kin(t)
    scenes.treasure(t)
    scenes.beast(t, words.PETS)
    scenes.setting(t, outdoors=False)
    t.d["S1"], t.d["S2"], t.d["S3"] = t.pick_some(words.FLOOR, 3)
    t.d["big"] = t.pick(("twenty", "fifty", "a hundred"))
    scenes.opening(t)
    t.say(HIDE)
    t.fact("Who played with {A}?", "{B}")
    t.fact("Where did they play?", "{P}")
    t.say(HIDING)
    t.fact("Where did {A} hide?", "{S1}")
    t.say(WAIT)
    t.maybe(0.5, WAIT)
    t.say({"proud": BEST, "happy": FOUND, "sad": FORGOT, "angry": PEEK, "scared": DARK}[mood])
    t.summary = {
        "proud": "{A} won at hide and seek.",
        "happy": "{A} and {B} had fun at hide and seek.",
        "sad": "{A} hid, and {B} forgot about {him}.",
        "angry": "{B} did not play hide and seek fairly.",
        "scared": "{A} hid so well that {he} became frightened.",
    }[mood]


def contest(t: Teller, mood: str) -> None:
    """A and B race, or play hide and seek."""
    scenes.cast(t)
    if mood == "scared" or t.chance(0.45):
        _hide(t, mood)
    else:
        _race(t, mood)
    scenes.ending(t, mood)
