# ruff: noqa: E501 - a frame is one line of prose
"""Two children make something."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller


@dataclass(frozen=True)
class Work:
    """what: the noun; made: past tense; there; first and second: what is needed; ruin: what nature does to it; bad: by hand."""

    what: str
    make: str
    made: str
    there: str
    first: str
    second: str
    ruin: str
    bad: str
    season: str = ""


WORKS = (
    Work("sandcastle", "build", "built", "on the beach", "wet sand", "shells", "a big wave came and washed it away", "jumped on it with both feet", "summer"),
    Work("snowman", "build", "built", "in the garden", "snow", "a carrot", "the sun came out and melted it", "knocked its head off", "winter"),
    Work("tower", "build", "built", "in the hall", "blocks", "a little flag", "the cat ran through it and it fell down", "kicked it over"),
    Work("birdhouse", "build", "built", "in the shed", "some boards", "nails", "it fell from the tree in the first storm", "smashed it with a hammer"),
    Work("cake", "bake", "baked", "in the kitchen", "flour", "eggs", "it slid off the table and fell to the floor", "dropped it on purpose"),
    Work("soup", "cook", "cooked", "in the kitchen", "potatoes", "carrots", "the pot tipped over and all was lost", "poured sand into it"),
    Work("raft", "build", "built", "by the river", "logs", "rope", "the river rose and carried it away", "cut the ropes at night"),
    Work("tree house", "build", "built", "in the orchard", "boards", "rope", "the storm tore it down", "pulled the boards out"),
    Work("lantern", "make", "made", "in the kitchen", "paper", "glue", "a candle fell and it burned up", "tore it to pieces"),
    Work("tent", "make", "made", "in the bedroom", "blankets", "two chairs", "the dog ran through it and tore it", "pulled it down"),
    Work("picture", "paint", "painted", "in the classroom", "paper", "some paint", "the rain came in and washed the colors away", "painted black lines all over it"),
    Work("mask", "make", "made", "in the attic", "paper", "feathers", "it fell into a bucket of water", "stepped on it"),
)  # fmt: skip

PLAN = Frames("""
    {when} {A} and {B} wanted to {make} {aW}.
    "Let us {make} {aW}," said {A} to {B}. // "[Yes, let us|What a good idea]," said {B}.
    {when} {A} had an idea. // "We could {make} {aW}," {he} told {B}.
    {when} {A} {made} {aW} {there}, and {B} helped.
    {A} had never {madepp} {aW} before. // {when2} {he} tried it with {B}.
""")
NEED = Frames("""
    "What do we need?" asked {B}. // "We need {first} and {second}," said {A}.
    They needed {first} and {second}.
    {A} got {first}, and {B} got {second}.
    First they looked for {first}, and then for {second}.
    {B} brought {first}. // "Now we only need {second}," said {A}.
    "Do we have enough {first}?" asked {A}. // "I think so," said {B}.
""")
DO = Frames("""
    They worked {there} for {n} hours.
    {A} did the hard part, and {B} did the rest.
    [Slowly|Bit by bit] it became a real {w}.
    {B} held everything in place while {A} worked.
    {A} told {B} what to do, and {B} did it.
    Nobody spoke, because both were so busy.
    "[Careful|Slowly]!" said {B} and laughed.
    It was not as easy as they had thought.
    After an hour they took a short rest and ate some bread.
""")
DONE = Frames("""
    At last the {w} was [finished|ready].
    When the sun went down, the {w} was [finished|ready].
    In the end it was a [wonderful|fine|big|beautiful] {w}.
    "We have done it," said {B}.
    Then they stepped back and looked at the {w}.
""")
PARTY = Frames("""
    {C} came to see it and brought [cold juice|warm cookies|ice cream] for everyone.
    They called all their friends, and it became a party.
    They danced around the {w} and sang a silly song.
    {A} and {B} laughed because they were [wet|dirty|sticky] from head to foot.
    They gave the {w} to {C}, who had not expected it at all.
""")
PRIZE = Frames("""
    There was a contest that week, and the {w} of {A} and {B} won first prize.
    {C} could hardly believe that children had {madepp} it. // "{A}, you have golden hands," said {C}.
    People came from the whole street to see it. // "Who {made} this?" they asked. // "I did, with {B}," said {A}.
    The newspaper showed a picture of the {w} with the name of {A} under it.
    A year before {A} had failed at it. // This time everything was perfect.
""")
RUIN = Frames("""
    But then {ruin}.
    But that very evening {ruin}.
    They went in to get {C}. // When they came back, {ruin2}.
    "Oh no!" cried {B}. // Before they could do anything, {ruin}.
""")
BAD = Frames("""
    But then {his} big [cousin|brother] came and {bad}.
    But {B} wanted to be the only one. // When {A} was away for a minute, {B} {bad}.
    Then they had a fight about it, and {B} {bad}.
    But a boy from next door {bad}. // He was not even sorry.
    "It is ugly," said {B}, and {bad}.
    Then {B} told everyone, "I {made} it alone. {A} did nothing."
""")
FRIGHT = Frames("""
    Then the light went out {there}, and something [growled|laughed] behind the {w}.
    Suddenly the {w} began to move, although nobody touched it.
    When {A} came back alone in the evening, two eyes looked out of the {w}.
    {A} reached behind the {w}, and something with many legs ran up {his} arm.
    {B} went home. // Then {A} heard somebody call {his} name, and there was nobody there.
""")


def making(t: Teller, mood: str) -> None:
    """A and B make something together."""
    scenes.cast(t)
    scenes.kin(t)
    work = t.pick(WORKS)
    d = t.d
    d["w"], d["aW"] = work.what, words.an(work.what)
    d["make"], d["made"], d["there"], d["first"], d["second"] = (
        work.make,
        work.made,
        work.there,
        work.first,
        work.second,
    )
    d["madepp"] = work.made
    d["ruin"], d["bad"] = work.ruin, work.bad
    d["ruin2"] = f"the {work.what} was ruined"
    d["n"] = words.NUMBERS[t.between(2, 6)]
    scenes.weather(t)
    if work.season:
        d["season"] = work.season
        d["wadj"] = t.pick({"summer": ("sunny", "hot", "warm"), "winter": ("cold", "snowy", "frosty")}[work.season])
        d["anw"] = words.an(d["wadj"])
    scenes.opening(t)
    d["when2"] = d["when"]
    t.say(PLAN)
    t.fact("What did they {make}?", "{w}")
    t.fact("Who helped {A}?", "{B}")
    t.say(NEED)
    t.fact("What did they need?", "{first}")
    t.say(DO)
    t.maybe(0.6, DO)
    t.say(DONE)
    if mood == "happy":
        t.say(PARTY)
        t.maybe(0.4, PARTY)
        t.summary = "{A} and {B} {made} {aW} and had fun."
    elif mood == "proud":
        t.say(PRIZE)
        t.summary = "{A} and {B} {made} {aW}, and everyone admired it."
    elif mood == "sad":
        t.say(RUIN)
        t.summary = "{A} and {B} {made} {aW}, but it was ruined."
    elif mood == "angry":
        t.say(BAD)
        t.summary = "{A} {made} {aW}, but somebody was mean."
    else:
        t.say(FRIGHT)
        t.summary = "{A} {made} {aW}, and then something frightening happened."
    scenes.ending(t, mood)
