"""How the laboratory puts its requests and answers them: the sources of instruction data by name, the frames of each split, how
long an answer is wanted, and a question."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.lab.skills import Skill, Slots

NEW_FACTS = "lab:new-facts"  # of people that pretraining never met; it asks for facts, so no fold may hold those out
SOURCES = ("lab:curated", "lab:synthetic")
COMPOSED = ("lab:composed", "lab:composed-traces")  # requests of two steps: bare answers, and answers with the steps
# Curated rows of the clusters of one kind: sources to mix. Each fold holds out some clusters of each.
GROUPS = {
    "lab:lists": ("order", "pick", "count", "trim", "expand", "judge"),
    "lab:words": ("lexicon", "translate", "facts"),
    "lab:numbers": ("arithmetic", "number", "neighbour"),
}
MIXED = (*SOURCES, *GROUPS)  # what can stand in a mixture
ALL_SOURCES = (*SOURCES, *GROUPS, NEW_FACTS, *COMPOSED)

# How a request is put around an imperative. No frame is in two splits.
FRAMES = {
    "train": (
        "{i} .",
        "please {i} .",
        "can you {i} ?",
        "i need you to {i} .",
        "your task is to {i} .",
        "help me : {i} .",
        "instruction : {i} . response :",
        "could you {i} for me ?",
        "now {i} , thank you .",
        "question : how do you {i} ?",
    ),
    "validation": ("i want you to {i} now .", "here is a task : {i} .", "would you {i} , please ?"),
    "test": ("try to {i} .", "the next job for you : {i} .", "hello , will you {i} today ?", "show me how you {i} ."),
}


@dataclass(frozen=True)
class Style:
    """How long an answer is wanted. `asks`: what a request says of it, after the frame; `answer`: of one input, by the skill's
    imperative {i}, noun {n} and result {y}; `share` of the rows and of the questions. Answers end as documents end theirs."""

    name: str
    share: float
    asks: tuple[str, ...]
    answer: str
    inputs: tuple[int, int] = (1, 1)  # how many a request has


BARE, SENTENCE, LIST, STEPS = STYLES = (
    Style("bare", 0.5, ("",), "{y} ."),
    Style("sentence", 0.2, ("answer in a sentence .", "say it in a whole sentence ."), "to {i} is to write {y} ."),
    Style("list", 0.15, ("",), "{k} : {y} .", (2, 4)),
    Style("steps", 0.15, ("show each step .", "explain how ."), "when you {i} you get {y} . {n} is {y} . answer : {y} ."),
)
ONE_INPUT = (BARE, SENTENCE, STEPS)
JOINED = " ; "  # between the imperatives of a request with several inputs


@dataclass(frozen=True)
class Question:
    """One evaluation item: `prompt` and the one right `answer`."""

    id: str
    task: str
    cluster: str
    prompt: str
    answer: str
    style: str = BARE.name


def style(number: int) -> Style:
    """The style of the question of this number: as many of each as its share says, from any number on."""
    place = (number * 0.618034 + 0.25) % 1  # the golden ratio spreads evenly
    for one in STYLES[:-1]:
        if place < one.share:
            return one
        place -= one.share
    return STYLES[-1]


def request(frame: str, imperatives: Sequence[str], ask: str) -> str:
    """The words of the user."""
    return f"{frame.format(i=JOINED.join(imperatives))} {ask}".strip()


def answer(skill: Skill, chosen: Style, imperatives: Sequence[str], inputs: Sequence[Slots]) -> str:
    """The right answer to a request for a skill on each of the inputs, by the imperatives that are filled with them."""
    pairs = enumerate(zip(imperatives, inputs, strict=True), start=1)
    return " ".join(
        chosen.answer.format(k=k, i=imperative, n=skill.noun.format(**slots), y=skill.solve(slots))
        for k, (imperative, slots) in pairs
    )


@functools.cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((frame, re.compile(re.escape(frame).replace(r"\{i\}", "(.+)"))) for frame in FRAMES["train"])


def readings(prompt: str) -> Iterator[tuple[Style, tuple[str, ...]]]:
    """Every way in which the prompt is a request in a training frame: the style that it asks for, and its imperatives."""
    for chosen in STYLES:
        for ask in chosen.asks:
            if not prompt.endswith(ask):
                continue
            text = prompt.removesuffix(ask).rstrip()
            for _, pattern in _patterns():
                if found := pattern.fullmatch(text):
                    parts = tuple(found[1].split(JOINED))
                    if chosen.inputs[0] <= len(parts) <= chosen.inputs[1]:
                        yield chosen, parts
