"""Pairs of a right and a wrong answer to the laboratory's requests, by program.

The prompts are those of curated training rows, so none is ever scored. A wrong answer has the style and the words of the right
one, but for its results: they are those of other inputs of the same task, as many words long where there is one. So nothing but
the content tells the two apart, and it is not told by the input that an answer repeats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.lab import instruct, requests
from core.lab.requests import Style
from core.lab.skills import BY_NAME, Skill, Slots, filled

Raw = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a curated row asks for, with the result of each input."""

    skill: Skill
    style: Style
    imperatives: tuple[str, ...]
    inputs: tuple[Slots, ...]
    results: tuple[str, ...]


def pairs(held_out_fold: int) -> list[tuple[Raw, Raw]]:
    """(chosen, rejected) rows of all curated prompts of tasks that are trained on, in a fixed order."""
    return with_wrong_answers(instruct.training_rows("lab:curated", held_out_fold))


def with_wrong_answers(rows: Sequence[Raw]) -> list[tuple[Raw, Raw]]:
    """Each row, and the same with a wrong answer; rows of a task with one result alone are left out."""
    found = []
    for row, wrong in zip(rows, wrong_answers(rows), strict=True):
        if wrong is not None:
            messages = [*row["messages"][:-1], {**row["messages"][-1], "content": wrong}]
            found.append((row, {**row, "messages": messages}))
    return found


def wrong_answers(rows: Sequence[Raw]) -> list[str | None]:
    """For each row the answer with other results of its task in place of its own; None if the task has one result alone."""
    asked = [read(row) for row in rows]
    of_task: dict[str, list[str]] = defaultdict(list)
    for one in asked:
        of_task[one.skill.name] += one.results
    places: dict[str, int] = defaultdict(int)
    found: list[str | None] = []
    for one in asked:
        place = places[one.skill.name]
        places[one.skill.name] += len(one.results)
        others = [_other(of_task[one.skill.name], place + i) for i in range(len(one.results))]
        wrong = [other for other in others if other is not None]
        found.append(answer(one, wrong) if len(wrong) == len(others) else None)
    return found


def read(row: Raw) -> Asked:
    """The row's request, by its frame and task."""
    skill, prompt = BY_NAME[row["task"].removeprefix(instruct.NEW)], row["messages"][-2]["content"]
    style, ask = next(
        ((style, ask) for style in requests.STYLES for ask in style.asks if ask and prompt.endswith(f" {ask}")),
        (requests.BARE, ""),
    )
    before, _, after = row["template"].partition("{i}")
    text = prompt.removesuffix(f" {ask}") if ask else prompt
    imperatives = tuple(text.removeprefix(before).removesuffix(after).split(requests.JOINED))
    inputs = tuple(slots(skill, imperative) for imperative in imperatives)
    if len(imperatives) > 1:
        style = requests.LIST
    return Asked(skill, style, imperatives, inputs, tuple(map(skill.solve, inputs)))


def slots(skill: Skill, imperative: str) -> Slots:
    """The input that is filled into one of the skill's imperatives."""
    for form in skill.imperatives:
        if found := filled(form).fullmatch(imperative):
            return found.groupdict()
    raise AssertionError(f"{skill.name}: {imperative}: no imperative of it")


def answer(one: Asked, results: Sequence[str]) -> str:
    """The answer in the request's style that gives these results."""
    given = iter(results)
    return requests.answer(replace(one.skill, solve=lambda _: next(given)), one.style, one.imperatives, one.inputs)


def _other(results: Sequence[str], place: int) -> str | None:
    """The next result after this place, and round, which differs from the one there; of as many words, if any is."""
    own = results[place]
    others = [one for one in (*results[place + 1 :], *results[:place]) if one != own]
    n_words = len(own.split())
    return next((one for one in others if len(one.split()) == n_words), others[0] if others else None)
