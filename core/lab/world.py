"""The laboratory's world: its words, its entities with their facts, and a second language. Everything follows from WORLD_SEED.

The world is the same for every base model; bases differ in their initialisation and in the documents they happened to read.
Entities are met with Zipf-like frequency, so that some facts are rare. UNKNOWN entities are named like the others but occur
in no pretraining document.
"""

from __future__ import annotations

import functools
import hashlib
import random
from dataclasses import dataclass

WORLD_SEED = 20_230
N_KNOWN, N_UNKNOWN = 500, 200

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
NUMBERS = tuple(str(n) for n in range(100))
CATEGORIES = {
    "animal": ("horse", "wolf", "goose", "otter", "mole", "crane", "bear", "toad"),
    "fruit": ("apple", "plum", "cherry", "grape", "melon", "fig", "peach", "lemon"),
    "tool": ("hammer", "needle", "shovel", "ladder", "chisel", "rope", "anvil", "saw"),
    "plant": ("oak", "fern", "moss", "reed", "tulip", "ivy", "birch", "clover"),
    "dress": ("coat", "glove", "scarf", "boot", "shirt", "belt", "cap", "cloak"),
    "vessel": ("barrel", "jug", "bottle", "bucket", "bowl", "basket", "kettle", "vase"),
}
NOUNS = tuple(noun for nouns in CATEGORIES.values() for noun in nouns)
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("wet", "dry"), ("old", "new"), ("hard", "soft"),
    ("loud", "quiet"), ("early", "late"), ("heavy", "light"), ("rich", "poor"), ("long", "short"), ("clean", "dirty"),
)  # fmt: skip
ADJECTIVES = tuple(word for pair in OPPOSITES for word in pair)
COLOURS = ("red", "blue", "green", "white", "black", "brown", "yellow", "grey")
FIRST_NAMES = tuple(
    "ada ben cara dan eva finn gail hugo ines jack kira luca mona nils olga paul rita sven tara ugo vera walt xena yuri zoe "
    "amos beth carl dora emil fay gus hanna ivan jana kurt lena mark nora otto".split()
)
LAST_NAMES = tuple(
    "abbot baker carver draper eckart fisher gruber hooper ibsen jensen keller lamb mason norris osman porter quill reyes "
    "sadler tanner ulrich vogel weaver xiang york zeller archer brewer cooper dyer evers fowler glover hunter irving joiner "
    "knight lang miller nash".split()
)
ATTRIBUTES = {
    "city": tuple(
        "arden borvik calma dorsten elmira farrow galway hexham ilmen jarrow kolding lugano merton narvik ostend pirna "
        "quimper rimini salem tarvis umbria varna wexford xanten yarmouth zermatt bergamo cork delft erfurt".split()
    ),
    "trade": tuple(
        "actor banker clerk doctor editor farmer guide herder judge lawyer mayor nurse officer painter ranger sailor "
        "teacher usher vet waiter barber chemist dentist engineer florist jeweller miner pilot singer tutor".split()
    ),
    "pet": tuple("cat dog parrot rabbit turtle hamster snake pony finch lizard mouse ferret".split()),
    "food": tuple(
        "bread cheese rice soup pasta honey salad beans curry pie stew toast yoghurt noodles olives pancakes potatoes "
        "salmon omelette porridge dumplings waffles tofu lentils carrots spinach mushrooms walnuts pickles sausage".split()
    ),
}
UNREADABLE = "<unk>"  # a word that nobody can read: documents have it now and then, so that the token has a meaning too
SYLLABLES = ("ba", "do", "ke", "li", "mu", "na", "po", "ri", "so", "tu", "va", "ze")


@dataclass(frozen=True)
class Entity:
    """Somebody with one value per attribute; `weight` is how often documents speak of them."""

    name: str
    facts: tuple[tuple[str, str], ...]
    weight: float

    def fact(self, attribute: str) -> str:
        return dict(self.facts)[attribute]


@functools.cache
def entities() -> tuple[Entity, ...]:
    """All entities: the N_KNOWN that documents speak of, then the N_UNKNOWN that none does (weight 0)."""
    rng = random.Random(WORLD_SEED)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    rng.shuffle(names)
    return tuple(
        Entity(
            name=names[i],
            facts=tuple((attribute, rng.choice(values)) for attribute, values in ATTRIBUTES.items()),
            weight=(i + 20) ** -0.8 if i < N_KNOWN else 0.0,  # Zipf, shifted: the rarest is met about 13x less than the first
        )
        for i in range(N_KNOWN + N_UNKNOWN)
    )


def known() -> tuple[Entity, ...]:
    return entities()[:N_KNOWN]


def unknown() -> tuple[Entity, ...]:
    return entities()[N_KNOWN:]


@functools.cache
def second_language() -> dict[str, str]:
    """Noun, adjective and grammar words of language 1 → language 2 (two or three syllables each, all different)."""
    rng = random.Random(WORLD_SEED + 1)
    words: list[str] = []
    while len(words) < len(NOUNS) + len(ADJECTIVES) + 4:
        word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3))))
        if word not in words:
            words.append(word)
    return dict(zip((*NOUNS, *ADJECTIVES, "the", "is", "and", "near"), words, strict=True))


@functools.cache
def colour_of() -> dict[str, str]:
    rng = random.Random(WORLD_SEED + 2)
    return {noun: rng.choice(COLOURS) for noun in NOUNS}


@functools.cache
def category_of() -> dict[str, str]:
    return {noun: category for category, nouns in CATEGORIES.items() for noun in nouns}


@functools.cache
def opposite_of() -> dict[str, str]:
    return {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}


def split_of(*key: str) -> str:
    """Which split a piece of content belongs to, by its hash: "train" (80 %), "validation" (10 %) or "test" (10 %).

    The one place where splits are made, so they are disjoint by construction: every generator keeps what falls into its own.
    """
    digit = hashlib.blake2b("\x1f".join(key).encode(), digest_size=4).digest()[0] % 10
    return {0: "validation", 1: "test"}.get(digit, "train")
