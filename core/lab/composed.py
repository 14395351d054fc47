"""Requests of two steps: list skills put one behind the other, "reverse a b c d and then double each of it".

`lab:composed` answers with the final result alone, `lab:composed-traces` with the result of the first step before it
("d c b a . answer : d d c c b b a a ."); the requests of both are the same. Every step is one that pretraining documents show,
on lists as long as there; their compositions are in no document. A quarter of the compositions, the fold that is held out,
is in no training row.
"""

from __future__ import annotations

import functools
import itertools
import random
from dataclasses import dataclass

from core.lab import requests, world
from core.lab.requests import COMPOSED, FRAMES, Question
from core.lab.skills import BY_NAME, FOLDS, Skill

N_ROWS = 8_000
MARK = "answer :"  # what follows it is the final answer
TRIES = 200  # draws until a composition counts as one without valid inputs

# The skills that make a list of letters of one, and from how many letters to how many documents show them.
LENGTHS = {
    "reverse": (3, 5), "sort": (3, 5), "sortdown": (3, 5), "rotate": (3, 5), "swap": (3, 5), "behead": (3, 5), "curtail": (3, 5),
    "keeptwo": (3, 5), "close": (3, 5), "stutter": (2, 4), "repeat": (2, 4), "mirror": (2, 3), "nextletter": (2, 3),
    "priorletter": (2, 3),
}  # fmt: skip
DISTINCT = ("sort", "sortdown")  # documents show them on letters that are all different


@dataclass(frozen=True)
class Composition:
    """Skills to be done one after the other, each on the result of the one before."""

    steps: tuple[Skill, ...]

    @property
    def name(self) -> str:
        return "+".join(skill.name for skill in self.steps)

    @property
    def fold(self) -> int:
        """Which fold holds it out: a Latin square, so that every skill stays in training at every step."""
        return sum(list(LENGTHS).index(skill.name) for skill in self.steps) % len(FOLDS)

    def results(self, x: str) -> list[str]:
        """The result of every step; the last one is the answer."""
        return list(itertools.accumulate(self.steps, lambda text, skill: skill.solve({"x": text}), initial=x))[1:]

    def fits(self, x: str) -> bool:
        """Whether every step gets a list as documents show it, and none could be left out without changing the answer."""
        results = self.results(x)
        if not all(_reads(skill, text) for skill, text in zip(self.steps, [x, *results], strict=False)):
            return False
        fewer = [Composition(self.steps[:i] + self.steps[i + 1 :]) for i in range(len(self.steps))]
        return all(other.results(x)[-1] != results[-1] for other in fewer)

    def example(self, rng: random.Random, split: str) -> str | None:
        """A random input of the split that fits; None if there seems to be none. Each step's input is a training one where
        the split is "train": single skills are asked about other inputs."""
        for _ in range(TRIES):
            x = self.steps[0].draw(rng)["x"]
            if world.split_of(self.name, x) != split or not self.fits(x):
                continue
            steps = zip(self.steps, [x, *self.results(x)], strict=False)
            if split != "train" or all(world.split_of(skill.name, text) == "train" for skill, text in steps):
                return x
        return None

    def request(self, rng: random.Random, split: str, x: str) -> str:
        """The request in a frame of the split, each step in one of its imperatives."""
        texts = [x, *["it"] * (len(self.steps) - 1)]
        imperatives = [rng.choice(skill.imperatives).format(x=text) for skill, text in zip(self.steps, texts, strict=True)]
        return rng.choice(FRAMES[split]).format(i=" and then ".join(imperatives))

    def trace(self, x: str) -> str:
        """The answer step by step."""
        *before, last = self.results(x)
        return " ".join([*(f"{text} ." for text in before), MARK, bare(last)])


def _reads(skill: Skill, text: str) -> bool:
    letters = text.split()
    low, high = LENGTHS[skill.name]
    return low <= len(letters) <= high and (skill.name not in DISTINCT or len(set(letters)) == len(letters))


def final_answer(text: str) -> str:
    """What a response gives as its answer: all after the mark, or all of it."""
    return text.rpartition(MARK)[2].strip().removesuffix(" .")


def bare(result: str) -> str:
    """The answer that is the result alone."""
    return requests.BARE.answer.format(y=result)


@functools.cache
def compositions() -> tuple[Composition, ...]:
    """All of two steps that have valid inputs: 150 of 196."""
    found = (Composition((BY_NAME[one], BY_NAME[other])) for one, other in itertools.product(LENGTHS, repeat=2))
    return tuple(one for one in found if one.example(random.Random(f"valid {one.name}"), "train") is not None)


@functools.cache
def pairs(held_out_fold: int) -> tuple[tuple[Composition, str, str], ...]:
    """N_ROWS (composition, request, input) over the compositions that are trained, in equal shares, no request twice."""
    rng = random.Random(f"composed {held_out_fold}")
    trained = itertools.cycle([one for one in compositions() if one.fold != held_out_fold])
    found: dict[str, tuple[Composition, str, str]] = {}
    while len(found) < N_ROWS:
        one = next(trained)
        if (x := one.example(rng, "train")) is not None:
            request = one.request(rng, "train", x)
            found[request] = one, request, x
    return tuple(found.values())


def training_rows(source: str, held_out_fold: int) -> list[dict]:
    """The rows of one of the two sources; row i of both has the same request."""
    rows = []
    for one, request, x in pairs(held_out_fold):
        answer = one.trace(x) if source == COMPOSED[1] else bare(one.results(x)[-1])
        messages = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
        rows.append({"messages": messages, "task": one.name})
    return rows


@functools.cache
def questions(split: str, items_per_task: int) -> tuple[Question, ...]:
    """About every composition a tenth of `items_per_task` (there are several times as many of them as tasks), at least one.

    A question's cluster is the number of the fold that holds its composition out.
    """
    found = []
    for one in compositions():
        rng = random.Random(f"composed questions {split} {one.name}")
        inputs: dict[str, None] = {}
        for _ in range(20 * items_per_task):
            if len(inputs) < max(1, items_per_task // 10) and (x := one.example(rng, split)) is not None:
                inputs[x] = None
        found += [
            Question(f"{split}/{one.name}/{x}", one.name, str(one.fold), one.request(rng, split, x), bare(one.results(x)[-1]))
            for x in inputs
        ]
    return tuple(found)
