# ruff: noqa: E501 - a frame is one line of prose
"""Learning to do something hard."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.data.world import scenes, words
from llmkit.data.world.teller import Frames, Teller


@dataclass(frozen=True)
class Skill:
    """to: "swim"; did: the first success; there: where it is learned; fail: what goes wrong; danger: what goes badly wrong."""

    to: str
    did: str
    there: str
    fail: tuple[str, ...]
    danger: str
    fine: bool = True


SKILLS = (
    Skill("swim", "swam across the lake", "at the lake", ("swallowed some water", "sank like a stone", "splashed and coughed"), "the water pulled {him} far from the shore"),
    Skill("ride a bike", "rode the bike down the street", "on the street", ("fell on the grass", "rode into a bush", "lost a pedal"), "the bike rolled down the hill and would not stop"),
    Skill("climb the big oak", "climbed the oak to the top", "in the garden", ("slid down the trunk", "slipped from a branch", "tore {his} shirt"), "the branch began to crack, high above the ground"),
    Skill("skate", "skated all around the pond", "at the pond", ("fell on {his} knees", "sat down hard on the ice", "slid into a snowdrift"), "the ice began to crack under {his} feet", False),
    Skill("row a boat", "rowed the boat across the river", "by the river", ("turned in circles", "dropped the oar", "got stuck in the reeds"), "the boat drifted far out, and water came in"),
    Skill("ride a horse", "rode the horse around the field", "on the farm", ("slid off the saddle", "fell into the hay", "pulled the wrong way"), "the horse ran off and would not stop"),
    Skill("walk on stilts", "walked across the yard on stilts", "in the yard", ("fell over", "stepped into a puddle", "bumped into the wall"), "one stilt broke on top of the steep stairs"),
    Skill("ski", "skied down the hill without a fall", "on the hill", ("fell into the snow", "crossed the skis", "slid backward"), "the skis went faster and faster toward the trees", False),
    Skill("milk a cow", "filled the bucket with milk", "in the barn", ("spilled the milk", "got no milk at all", "fell off the stool"), "the cow kicked and pressed {him} against the wall"),
    Skill("juggle", "juggled three balls in front of everyone", "in the park", ("dropped the balls", "hit {his} own nose", "lost a ball"), "the people all around came closer and closer and stared at {him}"),
)  # fmt: skip

WANT = Frames("""
    {A} wanted to learn to {skill}.
    All {his} friends could {skill}, but {A} could not.
    {A} could not {skill} yet.
    "I want to {skill} like the big children," said {A}.
    {Bi} could {skill} very well, and {A} wanted to do it too.
    {A} had dreamed of the day when {he} would {skill}.
""")
START = Frames("""
    "Will you teach me?" {a} asked {C}.
    {C} promised to teach {A}.
    "I will show you how," said {C}.
    {when} {A} and {C} met {there}.
    {when} {C} took {A} along to learn it {there}.
    {when} {a} tried it for the first time {there}.
""")
TRY = Frames("""
    The first time {A} {fail1}.
    On the first try {a} {fail1}.
    {a} tried, but {he} {fail1}.
    At first it looked easy, but {a} {fail1}.
""")
AGAIN = Frames("""
    The second time {a} {fail2}.
    {a} tried again and {fail2}.
    On the next try {a} {fail2}. // {B} watched from far away.
    {a} tried {n} times, and each time {he} {fail2}.
    Then {a} {fail2}, and {his} [arm|leg|back] hurt.
""")
ADVICE = Frames("""
    "Look ahead, not at your feet," said {C}.
    "Do not give up," said {C}. // "Nobody can do it on the first day."
    "[Slowly|Breathe slowly]," said {C}, "and try once more."
    {C} showed it to {A} again, step by step.
    "You were better this time," said {C}.
    {a} rested for a while and drank some [water|tea|milk].
    "Was I any good?" asked {A}. // "Not yet," said {C}, "but soon."
""")
DONE = Frames("""
    {a} practiced every day for {n} weeks. // Then, on a {day}, {he} {did}.
    On the {ord} try {a} {did}.
    And then, all alone, {a} {did}.
    Nobody was holding {A} when {he} {did}.
    The next {day} {A} {did}, and {C} only watched.
""")
FUN = Frames("""
    It did not matter that {a} was not very good. // {C} and {A} laughed until their sides hurt.
    After that {B} came and they did it together. // They fell and laughed and tried again.
    {B} took {A} by the hand. // Together it was [easy|twice as much fun].
    "Who cares?" said {B}, and {bfail}, too. // They both laughed.
""")
GIVE_UP = Frames("""
    After {n} tries {a} gave up. // "I will never learn it," {a} said.
    {C} had to go away for a long time, and nobody else could teach {A}.
    Then the [doctor|nurse] looked at {his} leg. // "You must not do that anymore," the [doctor|nurse] said.
    All the others learned it that day, [only {A} did not|but {A} did not].
    {B} {bdid} and did not wait for {A}.
""")
MOCK = Frames("""
    {B} pointed at {A} and laughed. // "Even a baby can do that!" {bhe} called.
    {B} pushed {A} from behind, and {A} {fail1} again.
    "It is my turn now," said {B}, and would not let {A} try again.
    {B} had [loosened|hidden] something as a joke, so of course {A} {fail1}.
""")
DANGER = Frames("""
    Suddenly {danger}.
    Then {C} looked away for a moment, and {danger}.
    And then it happened: {danger}.
    {a} tried once more, and all at once {danger}.
""")
ORDINALS = ("third", "fourth", "fifth", "sixth", "seventh", "tenth")


def skill(t: Teller, mood: str) -> None:
    """A learns something from C while B looks on."""
    scenes.cast(t)
    if t.chance(0.6):
        scenes.kin(t)
    else:
        scenes.stranger(t)
    learned = t.pick(SKILLS)
    d = t.d
    fail1, fail2 = t.pick_some(learned.fail, 2)
    d["skill"], d["there"] = learned.to, learned.there
    d["did"], d["bdid"] = learned.did, learned.did
    d["fail1"], d["fail2"] = fail1.format_map(d), fail2.format_map(d)
    d["bfail"] = fail1.replace("{his}", "{bhis}").format_map(d)
    d["danger"] = learned.danger.format_map(d)
    d["n"] = words.NUMBERS[t.between(3, 9)]
    d["ord"] = t.pick(ORDINALS)
    scenes.weather(t, fine=True)
    if not learned.fine:
        d["season"], d["wadj"], d["anw"] = "winter", "cold", "a cold"
    scenes.opening(t)
    t.say(WANT)
    t.fact("What did {A} want to do?", "{skill}")
    t.say(START)
    t.fact("Who taught {A}?", "{C}")
    t.fact("Where was {A}?", "{there}")
    t.say(TRY)
    t.fact("What happened on the first try?", "{fail1}")
    t.say(AGAIN)
    if t.chance(0.75):
        t.say(ADVICE)
    if mood == "proud":
        t.say(DONE)
        t.summary = "{A} learned to {skill}."
    elif mood == "happy":
        t.say(FUN)
        t.summary = "{A} tried to {skill} and had a lot of fun."
    elif mood == "sad":
        t.say(GIVE_UP)
        t.summary = "{A} tried to {skill}, but {he} could not."
    elif mood == "angry":
        t.say(MOCK)
        t.fact("Who was mean to {A}?", "{B}")
        t.summary = "{A} tried to {skill}, and {B} was mean to {him}."
    else:
        t.say(DANGER)
        t.summary = "{A} tried to {skill} and got into danger."
    scenes.ending(t, mood)
