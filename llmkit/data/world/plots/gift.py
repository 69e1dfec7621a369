"""Somebody is given something."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

DAY = Frames("""
    {when} it was {A}'s birthday.
    {A}'s birthday had come at last.
    {when} {A} had a party because it was {his} birthday.
    {A} had waited a whole year for {his} birthday, and now it had come.
    {when} {A} opened {his} eyes and remembered that it was {his} birthday.
""")
WISH = Frames("""
    More than anything {a} wanted {anO}.
    {a} had wished for {anO} for [months|weeks|a long time].
    "I hope that somebody gives me {anO}," {a} [said|thought].
    {a} had seen {anO} in a shop and could not forget it.
    "What do you wish for?" {C} had asked. // "{AnO}," {A} had said.
""")
PARTY = Frames("""
    {Bi} came with a big box under {bhis} arm.
    {Bi} came to the party with something behind {bhis} back.
    First they ate cake, and then {Bi} brought a box with a ribbon around it.
    {Bi} was the first to come. // "I have something for you," said {B}.
    There were {n} children at the party. // The last to come was {Bi}.
""")
GIVE = Frames("""
    {B} gave {A} {anO}.
    {B} gave {anO} to {A}.
    {A} got {anO} from {B}.
    {B} gave {A} the box, and in the box was {anO}.
    "This is for you," said {B}, and gave {A} {anO}.
    {A} opened the box. // There was {anO} in it, [and it was|a present] from {B}.
""")
JOY = Frames("""
    It was just what {a} had wished for.
    {a} thanked {B} and {used} {it} at once.
    "How did you know?" asked {A}. // {B} only smiled.
    They {used} {it} together until [dark|dinner].
    {a} gave {B} a [big|long] hug.
    "Now you can {use} it every day," said {B}.
""")
RUIN = Frames("""
    But the dog got hold of the {o}, and by evening {it} was ruined.
    But the next day a thief took the {o}, and {A} never saw it again.
    "It is also to say goodbye," said {B}. // "Tomorrow we move to another town."
    But {B} had to leave early, because {bhis} [grandfather|grandmother] was very ill.
    Then {A} dropped the {o} into the river, and {it} was gone.
""")
GRAB = Frames("""
    But {his} little [brother|cousin] grabbed the {o} and would not give it back.
    But then {B} wanted the {o} back. // "I have changed my mind," said {B}, and took it away.
    But {his} big [brother|cousin] broke the {o} the same evening, and he only laughed.
    A minute later {B} pulled the {o} out of {A}'s hands. // "I want to {use} it first!" {bhe} shouted.
    But another child spilled juice all over the {o} and did not say sorry.
""")
MADE = Frames("""
    It was [the birthday of {Bi}|{B}'s birthday] soon, but {A} had no money. // So {A} made {anO} {self}.
    {A} wanted to give {Bi} something special. // For {n} days {he} worked on {anO}.
    {Bi} was always cold in winter. // So {A} learned to knit and made {anO}.
    {A} did not want to buy a present for {B}. // "I will make {anO} instead," {he} said.
""")
WORK = Frames("""
    It was [hard|slow] work, and twice {a} had to begin again.
    {C} showed {A} how to begin, but {A} did the rest alone.
    {a} pricked {his} finger {n} times.
    {a} worked every evening until {his} eyes were tired.
""")
HANDED = Frames("""
    On the day of the party {A} gave {B} the {o}.
    At last {A} gave the {o} to {B}.
    {B} opened the present and found the {O}.
""")
PRAISE = Frames("""
    "Did you really make it yourself?" asked {B}. // {B} put it on and never wanted to take it off.
    "This is the best of all my presents," said {B}.
    {B} wore the {o} all day and showed everyone.
    {C} looked at the {o} for a long time. // "I could not have made it better," said {C}.
""")
BOX = Frames("""
    {B} put the box on the table. // All at once the box began to move.
    {A} shook the box. // Something inside [hissed|scratched|growled].
    {A} lifted the lid, and a [huge|big|black] spider crawled onto {his} hand.
    {A} opened the box. // Something dark jumped out and brushed {his} face.
    Then all the lights went out, and a cold hand touched {A}'s neck.
""")
JOKE = Frames("""
    "What is it?" {a} asked in a small voice. // Nobody answered.
    {B} was gone, and the door was locked.
    {A} wanted {anO}, not this.
    The box [fell to the floor and rolled closer|came closer and closer].
""")


def gift(t: Teller, mood: str) -> None:
    """B gives A the thing O, or A makes one for B."""
    scenes.cast(t, family=False)
    scenes.kin(t)
    scenes.treasure(t, pool=words.KNITTED if mood == "proud" else words.TREASURES)
    t.d["n"] = words.NUMBERS[t.between(3, 9)]
    t.d["AnO"] = t.d["anO"].capitalize()
    scenes.opening(t)
    if mood == "proud":
        t.say(MADE)
        t.fact("What did {A} make?", "{O}")
        t.say(WORK)
        t.maybe(0.5, WORK)
        t.say(HANDED)
        t.fact("Who got the {o}?", "{B}")
        t.say(PRAISE)
        t.summary = "{A} made {anO} for {B}."
        scenes.ending(t, mood)
        return
    t.say(DAY)
    t.say(WISH)
    t.fact("What did {A} wish for?", "{O}")
    t.say(PARTY)
    t.fact("Who came to the party?", "{B}")
    if mood == "scared":
        t.say(BOX)
        t.maybe(0.7, JOKE)
        t.summary = "{A} got a box on {his} birthday and something frightening was in it."
    else:
        t.say(GIVE)
        t.fact("Who gave {A} the {o}?", "{B}")
        t.fact("What did {B} give to {A}?", "{O}")
        t.say(JOY)
        if mood == "happy":
            t.maybe(0.6, JOY)
            t.summary = "{A} got {anO} from {B} on {his} birthday."
        elif mood == "sad":
            t.say(RUIN)
            t.summary = "{A} got {anO} from {B}, but the day ended badly."
        else:
            t.say(GRAB)
            t.summary = "{A} got {anO} from {B}, but somebody spoiled it."
    scenes.ending(t, mood)
