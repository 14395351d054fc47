"""Which share of the training rows each source of a mixture gives, and what "the same amount" means where sources differ in size.

Shares stand in a setting as numbers joined by + ("1+3": a quarter and three quarters), in the order of the sources; 0 leaves one
out. AMOUNTS: of a source that has fewer rows than its share of `data.n_examples`
- epochs: no row stands twice in a pass. Passes are equal, and where a source runs out the pass, and so the training, is shorter;
- steps: its rows come again. Steps are equal, and its rows are repeated the more often, the larger its share;
- repetition: its share of its rows comes as often as all of them would if it were alone. Steps are equal, and so is how often a
  row is seen, whatever the share.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from core.errors import BadInput

Thing = TypeVar("Thing")
AMOUNTS = EPOCHS, STEPS, REPETITION = ("epochs", "steps", "repetition")
NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)", re.A)
LEAST_SOURCES, MOST_SOURCES = 2, 4  # that a simplex is laid over
PARTS = {2: 6, 3: 4, 4: 3}  # number of sources → into how many parts the axis of each is divided: 7, 15 and 20 points


def parse(text: str) -> tuple[float, ...]:
    """The shares, which sum to 1.

    Raises:
        ValueError: the text is not written so, or all shares are 0.
    """
    words = [word.strip() for word in text.split("+")]
    if len(words) < LEAST_SOURCES or not all(map(NUMBER.fullmatch, words)):
        raise ValueError(text)
    numbers = [float(word) for word in words]
    total = sum(numbers)
    if not 0 < total < math.inf:
        raise ValueError(text)
    return tuple(number / total for number in numbers)


def are_shares(text: str) -> bool:
    """Whether the text is written so."""
    try:
        return bool(parse(text))
    except ValueError:
        return False


def of_sources(text: str | None, shares: Sequence[tuple[str, float]], source: str) -> tuple[tuple[str, float], ...]:
    """The name of each source with its share of the training rows: as `data.shares` says, else as its own shares say.

    Raises:
        BadInput: they are not as many as there are sources.
    """
    if text is None:
        return tuple(shares)
    numbers = parse(text)
    if len(numbers) != len(shares):
        has = f"{source} names {len(shares)} sources" if shares else f"{source} is one source"
        remedy = "give one number for each: --data A=1,B=1 --set data.shares=1+3" if shares else "give several: --data A=1,B=1"
        raise BadInput(f"data.shares={text}: {len(numbers)} shares, and {has}; {remedy}", field="data.shares")
    return tuple((name, share) for (name, _), share in zip(shares, numbers, strict=True))


def simplex(n_sources: int) -> tuple[str, ...]:
    """Mixtures of 2 to 4 sources, evenly over all shares: the lattice with PARTS, and equal shares. The first source alone comes
    first, the last alone last."""
    parts = PARTS[n_sources]
    cuts = itertools.combinations(range(parts + n_sources - 1), n_sources - 1)
    lattice = [[b - a - 1 for a, b in itertools.pairwise((-1, *cut, parts + n_sources - 1))] for cut in cuts]
    points = [tuple(n // math.gcd(*counts) for n in counts) for counts in reversed(lattice)]
    equal = (1,) * n_sources
    if equal not in points:
        points.insert(len(points) // 2, equal)
    return tuple("+".join(map(str, point)) for point in points)


def drawn(own: dict[str, list[Thing]], order: Iterable[str], n: int, amount: str, shares: dict[str, float]) -> tuple[Thing, ...]:
    """`n` of the things, each from the source that `order` names next; those of a source that runs out come again, as `amount`
    (steps or repetition) says."""
    sizes = {name: len(things) for name, things in own.items()}
    if amount == REPETITION:
        sizes = {name: math.ceil(shares[name] * min(size, n) - 1e-9) for name, size in sizes.items()}
    taken = dict.fromkeys(own, 0)
    found: list[Thing] = []
    for name in itertools.islice(order, n):
        found.append(own[name][taken[name] % sizes[name]])
        taken[name] += 1
    return tuple(found)
