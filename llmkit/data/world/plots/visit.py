# ruff: noqa: E501 - a frame is one line of prose
"""On the way to somebody with a basket."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

SEND = Frames("""
    {when} {a} wanted to visit {C}.
    {when} {a} set out to see {C}.
    {C} lived on the other side of {P}. // {when} {A} went there.
    {when} {A} packed {n} {os} into a basket for {C}.
    "Take these {n} {os} to {Cv}," said {his} [big|older] {sibling}.
""")
LOAD = Frames("""
    There were {n} {os} in the basket.
    {A} counted the {os} in the basket. // There were {n}.
    The basket was heavy, for it held {n} {os}.
    "One, two, three," {a} counted until {he} came to {n}. // So there were {n} {os}.
""")
WAY = Frames("""
    The way led through {P2}.
    {a} walked {toP} and sang.
    The sun stood high, and the way was long.
    First {a} crossed a bridge, then {a} went {toP}.
    "Left at the mill and right at the well," {a} said to {self}.
    {a} stopped {inP} to pick some flowers.
""")
MEET = Frames("""
    {inP} {A} met {B}, who was [hungry|sitting on a stone].
    On the way {A} met {B}.
    Then {B} came along the road.
    Who sat there by the road? // It was {B}.
""")
GIVE = Frames("""
    "May I have {some}?" asked {B}. // {A} gave {B} {k} of the {os}.
    {A} gave {k} {ok} to {B}. // Then there were {r} left.
    {B} asked for {some}, and {A} gave {bhim} {k}. // Now there were only {r} in the basket.
    "You look hungry," said {A}, and gave {B} {k} of the {os}.
    {B} got {k} of the {os}. // "Thank you," said {B}. // "That leaves {r} for {Cv}," said {A}.
""")
ARRIVE = Frames("""
    {C} was already standing at the [door|gate] and [waved|called {A}'s name].
    {C} took the basket and kissed {A} on the cheek.
    "What a lovely surprise!" said {C}. // They drank [tea|hot milk] and ate the {os} together.
    {C} told old stories until it was dark, and {A} stayed for the night.
    {C} had baked [bread|a cake], and the whole house smelled of it.
""")
ALONE = Frames("""
    Then fog came up, so thick that {a} could not see {his} own feet. // But {a} listened for the river and followed it all the way to the house.
    The bridge was broken. // So {A} took off {his} shoes and carried the basket through the water. // Not one of the {os} got wet.
    It was the first time that {A} had gone there alone. // {a} did not take one wrong turn.
    A tree lay across the road. // {A} did not turn back but climbed over it with the basket.
""")
ALONE2 = Frames("""
    "You came all alone?" asked {C}. // "I can hardly believe it."
    {C} opened the door and could not believe it.
    "I could not have done that at your age," said {C}.
""")
NOBODY = Frames("""
    But nobody opened the door. // A [neighbor|woman] told {A} that {C} was in the hospital.
    But the house was empty. // {C} had moved away and had not even said goodbye.
    {C} lay in bed and was too ill to speak. // {A} put the basket down and held {chis} hand.
    But {C} looked at {A} and said, "Who are you?" // {C} was very old and did not know {A} anymore.
    {C} was there, but only to say goodbye, because the ship left that evening.
""")
STOLEN = Frames("""
    Then {B} took the whole basket and ran away with it.
    But {B} did not say thank you. // {B} pushed {A} into the mud and took the rest.
    While {A} drank from the well, {B} ate all the other {os}. // "You should have watched them," {bhe} said.
    But {B} only took one bite and threw the {os} at a tree, just for fun.
    {B} had turned the sign around, so {A} walked in the wrong direction for {n2} hours. // {B} thought that it was funny.
""")
LOST = Frames("""
    Then it grew dark {inP}, and all the paths looked the same.
    Suddenly {a} saw two yellow eyes {S1}.
    Something was following {A}. // When {a} stopped, it stopped too.
    Far away a wolf howled, and then one howled quite near.
    A tall man in a black coat stepped out from {S2x} and said nothing.
""")


def visit(t: Teller, mood: str) -> None:
    """A takes n things O to C and meets B on the way."""
    scenes.cast(t, family=False)
    d = t.d
    while True:
        scenes.kin(t)
        if d["C"] not in (f"{d['his']} mother", f"{d['his']} father"):
            break
    scenes.treasure(t, pool=words.EDIBLE)
    place = scenes.setting(t, outdoors=True, kinds=("green",))
    n = t.between(5, 12)
    k = t.between(1, 4)
    d["n"], d["k"], d["r"] = words.NUMBERS[n], words.NUMBERS[k], words.NUMBERS[n - k]
    d["ok"] = d["o"] if k == 1 else d["os"]
    d["some"] = "one" if k == 1 else "some"
    d["n2"] = t.pick(("two", "three"))
    d["P2"] = f"the {place.noun}"
    d["S2x"] = "behind a tree"
    d["sibling"] = t.pick(("brother", "sister"))
    scenes.opening(t)
    t.say(SEND)
    t.fact("Whom did {A} want to visit?", "{C}")
    t.say(LOAD)
    t.fact("How many {os} were there at first?", "{n}")
    t.say(WAY)
    if mood in ("happy", "angry") or t.chance(0.35):
        t.say(MEET)
        t.fact("Whom did {A} meet on the way?", "{B}")
        t.say(GIVE)
        t.fact("How many {os} did {B} get?", "{k}")
        t.fact("How many {os} were left?", "{r}")
    if mood == "happy":
        t.say(ARRIVE)
        t.maybe(0.4, ARRIVE)
        t.summary = "{A} took {os} to {C} and shared them with {B}."
    elif mood == "proud":
        t.say(ALONE)
        t.say(ALONE2)
        t.summary = "{A} found the way to {C} all alone."
    elif mood == "sad":
        t.say(NOBODY)
        t.summary = "{A} went to visit {C}, but it was a sad visit."
    elif mood == "angry":
        t.say(STOLEN)
        t.summary = "{A} took {os} to {C}, but {B} was mean on the way."
    else:
        t.say(LOST)
        t.maybe(0.6, LOST)
        t.summary = "{A} went to visit {C} and met something frightening on the way."
    scenes.ending(t, mood)
