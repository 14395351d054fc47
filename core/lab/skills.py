"""The elementary skills: what each does, in which words documents and instructions name it, and how its inputs are drawn.

Each skill has two imperatives and a noun form that pretraining documents use, a notation for raw exercises, and one
imperative that no document uses (`unread`), for a harder tier of evaluation. Clusters are the unit that is held out.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from core.lab import world

Slots = dict[str, str]


@dataclass(frozen=True)
class Skill:
    """`draw(rng)` gives the slots of the phrases ({x}, sometimes {k}); `solve(slots)` the one right answer."""

    name: str
    cluster: str
    imperatives: tuple[str, str]
    noun: str
    unread: str
    draw: Callable[[random.Random], Slots]
    solve: Callable[[Slots], str]

    @property
    def notation(self) -> str:
        return self.name.upper()

    def example(self, rng: random.Random, split: str | None = None) -> tuple[Slots, str]:
        """A random input and its answer; with `split`, only inputs whose hash falls into that split."""
        while True:
            slots = self.draw(rng)
            if split is None or world.split_of(self.name, *slots.values()) == split:
                return slots, self.solve(slots)


@functools.cache
def filled(imperative: str) -> re.Pattern[str]:
    """Matches the imperative with its slots filled, each a group by its name."""
    return re.compile(re.escape(imperative).replace(r"\{x\}", "(?P<x>.+)").replace(r"\{k\}", "(?P<k>.+)"))


def _letters(low: int, high: int) -> Callable[[random.Random], Slots]:
    return lambda rng: {"x": " ".join(rng.choices(world.LETTERS, k=rng.randint(low, high)))}


def _distinct_letters(rng: random.Random) -> Slots:
    return {"x": " ".join(rng.sample(world.LETTERS, rng.randint(3, 5)))}


def _letters_with_member(rng: random.Random) -> Slots:
    pool = rng.sample(world.LETTERS, 3)
    letters = rng.choices(pool, k=rng.randint(3, 5))
    return {"k": rng.choice(letters), "x": " ".join(letters)}


def _words(pool: tuple[str, ...], low: int, high: int) -> Callable[[random.Random], Slots]:
    return lambda rng: {"x": " ".join(rng.choices(pool, k=rng.randint(low, high)))}


def _numbers(n: int, top: int) -> Callable[[random.Random], Slots]:
    return lambda rng: dict(zip("xkz", (str(rng.randint(0, top)) for _ in range(n)), strict=False))


def _number_list(rng: random.Random) -> Slots:
    return {"x": " ".join(str(rng.randint(1, 98)) for _ in range(rng.randint(2, 3)))}


def _minus(rng: random.Random) -> Slots:
    a, b = sorted((rng.randint(0, 99), rng.randint(0, 99)))
    return {"x": str(b), "k": str(a)}


def _often_same(rng: random.Random) -> Slots:
    letters = rng.choices(world.LETTERS, k=rng.randint(2, 3))
    other = list(letters)
    if rng.random() < 0.5:
        other[rng.randrange(len(other))] = rng.choice(world.LETTERS)
    return {"x": " ".join(letters), "k": " ".join(other)}


def _often_member(rng: random.Random) -> Slots:
    letters = rng.choices(world.LETTERS, k=rng.randint(3, 5))
    return {"k": rng.choice(letters) if rng.random() < 0.5 else rng.choice(world.LETTERS), "x": " ".join(letters)}


def _often_sorted(rng: random.Random) -> Slots:
    letters = rng.sample(world.LETTERS, 3)
    return {"x": " ".join(sorted(letters) if rng.random() < 0.5 else letters)}


def _often_palindrome(rng: random.Random) -> Slots:
    half = rng.choices(world.LETTERS, k=2)
    letters = [*half, rng.choice(world.LETTERS), *half[::-1]]
    if rng.random() < 0.5:
        letters[rng.choice((0, 1, 3, 4))] = rng.choice(world.LETTERS)
    return {"x": " ".join(letters)}


_KNOWN_WEIGHTS = list(itertools.accumulate(entity.weight for entity in world.known()))


def _entity(rng: random.Random) -> Slots:
    return {"x": rng.choices(world.known(), cum_weights=_KNOWN_WEIGHTS)[0].name}


_FACTS = {entity.name: entity for entity in world.entities()}


def _fact(attribute: str) -> Callable[[Slots], str]:
    return lambda slots: _FACTS[slots["x"]].fact(attribute)


def _on_list(change: Callable[[list[str]], list[str]]) -> Callable[[Slots], str]:
    return lambda slots: " ".join(change(slots["x"].split()))


def _each(change: Callable[[str], str]) -> Callable[[Slots], str]:
    return lambda slots: " ".join(change(item) for item in slots["x"].split())


def _yes(test: Callable[[Slots], bool]) -> Callable[[Slots], str]:
    return lambda slots: "yes" if test(slots) else "no"


def _shift(letter: str, by: int) -> str:
    return world.LETTERS[(world.LETTERS.index(letter) + by) % 26]


def _phrase_in_second_language(slots: Slots) -> str:
    adjective, noun = slots["x"].split()
    words = world.second_language()
    return f"{words[noun]} {words[adjective]}"  # language 2 puts the adjective behind


def _adjective_noun(rng: random.Random) -> Slots:
    return {"x": f"{rng.choice(world.ADJECTIVES)} {rng.choice(world.NOUNS)}"}


_L2 = world.second_language()
_L1 = {foreign: word for word, foreign in _L2.items()}
_L2_NOUNS = tuple(_L2[noun] for noun in world.NOUNS)

# name, cluster, (two imperatives), noun form, imperative never read in pretraining, inputs, answer
SKILLS: tuple[Skill, ...] = (
    Skill("reverse", "order", ("reverse {x}", "write {x} backwards"), "the reverse of {x}", "turn {x} round", _letters(3, 5), _on_list(lambda s: s[::-1])),
    Skill("sort", "order", ("sort {x}", "put {x} in order"), "the sorted form of {x}", "bring {x} into alphabet order", _distinct_letters, _on_list(sorted)),
    Skill("sortdown", "order", ("sort {x} from the end", "put {x} in falling order"), "the falling form of {x}", "order {x} from last to first", _distinct_letters, _on_list(lambda s: sorted(s, reverse=True))),
    Skill("rotate", "order", ("rotate {x}", "move the first of {x} to the end"), "the rotation of {x}", "shift {x} by one", _letters(3, 5), _on_list(lambda s: s[1:] + s[:1])),
    Skill("swap", "order", ("swap the ends of {x}", "exchange the ends of {x}"), "the swapped form of {x}", "trade first and last of {x}", _letters(3, 5), _on_list(lambda s: [s[-1], *s[1:-1], s[0]])),
    Skill("first", "pick", ("pick the first of {x}", "take the first item of {x}"), "the first of {x}", "say what {x} begins with", _letters(3, 5), _on_list(lambda s: s[:1])),
    Skill("last", "pick", ("pick the last of {x}", "take the last item of {x}"), "the last of {x}", "say what {x} ends with", _letters(3, 5), _on_list(lambda s: s[-1:])),
    Skill("second", "pick", ("pick the second of {x}", "take the second item of {x}"), "the second of {x}", "say what follows the first of {x}", _letters(3, 5), _on_list(lambda s: s[1:2])),
    Skill("middle", "pick", ("pick the middle of {x}", "take the middle item of {x}"), "the middle of {x}", "say what is between the ends of {x}", lambda rng: {"x": " ".join(rng.choices(world.LETTERS, k=rng.choice((3, 5))))}, _on_list(lambda s: [s[len(s) // 2]])),
    Skill("least", "pick", ("pick the least of {x}", "take the lowest item of {x}"), "the least of {x}", "say which of {x} comes first in order", _distinct_letters, _on_list(lambda s: [min(s)])),
    Skill("length", "count", ("count {x}", "tell the length of {x}"), "the length of {x}", "say how many are in {x}", _letters(2, 6), lambda s: str(len(s["x"].split()))),
    Skill("tally", "count", ("count the {k} in {x}", "tell how often {k} is in {x}"), "the number of {k} in {x}", "say how many {k} are in {x}", _letters_with_member, lambda s: str(s["x"].split().count(s["k"]))),
    Skill("kinds", "count", ("count the kinds in {x}", "tell how many different items {x} has"), "the number of kinds in {x}", "say how many are different in {x}", lambda rng: {"x": " ".join(rng.choices(rng.sample(world.LETTERS, 3), k=rng.randint(3, 5)))}, lambda s: str(len(set(s["x"].split())))),
    Skill("behead", "trim", ("drop the first of {x}", "cut the start of {x}"), "{x} without its first", "leave out what {x} begins with", _letters(3, 5), _on_list(lambda s: s[1:])),
    Skill("curtail", "trim", ("drop the last of {x}", "cut the end of {x}"), "{x} without its last", "leave out what {x} ends with", _letters(3, 5), _on_list(lambda s: s[:-1])),
    Skill("purge", "trim", ("remove {k} from {x}", "delete each {k} in {x}"), "{x} without {k}", "leave out each {k} of {x}", lambda rng: _purgeable(rng), lambda s: " ".join(i for i in s["x"].split() if i != s["k"])),
    Skill("keeptwo", "trim", ("keep two of {x}", "cut {x} after two"), "the first two of {x}", "leave only two of {x}", _letters(3, 5), _on_list(lambda s: s[:2])),
    Skill("stutter", "expand", ("double each of {x}", "write each of {x} twice"), "the doubled form of {x}", "say each of {x} two times", _letters(2, 4), _on_list(lambda s: [i for i in s for _ in "12"])),
    Skill("repeat", "expand", ("repeat {x}", "write {x} twice"), "{x} repeated", "say all of {x} two times", _letters(2, 4), _on_list(lambda s: s + s)),
    Skill("close", "expand", ("close {x} with its first", "add the first of {x} at the end"), "the closed form of {x}", "make {x} end as it begins", _letters(3, 5), _on_list(lambda s: [*s, s[0]])),
    Skill("mirror", "expand", ("mirror {x}", "write {x} and then its reverse"), "the mirror of {x}", "add {x} backwards to it", _letters(2, 3), _on_list(lambda s: s + s[::-1])),
    Skill("add", "arithmetic", ("add {x} and {k}", "sum {x} and {k}"), "the sum of {x} and {k}", "put {x} and {k} together", _numbers(2, 49), lambda s: str(int(s["x"]) + int(s["k"]))),
    Skill("minus", "arithmetic", ("subtract {k} from {x}", "take {k} from {x}"), "the difference of {x} and {k}", "find what {x} has over {k}", _minus, lambda s: str(int(s["x"]) - int(s["k"]))),
    Skill("larger", "arithmetic", ("choose the larger of {x} and {k}", "give the greater of {x} and {k}"), "the larger of {x} and {k}", "say which is more , {x} or {k}", _numbers(2, 99), lambda s: str(max(int(s["x"]), int(s["k"])))),
    Skill("smaller", "arithmetic", ("choose the smaller of {x} and {k}", "give the lesser of {x} and {k}"), "the smaller of {x} and {k}", "say which is less , {x} or {k}", _numbers(2, 99), lambda s: str(min(int(s["x"]), int(s["k"])))),
    Skill("parity", "number", ("tell the parity of {x}", "mark {x} as even or odd"), "the parity of {x}", "say if {x} can be halved", _number_list, _each(lambda n: "odd" if int(n) % 2 else "even")),
    Skill("size", "number", ("tell the size of {x}", "mark {x} as high or low"), "the size of {x}", "say if {x} passes 49", _number_list, _each(lambda n: "high" if int(n) > 49 else "low")),
    Skill("units", "number", ("tell the units of {x}", "give the last digit of {x}"), "the units of {x}", "say what digit {x} ends with", _number_list, _each(lambda n: str(int(n) % 10))),
    Skill("floor", "number", ("round {x} down", "give the tens of {x}"), "the rounded form of {x}", "leave only the tens of {x}", _number_list, _each(lambda n: str(int(n) // 10 * 10))),
    Skill("nextletter", "neighbour", ("shift {x} up", "write the letters after {x}"), "the letters after {x}", "say what follows each of {x}", _letters(2, 3), _each(lambda c: _shift(c, 1))),
    Skill("priorletter", "neighbour", ("shift {x} down", "write the letters before {x}"), "the letters before {x}", "say what precedes each of {x}", _letters(2, 3), _each(lambda c: _shift(c, -1))),
    Skill("nextnumber", "neighbour", ("raise {x} by one", "write the numbers after {x}"), "the numbers after {x}", "say one more for each of {x}", _number_list, _each(lambda n: str(int(n) + 1))),
    Skill("priornumber", "neighbour", ("lower {x} by one", "write the numbers before {x}"), "the numbers before {x}", "say one less for each of {x}", _number_list, _each(lambda n: str(int(n) - 1))),
    Skill("opposite", "lexicon", ("give the opposite of {x}", "turn {x} into the contrary"), "the opposite of {x}", "say what {x} is not", _words(world.ADJECTIVES, 2, 3), _each(lambda w: world.opposite_of()[w])),
    Skill("category", "lexicon", ("classify {x}", "name the kind of {x}"), "the kind of {x}", "say what sort {x} is", _words(world.NOUNS, 2, 3), _each(lambda w: world.category_of()[w])),
    Skill("colour", "lexicon", ("name the colour of {x}", "tell what colour {x} has"), "the colour of {x}", "say how {x} looks", _words(world.NOUNS, 2, 3), _each(lambda w: world.colour_of()[w])),
    Skill("translate", "translate", ("translate {x}", "say {x} in the other language"), "the translation of {x}", "find foreign words for {x}", _words(world.NOUNS, 2, 3), _each(lambda w: _L2[w])),
    Skill("back", "translate", ("translate {x} back", "say {x} in our language"), "the meaning of {x}", "find home words for {x}", _words(_L2_NOUNS, 2, 3), _each(lambda w: _L1[w])),
    Skill("phrase", "translate", ("translate the phrase {x}", "say the phrase {x} in the other language"), "the translation of the phrase {x}", "find a foreign phrase for {x}", _adjective_noun, _phrase_in_second_language),
    Skill("same", "judge", ("compare {x} with {k}", "judge if {x} is the same as {k}"), "the equality of {x} and {k}", "say if {x} and {k} agree", _often_same, _yes(lambda s: s["x"] == s["k"])),
    Skill("member", "judge", ("look for {k} in {x}", "judge if {k} is in {x}"), "the presence of {k} in {x}", "say if {x} has {k}", _often_member, _yes(lambda s: s["k"] in s["x"].split())),
    Skill("ordered", "judge", ("check the order of {x}", "judge if {x} is in order"), "the orderliness of {x}", "say if {x} is sorted", _often_sorted, _yes(lambda s: s["x"].split() == sorted(s["x"].split()))),
    Skill("palindrome", "judge", ("check the symmetry of {x}", "judge if {x} reads the same backwards"), "the symmetry of {x}", "say if {x} is its own mirror", _often_palindrome, _yes(lambda s: s["x"].split() == s["x"].split()[::-1])),
    Skill("city", "facts", ("name the city of {x}", "tell where {x} lives"), "the city of {x}", "say which town is home to {x}", _entity, _fact("city")),
    Skill("trade", "facts", ("name the trade of {x}", "tell what work {x} does"), "the trade of {x}", "say how {x} earns a living", _entity, _fact("trade")),
    Skill("pet", "facts", ("name the pet of {x}", "tell what animal {x} keeps"), "the pet of {x}", "say which animal lives with {x}", _entity, _fact("pet")),
    Skill("food", "facts", ("name the food of {x}", "tell what {x} likes to eat"), "the food of {x}", "say what {x} orders for dinner", _entity, _fact("food")),
)  # fmt: skip


def _purgeable(rng: random.Random) -> Slots:
    """A list that holds {k} and at least one other letter."""
    while True:
        slots = _letters_with_member(rng)
        if set(slots["x"].split()) != {slots["k"]}:
            return slots


BY_NAME = {skill.name: skill for skill in SKILLS}
CLUSTERS = tuple(dict.fromkeys(skill.cluster for skill in SKILLS))
# Each fold holds three clusters out of training.
FOLDS = (
    ("order", "number", "judge"),
    ("pick", "neighbour", "translate"),
    ("count", "expand", "lexicon"),
    ("trim", "arithmetic", "facts"),
)
