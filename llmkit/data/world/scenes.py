# ruff: noqa: E501 - a frame is one line of prose
"""What many stories share: casting, openings, weather, feelings on the way and at the end."""

from __future__ import annotations

from llmkit.data.world import words
from llmkit.data.world.teller import BIT, Frames, Teller
from llmkit.data.world.words import NUMBERS, Animal, Place, Thing, an

OPEN = Frames("""
    Once there was a {kid} named {A}.
    Once upon a time there was a [little|young|clever|kind|cheerful] {kid} called {A}.
    {A} was a [little|young|quiet|clever|curious|kind|brave|cheerful] {kid}.
    {A} was {age} years old and lived [near the sea|in a small village|in a big city|on a quiet street|in a blue house].
    There was a {kid} [named|called] {A} who lived with {his} [parents|family|grandparents].
    A {kid} named {A} lived [next to a mill|in a little house|at the edge of the village|in the mountains].
    {A} and {his} [family|parents] lived in a [small|big|tall|white|yellow] house.
    {A} was the [youngest|oldest|smallest|tallest] {kid} in {his} class.
""")
WEATHER = Frames("""
    It was {anw} {season} day.
    It was {anw} day in {season}.
    It was {season}, and the day was {wadj}.
    It was {anw} day, as days in {season} often are.
""")
# Feelings at the start say nothing about the feelings at the end.
MORNING = Frames("""
    {a} was in a [good|happy|cheerful] mood that [day|week].
    {a} was a little [sad|cross|tired], for {he} had slept badly.
    {a} was [happy|glad] because there was no school.
    {a} had been [sad|angry|scared|proud|happy] the day before, but now that was forgotten.
    The night before, {a} had had a [bad|sad|scary|funny|happy] dream.
    {a} was often [afraid|scared] of the dark, but not of [dogs|water|much else].
    {a} [was proud of|liked] {his} new [shoes|boots].
    {a} [hardly ever|almost never] [cried|got angry|felt sad|felt afraid].
    {a} had nothing to do and felt bored.
    {a} had eaten [a big breakfast|an egg and some toast|two bowls of soup] and felt [fine|strong|happy].
    {a} was [angry|cross|sad] about the rain the day before.
    The day began like any other.
""")

END = {
    "happy": Frames("""
        {a} smiled [from ear to ear|at everyone].
        {a} [laughed|sang] and [danced|jumped] [around the room|up and down].
        {a} was [very|so] [happy|glad].
        It was the best day of the [week|month|year].
        {a} could not stop smiling.
        {a} hummed a [little|merry] song.
        "This is [wonderful|the best day ever|so much fun]!" said {A}.
        {A} felt warm [inside|and cheerful].
        {a} clapped {his} hands and laughed.
        "Thank you, thank you!" {a} [said|cried].
        {his} eyes [shone|were bright] with joy.
    """),
    "proud": Frames("""
        {a} held {his} head high.
        "I did it!" {a} [shouted|said|cried].
        {a} told everyone [about it|what {he} had done|how {he} had done it].
        {a} was [very|so] proud [of {self}|].
        {a} stood up straight and grinned.
        "I did it all by myself," said {A}.
        Everyone [clapped|cheered] for {A}.
        {a} felt as [tall as a tree|strong as a bear|big as a house].
        {A} had never felt so [strong|big|clever|grown up].
        "[That was hard|It was not easy], but I did not give up," {a} said.
        Even the older children [looked up to|praised] {A} now.
        "Well done, {A}!" [everyone said|people said].
    """),
    "sad": Frames("""
        {a} [sat down and cried|cried for a long time|began to cry].
        Tears [ran|rolled] down {his} [face|cheeks].
        {a} was [very|so] [sad|unhappy].
        {a} [did not|could not] say a word.
        {a} turned away and [stood there with {his} head down|hid {his} face].
        {a} sighed and [looked at the ground|wiped {his} eyes].
        Nothing could cheer {A} up.
        {a} felt [empty inside|all alone].
        {a} wished that the day had never come.
        There was nothing {a} could do about it.
    """),
    "angry": Frames("""
        {a} stamped {his} foot.
        "That is not fair!" {a} [shouted|yelled].
        {a} was [very|so] [angry|cross|mad].
        {his} face [turned|went] red.
        {a} [crossed|folded] {his} arms and [frowned|would not speak].
        {a} made two fists and [glared|shouted].
        {a} kicked a stone [down the road|across the path].
        {a} [stormed|marched] off and did not look back.
        {a} [shouted|yelled] so loudly that [the birds flew up|the windows shook|everyone turned around].
        "I will never forget this!" {a} [yelled|shouted].
        {a} threw {his} cap on the floor.
    """),
    "scared": Frames("""
        {his} hands [shook|trembled].
        {his} heart beat [very fast|like a drum].
        {a} was [very|so] [scared|frightened].
        {a} did not dare to [move|look back|make a sound|breathe].
        {a} wanted to run away.
        "[Help|Help me|Please, no]," {a} whispered.
        {a} shivered and held {his} breath.
        {his} [knees felt weak|legs felt like jelly].
        {a} wanted nothing more than to be [safe at home|with {his} mother].
        {a} turned [pale|white] and closed {his} eyes.
        {a} [screamed|cried for help], but nobody [came|heard it].
        {a} could not even [speak|scream].
    """),
}
# No sign at all: then only what happened tells.
PLAIN = Frames("""
    Then it was time for dinner.
    After that {a} went home.
    So ended that day.
    {a} looked at {B} and said nothing.
    {a} never forgot that day.
    It was almost evening, and {a} had to go home.
    A woman who came by [smiled|frowned|laughed|sighed|shook her head] and went on.
    What a day it was!
""")
# What others feel, or what was felt before, must not be mistaken for the end.
ASIDE = Frames("""
    The week before, {a} had [cried for a long time|stamped {his} foot|shivered with fear|jumped for joy|held {his} head high] over [a lost tooth|a spider|a silly game|a bad dream], but that was over now.
    [Not long before|A month before], {a} had been [so proud|very angry|so sad|badly frightened|so happy] that {he} could [not sleep|hardly speak].
    Far away a child [laughed|cried|shouted|screamed|sang].
    {his} little cousin had [cried|yelled|laughed|trembled|boasted] all morning, nobody knew why.
    "[Do not be sad|Do not be afraid|Do not be angry|Be proud|Smile]," people often said to {A}, but that day there was no reason to.
    {a} remembered a song about a [sad|happy|proud|frightened|furious] king.
    Once {a} had seen {his} teacher [cry|dance|shout|tremble|grin], but that is another story.
""")
LATER = {
    "happy": Frames("""
        {a} smiled all the way home.
        That night {a} fell asleep with a smile.
        {a} wanted to do it all again the next day.
        For days {a} [told|sang] everyone about it and laughed.
        Years later {a} still liked to think of that day.
        {a} sang the whole evening.
    """),
    "proud": Frames("""
        That night {a} wrote every bit of it in {his} diary.
        The next day the whole class wanted to hear how {he} had done it.
        {a} walked home like a {royal}.
        At dinner {a} told it {n3} times, and each time {he} sat up straighter.
        From then on people asked {A} when something was difficult.
    """),
    "sad": Frames("""
        {a} did not want to [eat|play|talk] that evening.
        {a} went to bed early and did not say a word.
        {a} walked home slowly with {his} head down.
        Even {his} favorite [song|dinner|game] did not help.
        That night {his} pillow was wet with tears.
        For many days {a} did not laugh at all.
    """),
    "angry": Frames("""
        {a} went home and slammed the door.
        All evening {a} [grumbled|complained] about it.
        Even the next day {a} [did not speak to anyone|still made a dark face].
        That night {a} lay awake and thought of how unfair it was.
        {a} threw {his} shoes against the wall that evening.
    """),
    "scared": Frames("""
        That night {a} [hid under the blanket|left the lamp on] and could not sleep.
        For weeks {a} [dreamed of it|did not go out alone].
        Even the next day {his} voice [shook|trembled] when {he} spoke of it.
        {a} never went there again after dark.
        {a} ran [and ran|] and did not stop until {he} was at home.
    """),
}
MOODS = tuple(sorted(END))

ROOMS = tuple(place for place in words.INSIDE if place.noun in ("kitchen", "attic", "cellar", "hall"))
_KINSHIP = ("friend", "friend", "friend", "neighbor", "cousin", "sibling")
_OTHER = {"f": "m", "m": "f"}


def cast(t: Teller, *, family: bool = True) -> None:
    """Cast the children A and B; {Bi} says who B is to A: "her friend Tom". family: B may be a brother or sister."""
    gender = "f" if t.chance(0.5) else "m"
    name = t.pick(words.GIRLS if gender == "f" else words.BOYS)
    t.person("A", name, gender)
    t.d["kid"], t.d["royal"] = ("girl", "queen") if gender == "f" else ("boy", "king")
    t.d["age"] = NUMBERS[t.between(4, 9)]
    t.d["day"] = t.pick(words.DAYS)
    t.d["n3"] = NUMBERS[t.between(3, 6)]
    other = _OTHER[gender] if t.chance(0.6) else gender
    second = name
    while second == name:
        second = t.pick(words.GIRLS if other == "f" else words.BOYS)
    t.person("B", second, other)
    kinship = t.pick(_KINSHIP if family else _KINSHIP[:-1])
    if kinship == "sibling":
        kinship = "sister" if other == "f" else "brother"
    t.d["Bi"] = f"{t.d['his']} {kinship} {second}"


def kin(t: Teller) -> None:
    """Cast C as somebody of A's family: {C} "her mother" or "Grandma"; {Cv} is what A calls them."""
    grown = t.pick(words.KIN)
    t.person("C", grown.name.replace("{his}", t.d["his"]), grown.gender)
    t.d["Cv"] = grown.vocative


def stranger(t: Teller, who: str | None = None) -> None:
    """Cast C as an adult known by their work: {C} "the baker"."""
    t.person("C", f"the {who or t.pick(words.STRANGERS)}", "f" if t.chance(0.5) else "m")


def treasure(t: Teller, letter: str = "O", pool: tuple[Thing, ...] = words.TREASURES) -> Thing:
    """Cast a thing to be fond of; another noun than the things cast before."""
    taken = (t.d.get("o"), t.d.get("q"))
    thing = t.pick(pool)
    while thing.noun in taken:
        thing = t.pick(pool)
    t.thing(letter, thing)
    return thing


def setting(t: Teller, outdoors: bool | None = None, kinds: tuple[str, ...] | None = None) -> Place:
    """Cast the place P, of a kind of words.SPOTS if asked, with three hiding spots {S1} {S2} {S3} there."""
    if outdoors is None:
        outdoors = t.chance(0.65)
    place = t.pick(words.OUTSIDE if outdoors else words.INSIDE)
    while kinds and place.kind not in kinds:
        place = t.pick(words.OUTSIDE)
    t.place("P", place)
    t.d["S1"], t.d["S2"], t.d["S3"] = t.pick_some(words.SPOTS[place.kind], 3)
    return place


def weather(t: Teller, *, fine: bool = False) -> None:
    """Choose season and weather: {season}, {wadj} "cold", {anw} "a cold"."""
    season = t.pick(("spring", "summer", "autumn") if fine else tuple(words.SEASONS))
    looks = words.SEASONS[season]
    t.d["season"] = season
    t.d["wadj"] = t.pick(looks[:2] if fine else looks)
    t.d["anw"] = an(t.d["wadj"])


def beast(t: Teller, pool: tuple[Animal, ...] = words.ANIMALS) -> None:
    """Cast the animal M."""
    t.animal(t.pick(pool))


def introduction(t: Teller) -> None:
    """Begin with who, mostly."""
    if t.chance(0.75):
        t.say(OPEN)


def opening(t: Teller) -> None:
    """Begin: who, what weather, what mood, each now and then. Sets {when}, to begin the next event with."""
    told = t.chance(0.75)
    if told:
        t.say(OPEN)
    if t.chance(0.35):
        if "wadj" not in t.d:
            weather(t)
        t.say(WEATHER)
        t.d["when"] = t.pick(
            ("That morning", "That day", "After lunch", "That afternoon", "After school", "Before noon")
        )
    else:
        t.d["when"] = t.pick(("One day", "One morning", "One afternoon", f"On {t.d['day']}", "Last week", "One Sunday"))
    if told:
        x = t.random()
        if x < 0.33:
            t.say(MORNING)
        elif x < 0.6:
            t.say(ASIDE)


def ending(t: Teller, mood: str) -> None:
    """Close with one to three signs of the main person's mood, or now and then with none."""
    if t.chance(0.2) and t.seen & BIT["B"]:
        t.say(PLAIN)
        return
    later = t.chance(0.35)
    if not later or t.chance(0.6):
        t.say(END[mood])
        t.maybe(0.3, END[mood])
    if later:
        t.say(LATER[mood])
