"""Every skill's program gives the right answer, judged by another property than the one it is computed by."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from core.lab import world
from core.lab.skills import BY_NAME, SKILLS, Skill

Property = Callable[[list[str], str, list[str]], bool]  # the words of {x}, {k}, the words of the answer
N_DRAWS = 200
L2 = world.second_language()


def each(fits: Callable[[str, str], bool]) -> Property:
    """Word by word: `fits(word of x, word of the answer)`."""
    return lambda x, k, y: len(x) == len(y) and all(map(fits, x, y))


def yes_if(test: Callable[[list[str], str], bool]) -> Property:
    return lambda x, k, y: y == ["yes" if test(x, k) else "no"]


def fact(attribute: str) -> Property:
    """The one value of all that an entity with this name was given."""
    return lambda x, k, y: [dict(e.facts)[attribute] for e in world.entities() if e.name == " ".join(x)] == [" ".join(y)]


def purged(x: list[str], k: str, y: list[str]) -> bool:
    rest = iter(x)
    return k not in y and all(item in rest for item in y) and len(y) + x.count(k) == len(x)


RIGHT: dict[str, Property] = {
    "reverse": lambda x, k, y: len(x) == len(y) and all(x[i] == y[-1 - i] for i in range(len(x))),
    "sort": lambda x, k, y: Counter(x) == Counter(y) and all(a <= b for a, b in pairwise(y)),
    "sortdown": lambda x, k, y: Counter(x) == Counter(y) and all(a >= b for a, b in pairwise(y)),
    "rotate": lambda x, k, y: [y[-1], *y[:-1]] == x,
    "swap": lambda x, k, y: (y[0], y[1:-1], y[-1]) == (x[-1], x[1:-1], x[0]),
    "first": lambda x, k, y: [*y, *x[1:]] == x,
    "last": lambda x, k, y: [*x[:-1], *y] == x,
    "second": lambda x, k, y: [x[0], *y, *x[2:]] == x,
    "middle": lambda x, k, y: len(x) % 2 == 1 and [*x[: len(x) // 2], *y, *x[len(x) // 2 + 1 :]] == x,
    "least": lambda x, k, y: len(y) == 1 and y[0] in x and all(y[0] <= item for item in x),
    "length": lambda x, k, y: y == [str(sum(1 for _ in x))],
    "tally": lambda x, k, y: y == [str(sum(item == k for item in x))],
    "kinds": lambda x, k, y: y == [str(len(Counter(x)))],
    "behead": lambda x, k, y: [x[0], *y] == x,
    "curtail": lambda x, k, y: [*y, x[-1]] == x,
    "purge": purged,
    "keeptwo": lambda x, k, y: len(y) == 2 and y + x[2:] == x,
    "stutter": lambda x, k, y: y[::2] == y[1::2] == x,
    "repeat": lambda x, k, y: y[: len(x)] == y[len(x) :] == x,
    "close": lambda x, k, y: y[:-1] == x and y[0] == y[-1],
    "mirror": lambda x, k, y: y[: len(x)] == x and y == y[::-1] and len(y) == 2 * len(x),
    "add": lambda x, k, y: int(y[0]) - int(k) == int(x[0]),
    "minus": lambda x, k, y: int(y[0]) + int(k) == int(x[0]),
    "larger": lambda x, k, y: y[0] in (x[0], k) and int(y[0]) >= int(x[0]) and int(y[0]) >= int(k),
    "smaller": lambda x, k, y: y[0] in (x[0], k) and int(y[0]) <= int(x[0]) and int(y[0]) <= int(k),
    "parity": each(lambda a, b: b == ("odd" if a[-1] in "13579" else "even")),
    "size": each(lambda a, b: b == ("high" if len(a) == 2 and a[0] in "56789" else "low")),
    "units": each(lambda a, b: b == a[-1]),
    "floor": each(lambda a, b: int(b) + int(a[-1]) == int(a)),
    "nextletter": each(lambda a, b: (ord(b) - ord(a)) % 26 == 1),
    "priorletter": each(lambda a, b: (ord(a) - ord(b)) % 26 == 1),
    "nextnumber": each(lambda a, b: int(b) - int(a) == 1),
    "priornumber": each(lambda a, b: int(a) - int(b) == 1),
    "opposite": each(lambda a, b: (a, b) in world.OPPOSITES or (b, a) in world.OPPOSITES),
    "category": each(lambda a, b: a in world.CATEGORIES[b]),
    "colour": each(lambda a, b: b in world.COLOURS and world.colour_of()[a] == b),
    "translate": each(lambda a, b: L2[a] == b),
    "back": each(lambda a, b: L2[b] == a),
    "phrase": lambda x, k, y: [L2[word] for word in x] == y[::-1] and x[0] in world.ADJECTIVES,
    "same": yes_if(lambda x, k: x == k.split()),
    "member": yes_if(lambda x, k: x.count(k) > 0),
    "ordered": yes_if(lambda x, k: all(a <= b for a, b in pairwise(x))),
    "palindrome": yes_if(lambda x, k: all(x[i] == x[-1 - i] for i in range(len(x)))),
    **{attribute: fact(attribute) for attribute in world.ATTRIBUTES},
}


def test_every_skill_has_its_property() -> None:
    assert list(RIGHT) == [skill.name for skill in SKILLS] == list(BY_NAME)


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_answers_are_right_and_differ(skill: Skill) -> None:
    rng = random.Random(skill.name)
    answers = set()
    for _ in range(N_DRAWS):
        slots, answer = skill.example(rng)
        assert RIGHT[skill.name](slots["x"].split(), slots.get("k", ""), answer.split()), (slots, answer)
        answers.add(answer)
    assert len(answers) > 1


@pytest.mark.parametrize(
    ("name", "x", "k"),
    [
        ("same", "a b", "b a"),
        ("same", "a a b", "a b b"),
        ("same", "a b", "a b c"),
        ("member", "a b", "c"),
        ("ordered", "a a b", ""),
        ("palindrome", "a b c c a", ""),
        ("kinds", "a a a", ""),
        ("tally", "a b a", "a"),
        ("purge", "a b a b", "a"),
        ("sort", "c a c", ""),
        ("minus", "7", "7"),
        ("larger", "9", "10"),  # as numbers, not as words
        ("smaller", "9", "10"),
        ("size", "49 50 5", ""),
        ("floor", "9 15 98", ""),
        ("nextletter", "z a", ""),
        ("priorletter", "a z", ""),
    ],
)
def test_answers_are_right_at_the_edges(name: str, x: str, k: str) -> None:
    answer = BY_NAME[name].solve({"x": x, "k": k})
    assert RIGHT[name](x.split(), k, answer.split()), answer


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_inputs_follow_from_the_seed_and_keep_to_their_split(skill: Skill) -> None:
    for split in ("train", "validation", "test"):
        first, again = ([skill.example(rng, split) for _ in range(5)] for rng in (random.Random(7), random.Random(7)))
        assert first == again
        assert {world.split_of(skill.name, *slots.values()) for slots, _ in first} == {split}


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_phrases_name_every_slot(skill: Skill) -> None:
    """A request without its input could not be answered."""
    slots = set(skill.draw(random.Random(0)))
    for phrase in (*skill.imperatives, skill.noun, skill.unread):
        assert {name for name in "xk" if f"{{{name}}}" in phrase} == slots, phrase
