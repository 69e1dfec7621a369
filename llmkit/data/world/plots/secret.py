# ruff: noqa: E501 - a frame is one line of prose
"""A box, a key, and what is inside."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

FIND = Frames("""
    {when} {a} found {anBox} {S1} {inP}.
    {when} {a} was {inP}. // {S1} stood {anBox}.
    {when} {A} and {B} cleaned up {inP}. // {S1} they found {anBox}.
    {when} {a} looked for {anQ} {inP}. // But what {he} found was {anBox}.
    There was {anBox} {S1} {inP} that nobody had ever opened.
""")
ASK = Frames("""
    "What is in it?" asked {B}. // Nobody knew.
    "Whose box is that?" {a} asked {C}. // "I have never seen it before," said {C}.
    "That box belonged to your great-grandfather," said {C}.
    {A} shook the box. // Something [rattled|moved] inside.
    "Maybe there is {anO} in it," said {A}. // "Or [gold|a map|nothing at all]," said {B}.
    The box was heavier than it looked.
    The lid was covered with dust, and two letters were carved into it.
""")
LOCKED = Frames("""
    But the box was locked.
    But there was no key.
    "We need a key," said {B}.
    {a} tried to open it, but it was locked.
    The key was not there.
    {a} pulled and pulled, but the lid did not move.
""")
KEY = Frames("""
    They found the key {S2}.
    At last {a} found a [small|rusty|golden] key {S2}.
    {B} looked {S3}, and {A} looked {S2}. // There was the key.
    {C} had an old key, and it fit.
    "I know where the key is," said {C}. // It was {S2}.
    {n} keys did not fit. // The next one did.
""")
TREASURE = Frames("""
    In the box was {anO}. // {A} {used} it all afternoon with {B}.
    {a} opened the lid and found {anO}. // "You may keep it," said {C}.
    There was {anO} in it, and {n} gold coins. // {A} and {B} danced around the box.
    Inside lay {anO} and a letter. // It said, "For whoever finds this." // That was {A}!
""")
SOLVED = Frames("""
    There were three wheels with numbers on the box. // {B} gave up, but {A} tried the year when the house was built. // It opened, and in it was {anO}.
    {A} took a wire, bent it and turned it slowly. // Even {C} had not been able to open that box. // Inside was {anO}.
    "A riddle is written on the lid," said {A}. // {a} thought about it for {n} days. // Then {he} knew the answer, and the lid opened.
    {a} drew the lock on paper and built a new key. // It took {him} {n} days. // Then the box was open, and {anO} was in it.
""")
EMPTY = Frames("""
    {a} lifted the lid. // The box was empty.
    There was {anO} in it, but it fell to dust when {A} touched it.
    Inside was a picture of {his} old {pet}, which had died in the spring.
    Only a letter was inside. // It was from {B}. // "I have to go away for ever," it said.
    {a} had hoped for {anO}. // But somebody had taken everything out long ago.
""")
JOKE = Frames("""
    Inside was only a piece of paper. // "Fooled you!" it said. // {B} had put it there and laughed out loud.
    {B} grabbed the key, opened the box and ran away with {anO}.
    There was {anO} in it. // "I take it, because I am older," said {B}, and {C} let {bhim}.
    When {a} came with the key, the box was broken. // {B} had not waited and had taken the {O}.
    {B} had filled it with mud for a joke, and now {his} new shirt was dirty.
""")
ALIVE = Frames("""
    The lid opened by itself. // A cold wind came out of the box, and the lamp went out.
    {a} opened the lid a little. // Two red eyes looked at {him}.
    Inside lay a white hand, and it moved.
    {a} lifted the lid. // Then {n} black spiders ran over {his} arms.
    "Let me out," said a thin voice in the box. // The key fell from {A}'s hand.
    As soon as the box was open, all the doors shut with a bang.
""")


def secret(t: Teller, mood: str) -> None:
    """A finds a locked box at P."""
    scenes.cast(t)
    scenes.kin(t)
    scenes.treasure(t)
    scenes.treasure(t, "Q", pool=words.GOODS)
    scenes.setting(t, outdoors=False)
    t.d["S1"] = t.pick(words.FLOOR)
    d = t.d
    d["anBox"] = words.an(
        f"{t.pick(('old', 'small', 'dusty', 'heavy', 'wooden', 'strange', 'iron'))} {t.pick(('box', 'chest'))}"
    )
    d["n"] = words.NUMBERS[t.between(2, 9)]
    d["pet"] = t.pick(words.PETS).noun
    scenes.opening(t)
    t.say(FIND)
    t.fact("Where did {A} find the box?", "{S1}")
    t.fact("Where was the box?", "{P}")
    t.say(ASK)
    t.maybe(0.5, ASK)
    t.say(LOCKED)
    if mood != "proud":
        t.say(KEY)
        t.fact("Where was the key?", "{S2}")
    ends = {"happy": TREASURE, "proud": SOLVED, "sad": EMPTY, "angry": JOKE, "scared": ALIVE}
    t.say(ends[mood])
    t.fact("What was in the box?", "{O}")
    t.summary = {
        "happy": "{A} found a box with something lovely in it.",
        "proud": "{A} managed to open a locked box.",
        "sad": "{A} opened an old box and was disappointed.",
        "angry": "{A} found a box, and {B} spoiled it.",
        "scared": "{A} opened a box that should have stayed shut.",
    }[mood]
    scenes.ending(t, mood)
