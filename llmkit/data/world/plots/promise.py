# ruff: noqa: E501 - a frame is one line of prose
"""Looking after something for somebody."""

from __future__ import annotations

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller

ASK = Frames("""
    {when} {C} went away for {n} days. // "Will you look after my {m}?" {che} asked {A}.
    {C} had {anM} and had to leave for {n} days. // {A} promised to feed it.
    "Can you feed my {m} while I am away?" {C} asked {A}. // "Of course I can," said {A}.
    {when} {C} brought {A} {anM}. // "Keep it for {n} days, please," said {C}.
    {C} asked {A} for help, because nobody else was at home to feed the {m} for {n} days.
""")
RULES = Frames("""
    "Give it {food} every [morning|evening]," said {C}.
    "Give it {food} and fresh water," said {C}, "and never leave the gate open."
    "It eats {foods} and sleeps in the barn," {C} explained.
    "What does it eat?" asked {A}. // "Mostly {foods}," said {C}.
    "It is [very shy|quite wild|very old], so be gentle," said {C}. // "It likes {foods} best."
""")
FIRST = Frames("""
    On the first day {A} gave the {m} {food}, and it {sounded}.
    The first days were easy.
    Every morning before school {a} went to the {m}.
    At first the {m} {moved} away and hid {S1}.
    {A} fed the {m}, and {B} brought fresh water.
    {a} wrote "Feed the {m}!" on {his} hand so that {he} would not forget it.
    "May I help you?" asked {B}. // "Yes, you can bring the water," said {A}.
""")
WELL = Frames("""
    After {n} days {C} came back. // The {m} was [fat|clean] and healthy. // "Nobody ever took such good care of it," said {C}.
    One night {anM2} broke out in the rain. // {A} looked for it until morning and brought it back before anyone knew.
    On the last day the {m} learned a trick from {A}. // When {C} came home, it sat up and gave {him2} its foot.
    {a} did not forget it once. // "I knew that I could trust you," said {C}.
    Then the {m} was ill. // {A} found out all by {self} what it needed, and the next day it ate again.
""")
YOUNG = Frames("""
    On the last day there were {k} little ones. // "You may keep one of them," said {C}.
    When {C} came back, {che} brought {A} {anO}. // "That is for your help," said {C}.
    The {m} followed {A} everywhere, even into the classroom. // The whole class laughed.
    "It likes you more than me," said {C}. // "Come and play with it every day."
""")
DIED = Frames("""
    But on the {day2} {A} forgot to close the gate. // The {m} {moved} out and was never seen again.
    But one morning the {m} lay {S1} and did not breathe anymore.
    {A} grew very fond of the {m}. // Then {C} came back and took it away to another town.
    {A} was ill for two days and could not come. // When {he} was well, the {m} was gone.
""")
BLAME = Frames("""
    But {B} opened the gate, and the {m} ran away. // "It was {A}," {B} told {C}.
    {A} did all the work. // But {B} told {C}, "I fed the {m} every day," and {B} got {anO} for it.
    It was the turn of {B} to feed the {m}, but {B} only played and let it go hungry.
    When {C} came back, {che} did not say thank you. // "The {m} is too thin," was all {che} said.
    {B} teased the {m} with a stick each time {A} looked away.
""")
WILD = Frames("""
    One evening the {m} was gone, and there was blood on the straw. // Something growled {S1}.
    Late at night {A} heard the {m} cry. // {a} went out with a lamp. // A wolf stood at the fence.
    Then {A} broke the window of the barn by accident. // {C} was very strict, and {chis} steps were already on the stairs.
    {A} stepped into the barn, and the door fell shut behind {him}. // It was dark, and something big was breathing there.
    On the {day2} a stranger stood in the yard. // He had a sack and a long knife, and he had seen {A}.
""")


def promise(t: Teller, mood: str) -> None:
    """A looks after C's animal M; B helps, or does not."""
    scenes.cast(t)
    scenes.stranger(t)
    scenes.beast(t)
    scenes.treasure(t)
    scenes.setting(t, outdoors=True, kinds=("town",))
    d = t.d
    d["n"], d["k"] = words.NUMBERS[t.between(3, 10)], words.NUMBERS[t.between(2, 6)]
    d["day2"] = t.pick(("second day", "third day", "fourth day", "last day"))
    d["anM2"], d["him2"] = f"the {d['m']}", d["chim"]
    scenes.opening(t)
    t.say(ASK)
    t.fact("Who asked {A} for help?", "{C}")
    t.fact("For how many days was {C} away?", "{n}")
    t.say(RULES)
    t.fact("What did the {m} eat?", "{foods}")
    t.say(FIRST)
    t.maybe(0.6, FIRST)
    ends = {"happy": YOUNG, "proud": WELL, "sad": DIED, "angry": BLAME, "scared": WILD}
    t.say(ends[mood])
    t.summary = {
        "happy": "{A} looked after {anM} for {C} and was rewarded.",
        "proud": "{A} looked after {anM} for {C} and did it very well.",
        "sad": "{A} looked after {anM} for {C} and lost it.",
        "angry": "{A} looked after {anM} for {C}, and somebody was unfair.",
        "scared": "{A} looked after {anM} for {C} and had a fright.",
    }[mood]
    scenes.ending(t, mood)
