# ruff: noqa: E501 - a frame is one line of prose
"""Two children, two things, and who has what in the end."""

from __future__ import annotations

from llmkit.data.world import scenes
from llmkit.data.world.teller import Frames, Teller

HAVE = Frames("""
    {A} had {anO}, and {Bi} had {anQ}.
    {A} had {anO}. // {Bi} had {anQ}.
    {Bi} had {anQ}, but {A} had only {anO}.
    {A} owned {anO}, and {Bi} owned {anQ}.
""")
MEET = Frames("""
    {when} they met {inP}.
    {when} {A} and {B} sat {inP} [and showed each other their things|and talked].
    {when} {A} took the {o} {toP}, and {B} brought the {q}.
    {when} {A} saw {B} with the {q} {inP}.
""")
LIKE = Frames("""
    {A} looked at the {q} [for a long time|again and again]. // "It is [beautiful|lovely|wonderful]," {he} said.
    {A} liked the {q} much better than the {o}.
    "I wish that I had one like yours," said {A}.
    {A} wanted the {q} so much that {he} could think of nothing else.
    "May I hold your {q}?" asked {A}. // "Only for a minute," said {B}.
""")
OFFER = Frames("""
    "Will you trade?" asked {A}. // "My {o} for your {q}."
    "I will give you my {o} if you give me your {q}," said {A}.
    {A} offered {B} the {o} for the {q}.
    "Do you want my {o}?" asked {A}. // "What do you want for it?" asked {B}. // "Your {q}," said {A}.
""")
YES = Frames("""
    "Yes, gladly," said {B}. // So {A} gave {B} the {o}, and {B} gave {A} the {q}.
    {B} thought about it and nodded. // {A} took the {q}, and {B} took the {o}.
    "All right," said {B}. // Now {A} had the {q}, and {B} had the {o}.
    {B} had always wanted {anO}. // They traded, and {A} went home with the {q}.
""")
BOTH = Frames("""
    Both of them thought that they had the better [part|one].
    {B} liked the {o} as much as {A} liked the {q}.
    They played together [until dinner|all afternoon], {A} with the {q} and {B} with the {o}.
    "We can trade back whenever you like," said {B}.
""")
REGRET = Frames("""
    But in the evening {A} missed the {o}. // {A} had had it since {he} was {small}.
    But at home the {q} broke, and {B} did not want to trade back.
    Soon the {q} was not so interesting anymore. // {A} thought of the {o} and how {he} had {usedpp} it every day.
    Then {A} remembered that the {o} had been a present from {C}. // It was too late.
""")
NO_TRADE = Frames("""
    "No," said {B}. // "I would not trade my {q} for anything." // {B} went away with the {q}, and {A} was left alone.
    {B} shook {bhis} head. // "My grandfather made this {q} for me, and he is dead now," said {B}. // {A} did not know what to say.
""")
CHEAT = Frames("""
    {B} took the {o} and ran away, but kept the {q} too.
    "Give me the {o} first," said {B}. // {A} did, but {B} laughed and kept both.
    {B} took the {o} and gave {A} an empty box.
    {A} gave {B} the {o}. // But the {q} was broken, and {B} had known it.
    "No," said {B}. // "Your {o} is ugly." // Then {B} threw the {o} into the mud.
""")
KIND = Frames("""
    But that night {B} cried for the {q}. // {A} heard about it and brought the {q} back.
    But then {A} saw how sad {B} was without the {q}. // {A} gave it back and asked for nothing.
    On the way home {A} saw that {B} had tears in {bhis} eyes. // "You can have both," said {A}, and put the {q} into {B}'s hands.
""")
PRAISE = Frames("""
    "That was very [kind|generous] of you, {A}," said {C}.
    {C} had seen it all. // "Few people would have done that," said {C}.
    "You are a true friend," said {B}.
""")
BAD = Frames("""
    "Listen," said {B}. // "They say that the {q} belonged to a ghost." // At that moment {it2} moved by itself.
    When {A} touched the {q}, there was a loud bang, and smoke came out of it.
    As soon as {A} held the {q}, a [deep|strange] voice said, "That is mine." // There was nobody {inP}.
    That night {A} woke up. // The {q} was not where {he} had put it, and somebody was breathing in the dark.
""")


def trade(t: Teller, mood: str) -> None:
    """A has O, B has Q, and A wants Q."""
    scenes.cast(t)
    scenes.kin(t)
    thing = scenes.treasure(t)
    scenes.treasure(t, "Q")
    scenes.setting(t, outdoors=True if thing.outdoors else None)
    t.d["small"] = t.pick(("three", "four", "a baby", "very small"))
    t.d["usedpp"] = {"threw": "thrown", "flew": "flown", "wore": "worn", "rang": "rung", "blew": "blown"}.get(
        t.d["used"], t.d["used"]
    )
    t.d["it2"] = f"the {t.d['q']}"
    scenes.opening(t)
    t.say(HAVE)
    t.fact("What did {A} have at first?", "{O}")
    t.fact("What did {B} have at first?", "{Q}")
    t.say(MEET)
    t.fact("Where were {A} and {B}?", "{P}")
    t.say(LIKE)
    t.fact("What did {A} want?", "{q}")
    if mood == "sad" and t.chance(0.5):
        t.say(OFFER)
        t.say(NO_TRADE)
        t.summary = "{A} wanted to trade {his} {o} for the {q}, but {B} would not."
    elif mood == "angry":
        t.say(OFFER)
        t.say(CHEAT)
        t.summary = "{A} wanted to trade {his} {o} for the {q}, but {B} was mean."
    else:
        t.say(OFFER)
        t.say(YES)
        t.fact("Who had the {o} then?", "{B}")
        t.fact("Who had the {q} then?", "{A}")
        t.summary = "{A} and {B} traded the {o} for the {q}."
        if mood == "happy":
            t.say(BOTH)
        elif mood == "sad":
            t.say(REGRET)
            t.summary = "{A} traded {his} {o} for the {q} of {B} and was sorry."
        elif mood == "proud":
            t.say(KIND)
            t.fact("Who had the {q} in the end?", "{B}")
            t.say(PRAISE)
            t.summary = "{A} traded {his} {o} for the {q} of {B} but gave it back."
        else:
            t.say(BAD)
            t.summary = "{A} traded {his} {o} for {anQ} that was haunted."
    scenes.ending(t, mood)
