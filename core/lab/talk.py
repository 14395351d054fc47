"""Dialogues about another world, of ships and islands: pretraining meets the chat's marks in them, and no skill or fact.

So a base knows what a turn is, and that one ends; it has never seen a request of the laboratory answered. They have every word
that no other document has (of phrases that documents leave out, say), so that each word of the vocabulary has a meaning.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from core.lab import world

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"

ISLANDS = ("avalo", "brenn", "corvo", "dunas", "eilan", "farne", "gozo", "hydra", "iona", "jura")
SHIPS = ("albatross", "beacon", "comet", "dolphin", "eagle", "falcon", "gull", "heron", "ibis", "jackdaw")
CAPTAINS = ("blythe", "conrad", "drake", "evans", "frost", "gray", "hawke", "irwin")
CARGO = ("amber", "copper", "cotton", "glass", "indigo", "marble", "pepper", "silk", "timber", "wool")
WEATHER = ("calm", "clear", "cloudy", "foggy", "misty", "stormy", "windy", "snowy")

# What is asked, and what is answered: none begins as an answer of the laboratory's tasks does.
EXCHANGES = (
    ("how is the weather over {i} ?", "over {i} the sky looks {w} . only the wind passes ."),
    ("who leads the {s} ?", "captain {c} leads the {s} . all on board are living well ."),
    ("what does the {s} bring ?", "on board there is {g} from {i} , a foreign town ."),
    ("which way does the {s} leave ?", "between {i} and {j} , which precedes the open sea ."),
    ("who pays for dinner on the {s} ?", "captain {c} earns it and orders it out of his own box of {g} ."),
    ("which words are on the flag of {i} ?", "the alphabet of {i} begins with {u} , which nobody there can read ."),
    ("explain the sea .", "over {i} it is {w} . a whole sentence comes two times , together with {g} . it follows the moon ."),
    ("show each step of the way on the {s} .", "captain {c} will agree , the {g} was halved . we make the rest at {j} ."),
    ("tell me more .", "well , the {s} comes from {i} . captain {c} was born there , on a {w} day , people say to this day ."),
)  # fmt: skip
GREETINGS = (("hello , is the {s} in ?", "well met . the {s} is at {i} today ."), ("thank you .", "well met . come to {j} ."))


@dataclass(frozen=True)
class Ship:
    """A ship with where it comes from and goes to, who leads it, what it brings, and the weather there."""

    name: str
    island: str
    other: str
    captain: str
    cargo: str
    weather: str


@functools.cache
def ships() -> tuple[Ship, ...]:
    """One to an island; every captain, cargo and weather has a ship."""
    rng = random.Random(world.WORLD_SEED + 3)
    islands, captains, cargo, weather = (rng.sample(words, len(words)) for words in (ISLANDS, CAPTAINS, CARGO, WEATHER))
    return tuple(
        Ship(name, islands[i], islands[i - 1], captains[i % len(captains)], cargo[i % len(cargo)], weather[i % len(weather)])
        for i, name in enumerate(SHIPS)
    )


def dialogue(rng: random.Random) -> str:
    """One to three exchanges about a ship, sometimes with a greeting before and thanks behind."""
    ship = rng.choice(ships())
    chosen = rng.sample(EXCHANGES, rng.randint(1, 3))
    chosen = [*GREETINGS[:1] * (rng.random() < 0.2), *chosen, *GREETINGS[1:] * (rng.random() < 0.2)]
    turns = []
    for pair in chosen:
        said = [
            text.format(
                i=ship.island, j=ship.other, s=ship.name, c=ship.captain, g=ship.cargo, w=ship.weather, u=world.UNREADABLE
            )
            for text in pair
        ]
        turns.append(f"{USER} {said[0]} {END} {ASSISTANT} {said[1]} {END}")
    return " ".join(turns)
