# ruff: noqa: E501 - a frame is one line of prose
"""Buying things."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

SEND = Frames("""
    {when} {C} sent {A} to the [market|shop] for {n} {os}.
    "Please buy {n} {os}," said {C}, and gave {A} {coins} coins.
    {when} {C} needed {n} {os}, so {A} went to the [market|shop].
    {C} wanted to bake, but there were no {os} left. // "I will buy {n}," said {A}.
    {when} {A} went shopping with {coins} coins in {his} pocket. // {he} had to buy {n} {os}.
""")
WALK = Frames("""
    {B} went with {A}.
    {A} took {B} along.
    On the way {A} met {B}. // "Where are you going?" asked {B}. // "I have to buy {n} {os}," said {A}.
    {A} said the number again and again so that {he} would not forget it. // {n}, {n}, {n}.
    {A} put the money into {his} left pocket.
    "Do not lose the money," said {C}. // "I will be careful," said {A}.
    The streets were full of [people|carts and people].
""")
SHOP = Frames("""
    "What would you like?" asked {K}. // "{N} {os}, please," said {A}.
    "How many {os} do you want?" asked {K}. // "{N}," said {A}.
    {A} asked {K} for {n} {os}.
    "How much is one?" asked {A}. // "One coin," said {K}. // "Then I will take {n}."
    {K} had {os}, {qs} and much more. // {A} pointed to the {os}.
    "Do you have any {os} today?" asked {A}. // "The best in town," said {K}.
""")
PAY = Frames("""
    {A} paid and put the {os} into {his} bag.
    {K} put {n} {os} into a bag.
    {K} counted {n} {os} into {his} basket.
    The bag with the {n} {os} was heavy.
    {A} gave {K} the money and took the {n} {os}.
""")
EXTRA = Frames("""
    "And this one is for you," said {K}, and gave {A} {anQ}. // {A} shared it with {B}.
    {K} gave {A} {anQ} as a present. // At home {C} baked the {os}, and the house smelled wonderful.
    Two coins were left. // "Buy yourself something nice," {C} had said, and so {A} and {B} ate {anQ}.
    There was a band at the corner, and {A} and {B} danced to the music. // At home {C} gave each of them one of the {os}.
""")
CLEVER = Frames("""
    At home {C} counted the {os}. // It was the right number. // "I could not have done it better {meself}," said {C}.
    {K} had made a mistake and had given {A} one too many. // {A} went back and returned it. // "You are an honest {kid}," said {K}.
    A little child had lost its mother in the crowd. // {A} took it by the hand, found her, and still brought all {n} {os} home.
    It was the first time that {A} had done the shopping. // Not a single one of the {n} {os} was missing.
    "How much do I get back?" asked {A}. // {K} was wrong, but {A} had counted right. // "You are good with numbers," said {K}.
""")
DROPPED = Frames("""
    But on the way home {a} fell, and all the {os} rolled into the river.
    But on the bridge the bag tore. // {n} {os} floated down the river.
    {a} hurried home. // But {C} had eaten long ago and had not waited for {A}.
    At home {a} found {C} in tears. // {C} did not even look at the {os}.
    But {a} put the bag down to tie {his} shoe and forgot it there. // When {a} came back, it was gone.
""")
NOT_SOLD = Frames("""
    But when {a} wanted to pay, {his} pocket had a hole. // The money was gone, and it was all the money that {C} had.
    "There are no more {os}," said {K}. // "Somebody bought the last ones." // {A} went home with an empty bag.
    When {a} arrived, {K} was already packing up. // There was not one of the {os} left.
    But the price had gone up, and {A} could not buy {n} {os}. // {C} would have to wait until spring.
""")
CHEATED = Frames("""
    At home {A} opened the bag. // Half of the {os} were rotten, and {K} had known it.
    But {B} tripped {A} on purpose, and the {os} fell into the mud.
    On the way home {B} took {os} out of the bag and threw them at cats. // "You said that you would help me!" said {A}.
    {K} took the money and then said, "You have not paid yet."
""")
PUSHED = Frames("""
    But a man pushed {A} aside and bought all the {os} that were left.
    {A} waited for an hour. // But {K} served everyone else first, even those who had come later.
    "I do not sell to children," said {K}, although {A} held out the money.
    But {B} pulled the purse out of {A}'s pocket and bought sweets with the money.
""")
CROWD = Frames("""
    When {a} turned around, {B} was gone. // There were only strangers, and {a} did not know the way.
    It was already dark when {a} walked home. // Somebody was walking behind {A}, faster and faster.
    On the way home there was no light in the street. // A big dog stood there and growled.
    Suddenly everybody began to run. // "[Fire|The bull is loose|The river is coming]!" they shouted.
    An old man with one eye took {A} by the arm. // "Come with me," he said, and he did not let go.
""")


def market(t: Teller, mood: str) -> None:
    """C sends A to buy n things O from the seller."""
    scenes.cast(t)
    scenes.kin(t)
    d = t.d
    scenes.treasure(t, pool=words.EDIBLE)
    scenes.treasure(t, "Q", pool=words.EDIBLE)
    n = t.between(3, 10)
    d["n"], d["N"] = words.NUMBERS[n], words.NUMBERS[n].capitalize()
    d["coins"] = words.NUMBERS[min(n + t.between(0, 2), 12)]
    d["K"] = t.pick(("the baker", "the grocer", "the farmer", "the old woman", "the seller"))
    d["meself"] = "myself"
    scenes.opening(t)
    t.say(SEND)
    t.fact("Who needed the {os}?", "{C}")
    t.fact("How many {os} did {A} have to buy?", "{n}")
    t.say(WALK)
    t.maybe(0.4, WALK)
    paid = mood not in ("sad", "angry") or t.chance(0.5)
    if paid:
        t.say(SHOP)
        t.fact("From whom did {A} buy the {os}?", "{K}")
        t.say(PAY)
    if mood == "sad":
        t.say(DROPPED if paid else NOT_SOLD)
    elif mood == "angry":
        t.say(CHEATED if paid else PUSHED)
    else:
        t.say({"happy": EXTRA, "proud": CLEVER, "scared": CROWD}[mood])
    t.summary = {
        "happy": "{A} bought {n} {os} and had a good day.",
        "proud": "{A} bought {n} {os} and did it very well.",
        "sad": "{A} went to buy {n} {os}, but it went wrong.",
        "angry": "{A} went to buy {n} {os}, and somebody was unfair.",
        "scared": "{A} went to buy {n} {os} and became frightened.",
    }[mood]
    scenes.ending(t, mood)
