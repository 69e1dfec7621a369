# ruff: noqa: E501 - a frame is one line of prose
"""A storm or a noise in the night."""

from __future__ import annotations

from llmkit.data.world import scenes
from llmkit.data.world.teller import Frames, Teller

BED = Frames("""
    One [stormy|dark|windy] night {A} lay in bed.
    It was late, and {A} was already in bed.
    {A} and {Bi} slept in the same room.
    One evening {A} and {B} were alone at home.
    The moon was behind the clouds, and the house was [dark|quiet].
    {C} had turned off the light and said good night to {A}.
""")
WIND = Frames("""
    Outside the wind [howled|blew] [around the house|in the trees].
    Rain beat against the window.
    Far away {a} heard thunder.
    The old house creaked, and a branch tapped on the window.
    There was [lightning|a flash], and then there was thunder.
    The rain ran down the roof.
""")
NOISE = Frames("""
    Suddenly there was a [strange|loud|scratching] noise {inR}.
    Then something went bump {inR}.
    What was that? // Something was moving {inR}.
    {a} sat up. // Somebody was walking around {inR}.
    Tap, tap, tap, it went {inR}.
    A door [slammed|opened] {inR}, and then there were steps.
""")
WHISPER = Frames("""
    "Did you hear that?" whispered {B}. // "Yes," whispered {A}.
    {B} pulled the blanket over {bhis} head.
    "Is it a [ghost|thief|wolf]?" asked {B}.
    {a} counted to {n}, but the noise did not stop.
    "It is only the wind," said {A}, but {he} was not sure.
    {B} was very [scared|frightened] and held {A}'s hand.
    {a} was [afraid|scared] at first.
""")
ONLY = Frames("""
    It was only {anM}! // It had come in from the rain, and now it wanted {food}.
    {A} and {B} crept to the door and looked. // There sat {anM}, wet and hungry. // They dried it and gave it {food}.
    The door opened, and there was {C} with [hot milk|warm soup|cookies] for everyone. // "Did I wake you?" asked {C}.
    {C} came in, lit a candle and told them a funny story. // The storm went away, and soon they all laughed.
    But it was {C}, who had come home a day early. // {A} jumped into {chis} arms.
""")
BRAVE = Frames("""
    {A} took the lamp and went {toR} all alone. // The window was open, and {he} shut it. // "You can sleep now," {he} told {B}.
    "Stay here," {A} told {B}. // {A} went {toR} without a light and found {anM}. // {he} carried it out into the garden.
    {B} began to cry. // So {A} sang to {B} until the storm was over, and {B} fell asleep.
    {A} walked {toR}, step by step, and opened the door. // There was only {anM}. // {A} led it outside and came back to {B}.
""")
WRECK = Frames("""
    In the morning the old tree in the garden lay on the ground. // {A} had climbed it every day since {he} was small.
    In the morning the roof of {his} tree house was gone, and everything in it was wet.
    The next day {A} saw that the storm had broken all the flowers that {he} had planted with {C}.
    The next day the {m} was gone. // The storm had frightened it, and it never came back.
""")
TRICK = Frames("""
    {A} took a lamp and went {toR}. // There was {Bi} with a sheet over {bhis} head. // "Did I scare you?" laughed {B}.
    It was {B}! // {bhe} had made the noise with a [spoon and a pot|broom|drum] just to scare {A}.
    In the morning {A} found out that it had been {B}. // {bhe} had done it for the third night now, and thought that it was funny.
    Then {A} heard {Bi} laugh behind the door. // It had been a trick, and {A} had to get up at six.
""")
WORSE = Frames("""
    Then the lamp went out, and the steps came closer.
    The door opened slowly, but nobody was there.
    Two yellow eyes shone in the dark.
    The steps stopped right in front of {his} bed.
    A long shadow moved across the wall.
    Something pulled at the blanket.
    {A} called for {C}, but {C} did not answer.
""")

PET = Frames("""
    {A} had {anM} that lived behind the house.
    {A} and {B} had {anM}.
    {A} liked {his} {M} best of all.
    In the shed lived {anM} that belonged to {A}.
""")
BED_ALONE = Frames("""
    One [stormy|dark|windy] night {A} lay in bed and could not sleep.
    It was late, and {A} was already in bed.
    {C} had turned off the light and said good night to {A}.
    {A} had to get up early the next day, so {he} was already asleep.
""")
LISTEN = Frames("""
    {a} sat up and listened. // There it was again.
    "Who is there?" {a} called. // Nobody answered.
    {a} pulled the blanket over {his} head.
    {a} held {his} breath and did not move.
    For an hour {a} lay awake and [listened|shivered].
""")


def night(t: Teller, mood: str) -> None:
    """A hears something at night; B is there too, C sleeps somewhere else."""
    scenes.cast(t)
    t.d["Bi"] = f"{t.d['his']} {'sister' if t.people['B'] == 'f' else 'brother'} {t.d['B']}"
    scenes.kin(t)
    scenes.beast(t)
    t.place("R", t.pick(scenes.ROOMS))
    t.d["n"] = t.pick(("ten", "twenty", "fifty", "a hundred"))
    scenes.introduction(t)
    wreck = mood == "sad"
    if wreck:
        t.say(PET)
        t.fact("What animal did {A} have?", "{m}")
    alone = mood == "angry"
    t.say(BED_ALONE if alone else BED)
    t.say(WIND)
    if not wreck or t.chance(0.5):
        t.say(NOISE)
        t.fact("Where did the noise come from?", "{R}")
    if alone:
        t.say(LISTEN)
    else:
        t.say(WHISPER)
        t.maybe(0.4, WIND)
    if mood == "happy":
        t.say(ONLY)
        t.summary = "{A} and {B} were frightened by a noise, but all was well."
    elif mood == "proud":
        t.say(BRAVE)
        t.fact("Who was there with {A}?", "{B}")
        t.summary = "{A} was brave when there was a storm at night."
    elif mood == "sad":
        t.say(WRECK)
        t.summary = "A storm at night took something away from {A}."
    elif mood == "angry":
        t.say(TRICK)
        t.fact("Who played a trick on {A}?", "{B}")
        t.summary = "{B} frightened {A} at night for a joke."
    else:
        t.say(WORSE)
        t.maybe(0.6, WORSE)
        t.summary = "{A} heard a strange noise {inR} at night."
    scenes.ending(t, mood)
