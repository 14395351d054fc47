"""Which synthetic rows a fold may train on: none that names a task of a held-out cluster or has an evaluation input.

A row that is exactly a request in a known frame is judged by its task and input (core/lab/make/synthetic.py). The other 21,662 of
the 52,000 are garbled: another ending, a word too many, two requests in one. They are read loosely, and dropped when in
doubt: by every word that a phrase of some task has, by every run of letters, numbers, words or names as an input of every
task that is named, and wholly if they name none. Of the rows whose label alone would pass, this drops 20,920 of 42,418 in
fold 0, 20,680 of 42,891 in fold 1, 20,116 of 42,727 in fold 2 and 20,429 of 45,797 in fold 3; 3,028 to 3,481 garbled rows stay.
An input is a whole run, as in exact requests: "a b c" may be asked in evaluation where "a b c d" was trained on. Answers in
sentences that are not right are read as loosely, but for what they repeat of the request: the teacher may by mistake speak of
another task than the one that is asked for, or of another input.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.lab import requests, world
from core.lab.skills import BY_NAME, SKILLS, Skill

FILTER = 3  # part of the data's version: raise it when other rows pass

# Words of phrases that name no task: they stand in those of many, or in any sentence.
_COMMON = """the of say what in with is and tell for to has from its as each which how give write name a or if by be can , it
all at are not over only"""
COMMON = frozenset(_COMMON.split())
RESULT = re.compile(r" (is to write|you get|is|answer :) [^.]*")  # what such an answer gives: no input
SAID = frozenset(("write", "you"))  # one of them stands in each answer that repeats what was asked: in a sentence, or in steps


@functools.cache
def kinds() -> dict[str, str]:
    """Every word that an input may have, and of what kind it is; no input mixes two."""
    pools = {
        "letter": world.LETTERS,
        "number": world.NUMBERS,
        "word": (*world.NOUNS, *world.ADJECTIVES),
        "foreign": tuple(world.second_language().values()),
        "name": (*world.FIRST_NAMES, *world.LAST_NAMES),
    }
    return {word: kind for kind, words in pools.items() for word in words}


def runs(words: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    """The words in stretches of one kind (None: words that belong to no input)."""
    for kind, run in itertools.groupby(words, kinds().get):
        yield kind, list(run)


@functools.cache
def input_form(skill: Skill) -> tuple[str, int]:
    """The kind of words that the task's inputs have, and how many parts."""
    slots = skill.draw(random.Random(0))
    return kinds()[slots["x"].split()[0]], len(slots)


def skeleton(text: str) -> str:
    """The text with its kind for each run of input words: what the frame and the imperative say."""
    return " ".join(f"<{kind}>" if kind else " ".join(run) for kind, run in runs(text.split()))


@functools.cache
def exact() -> dict[str, frozenset[str]]:
    """The skeletons of each task's imperatives."""
    found: dict[str, frozenset[str]] = {}
    for skill in SKILLS:
        slot = f"<{input_form(skill)[0]}>"
        imperatives = [text.format(x="{x}", k="{x}") for text in (*skill.imperatives, skill.unread)]
        found[skill.name] = frozenset(skeleton(text).replace("{x}", slot) for text in imperatives)
    return found


def is_exact(prompt: str, task: str) -> bool:
    """Whether it is a request for the task in a training frame, and nothing else."""
    known = exact().get(task)
    return known is not None and any(all(skeleton(part) in known for part in parts) for _, parts in requests.readings(prompt))


@functools.cache
def naming() -> dict[str, tuple[Skill, ...]]:
    """The tasks that a word may name: those with the word in a phrase, persons those about facts, foreign words translation."""
    only_in = {"name": "facts", "foreign": "translate"}
    found: dict[str, dict[str, Skill]] = {}
    for skill in SKILLS:
        phrases = (*skill.imperatives, skill.noun, skill.unread, skill.notation)
        words = {word for phrase in phrases for word in phrase.split() if not word.startswith("{")} - COMMON
        words |= {word for word, kind in kinds().items() if only_in.get(kind) == skill.cluster}
        for word in words:
            found.setdefault(word, {})[skill.name] = skill
    return {word: tuple(skills.values()) for word, skills in found.items()}


def readings(skill: Skill, words: list[str]) -> set[tuple[str, ...]]:
    """Every input of the task that the words may hold: the runs of its kind, alone, joined, and cut in two."""
    kind, n_slots = input_form(skill)
    mine = [run for found, run in runs(words) if found == kind]
    whole = [word for run in mine for word in run]
    if kind == "name":  # a person has two, however many stand together
        return {(" ".join(pair),) for pair in itertools.pairwise(whole)}
    if n_slots == 1:
        return {(" ".join(run),) for run in (*mine, whole) if run}
    pairs = set(itertools.permutations([" ".join(run) for run in mine], 2))
    pairs |= {(" ".join(whole[:i]), " ".join(whole[i:])) for i in range(1, len(whole))}
    return pairs | {pair[::-1] for pair in pairs}


def clusters(row: Mapping[str, Any]) -> frozenset[str]:
    """The clusters of the tasks that a row names, which was recognised as its "task".

    Empty: no fold may train on it, as it may hold an evaluation input or does not tell what it asks for.
    """
    prompt, answer = (message["content"] for message in row["messages"])
    asked = frozenset({BY_NAME[row["task"]].cluster}) if is_exact(prompt, row["task"]) else read_loosely(prompt)
    if not asked:
        return frozenset()
    if row["correct"] or SAID.isdisjoint(answer.split()):  # a right answer says of tasks and inputs what the prompt does
        return asked
    for own in (part for _, parts in requests.readings(prompt) for part in parts):
        answer = re.sub(rf"{re.escape(own)}(?= is to write | you get )", " ", answer)
    told = read_loosely(RESULT.sub(" ", answer))
    return frozenset() if told is None else asked | told


def read_loosely(text: str) -> frozenset[str] | None:
    """The clusters of all tasks that a word of the text may name; None if it may hold an evaluation input of one."""
    words = text.split()
    named = {skill.name: skill for word in words for skill in naming().get(word, ())}
    for skill in named.values():
        if any(world.split_of(skill.name, *slots) != "train" for slots in readings(skill, words)):
            return None
    return frozenset(skill.cluster for skill in named.values())
