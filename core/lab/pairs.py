"""Pairs of a right and a wrong answer to the laboratory's requests, by program.

The prompts are those of curated training rows, so none is ever scored. A wrong answer is the right one to another request of
the same task, as many words long where there is one: right in form and length, wrong in content, so that nothing but the content
tells the two apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from core.lab import instruct

Raw = dict[str, Any]


def pairs(held_out_fold: int) -> list[tuple[Raw, Raw]]:
    """(chosen, rejected) rows of all curated prompts of tasks that are trained on, in a fixed order."""
    return with_wrong_answers(instruct.training_rows("lab:curated", held_out_fold))


def with_wrong_answers(rows: Sequence[Raw]) -> list[tuple[Raw, Raw]]:
    """Each row with another of its task's answers in place of its own; rows of a task with one answer alone are left out."""
    of_task: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        of_task[row["task"]].append(row["messages"][-1]["content"])
    places: dict[str, int] = defaultdict(int)
    found = []
    for row in rows:
        place = places[row["task"]]
        places[row["task"]] += 1
        wrong = _other(of_task[row["task"]], place)
        if wrong is not None:
            messages = [*row["messages"][:-1], {**row["messages"][-1], "content": wrong}]
            found.append((row, {**row, "messages": messages}))
    return found


def _other(answers: Sequence[str], place: int) -> str | None:
    """The next answer after this place, and round, which differs from the one there; of as many words, if any is."""
    own = answers[place]
    others = [one for one in (*answers[place + 1 :], *answers[:place]) if one != own]
    n_words = len(own.split())
    return next((one for one in others if len(one.split()) == n_words), others[0] if others else None)
