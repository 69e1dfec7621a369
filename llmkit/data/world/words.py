"""Who and what there is in the small world, with the grammar and the habits each word brings along."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GIRLS = _words(
    """Lily Anna Mia Rosa Ella Nora Ruby Lucy Emma Clara Ivy Zoe Sara Maya Nina Alice Grace Julia Hana Leila Tess Molly
    Daisy Rose Pia Wendy Freya Carmen"""
)
BOYS = _words(
    """Tom Ben Max Sam Leo Jack Oscar Finn Noah Hugo Adam Luke Owen Peter Omar Felix Theo Carl Henry Ravi Diego Robin
    Paul Simon Kenji Ali Victor Milo"""
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
COLORS = ("red", "blue", "green", "yellow", "white", "black", "brown", "pink", "purple", "orange", "gray")


@dataclass(frozen=True)
class Thing:
    """A noun with its plural, what one does with it (do, did, doing) and the adjectives it can bear.

    first: size, age or looks; second: colour or stuff. They stand in this order before the noun.
    """

    noun: str
    plural: str
    verbs: tuple[str, str, str]
    first: tuple[str, ...]
    second: tuple[str, ...]
    outdoors: bool = False


@dataclass(frozen=True)
class Animal:
    """A noun with its plural, how it sounds and moves (past tense), what it eats and how it can look."""

    noun: str
    plural: str
    sounded: str
    moved: str
    food: str
    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def foods(self) -> str:
        """What it eats in general: "carrots", "hay"."""
        bare = self.food.split()[-1]
        return bare if self.food.startswith("some") else {"fly": "flies"}.get(bare, bare + "s")


@dataclass(frozen=True)
class Place:
    """A noun, the preposition for being there, the way there, and its surroundings: a key of SPOTS."""

    noun: str
    at: str
    to: str
    kind: str


@dataclass(frozen=True)
class Grown:
    """An adult: how the story calls them ("{his} mother" belongs to the main person), how a child does, and gender."""

    name: str
    vocative: str
    gender: str


def an(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith(("uni", "use", "one")) else "a ") + phrase


def _things(kind: tuple[tuple[str, ...], tuple[str, ...]], rows: str) -> tuple[Thing, ...]:
    """Rows "noun plural do did doing [out]" to Things that share their adjectives."""
    made = []
    for row in rows.strip().splitlines():
        noun, plural, do, did, doing, *rest = row.split()
        first, second = kind
        made.append(Thing(noun, plural, (do, did, doing), first, second, "out" in rest))
    return tuple(made)


_TOY = (("big", "small", "little", "old", "new", "shiny", "pretty"), (*COLORS, "wooden"))
_CLOTH = (("warm", "soft", "new", "old", "pretty", "long", "lovely"), (*COLORS, "striped", "woolen"))
_GOODS = (
    ("old", "new", "small", "shiny", "beautiful", "heavy", "lovely"),
    ("red", "blue", "green", "brown", "silver", "golden"),
)
_FOOD = (("big", "small", "fresh", "little", "tasty", "sweet"), ("round", "warm", "sticky", "delicious"))
_FRUIT = (("big", "small", "sweet", "fresh", "ripe", "juicy"), ("red", "green", "yellow", "round"))

TOYS = _things(
    _TOY,
    """
    ball balls throw threw throwing
    kite kites fly flew flying out
    doll dolls hold held holding
    drum drums play played playing
    puppet puppets hold held holding
    train trains push pushed pushing
    truck trucks push pushed pushing
    boat boats sail sailed sailing out
    balloon balloons hold held holding
    robot robots steer steered steering
    hoop hoops roll rolled rolling out
    teddy teddies hug hugged hugging
    marble marbles roll rolled rolling
    """,
)
CLOTHES = _things(
    _CLOTH,
    """
    hat hats wear wore wearing
    scarf scarves wear wore wearing
    cap caps wear wore wearing
    coat coats wear wore wearing
    sweater sweaters wear wore wearing
    cape capes wear wore wearing
    ribbon ribbons wear wore wearing
    """,
)
GOODS = _things(
    _GOODS,
    """
    book books read read reading
    flute flutes play played playing
    bell bells ring rang ringing
    lantern lanterns carry carried carrying
    umbrella umbrellas carry carried carrying
    necklace necklaces wear wore wearing
    bracelet bracelets wear wore wearing
    pencil pencils use used using
    basket baskets carry carried carrying
    blanket blankets carry carried carrying
    compass compasses use used using
    notebook notebooks read read reading
    whistle whistles blow blew blowing
    guitar guitars play played playing
    """,
)
FOODS = _things(
    _FOOD,
    """
    cookie cookies eat ate eating
    muffin muffins eat ate eating
    pie pies eat ate eating
    cake cakes eat ate eating
    bun buns eat ate eating
    sandwich sandwiches eat ate eating
    pancake pancakes eat ate eating
    """,
)
FRUITS = _things(
    _FRUIT,
    """
    apple apples eat ate eating
    pear pears eat ate eating
    plum plums eat ate eating
    peach peaches eat ate eating
    melon melons eat ate eating
    tomato tomatoes eat ate eating
    cherry cherries eat ate eating
    """,
)
TREASURES = TOYS + CLOTHES + GOODS
"""Things one can carry about, lose, give away and be fond of."""
EDIBLE = FOODS + FRUITS
KNITTED = tuple(t for t in CLOTHES if t.noun in ("hat", "scarf", "cap", "sweater"))

_FUR = (("small", "little", "young", "old", "thin", "fat", "friendly", "shy"), ("brown", "black", "white", "gray"))
_FEATHER = (("small", "little", "young", "old", "fat", "lively"), ("white", "brown", "yellow", "gray", "black"))
_SKIN = (("small", "little", "young", "old", "tiny", "fat"), ("green", "brown"))


def _animals(kind: tuple[tuple[str, ...], tuple[str, ...]], rows: str) -> tuple[Animal, ...]:
    made = []
    for row in rows.strip().splitlines():
        noun, plural, sounded, moved, food = row.split()
        made.append(Animal(noun, plural, sounded, moved, food.replace("_", " "), *kind))
    return tuple(made)


PETS = _animals(
    _FUR,
    """
    dog dogs barked ran a_bone
    puppy puppies whined ran some_meat
    cat cats meowed crept some_fish
    kitten kittens meowed crept some_milk
    rabbit rabbits squeaked hopped a_carrot
    hedgehog hedgehogs sniffed crawled a_worm
    squirrel squirrels chattered jumped a_nut
    goat goats bleated trotted some_grass
    lamb lambs bleated jumped some_milk
    pony ponies neighed trotted some_hay
    mouse mice squeaked ran some_cheese
    """,
)
BIRDS = _animals(
    _FEATHER,
    """
    duck ducks quacked waddled some_bread
    hen hens clucked ran some_corn
    goose geese honked waddled some_grass
    pigeon pigeons cooed fluttered some_crumbs
    sparrow sparrows chirped fluttered some_seeds
    robin robins chirped hopped a_worm
    """,
)
CRAWLERS = _animals(
    _SKIN,
    """
    frog frogs croaked hopped a_fly
    turtle turtles hissed crawled some_lettuce
    """,
)
ANIMALS = PETS + BIRDS + CRAWLERS

OUTSIDE = (
    Place("garden", "in", "to", "green"),
    Place("park", "in", "to", "green"),
    Place("meadow", "in", "to", "green"),
    Place("forest", "in", "into", "green"),
    Place("orchard", "in", "to", "green"),
    Place("beach", "at", "to", "shore"),
    Place("river", "by", "down to", "shore"),
    Place("lake", "by", "down to", "shore"),
    Place("pond", "by", "to", "shore"),
    Place("hill", "on", "up", "green"),
    Place("field", "in", "to", "green"),
    Place("playground", "at", "to", "town"),
    Place("farm", "on", "to", "green"),
    Place("harbor", "in", "down to", "shore"),
    Place("market", "at", "to", "town"),
    Place("yard", "in", "into", "town"),
)
INSIDE = (
    Place("kitchen", "in", "into", "room"),
    Place("attic", "in", "up to", "room"),
    Place("cellar", "in", "down to", "room"),
    Place("library", "in", "to", "room"),
    Place("barn", "in", "into", "room"),
    Place("classroom", "in", "to", "room"),
    Place("bakery", "in", "to", "room"),
    Place("museum", "in", "to", "room"),
    Place("hall", "in", "into", "room"),
    Place("shed", "in", "to", "room"),
)
SPOTS = {
    "green": (
        "under a bush", "behind a tree", "in the tall grass", "near the fence", "under some leaves", "beside the path",
        "behind a rock", "between the flowers", "under an old log", "near a hollow tree",
    ),
    "shore": (
        "under an old boat", "behind a rock", "beside the path", "between two stones", "in the sand", "under a net",
        "near the water", "behind a wooden post", "in the reeds",
    ),
    "town": (
        "under a bench", "behind a wall", "near the gate", "beside the path", "behind a cart", "under a table",
        "near the well", "behind a barrel", "between two crates",
    ),
    "room": (
        "under the table", "behind the door", "behind a curtain", "on a shelf", "under a chair", "in a drawer",
        "in the cupboard", "under the stairs", "behind a box", "in the corner", "near the window", "on a hook",
    ),
}  # fmt: skip
FLOOR = (
    "under the table", "behind the door", "behind a curtain", "under the stairs", "behind a box", "in the corner",
    "behind the coats", "under a blanket", "behind the stove", "under the bench",
)  # fmt: skip
"""Spots in a room that have space for a child or a chest."""
KIN = (
    Grown("{his} mother", "Mom", "f"),
    Grown("{his} father", "Dad", "m"),
    Grown("{his} aunt", "Auntie", "f"),
    Grown("{his} uncle", "Uncle", "m"),
    Grown("Grandma", "Grandma", "f"),
    Grown("Grandpa", "Grandpa", "m"),
)
STRANGERS = (
    "baker", "farmer", "teacher", "neighbor", "gardener", "librarian", "sailor", "doctor", "painter", "shepherd",
)  # fmt: skip
SEASONS = {
    "spring": ("sunny", "mild", "windy", "rainy", "bright", "fresh"),
    "summer": ("sunny", "hot", "warm", "bright", "lovely", "dry"),
    "autumn": ("windy", "cool", "foggy", "rainy", "gray", "misty"),
    "winter": ("cold", "snowy", "icy", "frosty", "windy", "gray"),
}
