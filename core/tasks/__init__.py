"""What is measured before and after training: one table from a task's name to how it asks and scores. Without torch: the tasks
themselves are imported when they measure. To add a task: a file here, its entry in TASKS, its measures in core/measures.py."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.data.kinds import Kind, kind_of
from core.errors import BadInput, nearest
from core.settings import AUTO, Trial

if TYPE_CHECKING:
    from core.tasks.measurement import Measurement, Subject

FIELD = "evaluation.tasks"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One way of asking a model. `can_ask` says of which kinds of sources; `gives_quality`: one of its measures is the quality
    of the trial."""

    measure: Callable[[Subject], list[Measurement]]
    can_ask: Callable[[Kind], bool]
    gives_quality: bool = True


# The modules are named and not imported: they import torch, and preflight reads this table without it.
def _measured_by(module: str) -> Callable[[Subject], list[Measurement]]:
    return lambda subject: importlib.import_module(module).measure(subject)  # type: ignore[no-any-return]


TASKS: dict[str, Task] = {
    "lab": Task(measure=_measured_by("core.tasks.lab"), can_ask=lambda kind: kind.laboratory),
    "composed": Task(measure=_measured_by("core.tasks.composed"), can_ask=lambda kind: kind.laboratory),
    "text": Task(measure=_measured_by("core.tasks.text"), can_ask=lambda kind: not kind.own_questions),
}


def chosen(trial: Trial) -> tuple[str, ...]:
    """The names of the trial's tasks: those of `evaluation.tasks`, or the one that its source is measured by.

    Raises:
        BadInput: there is no such task, one cannot ask about this source, or they do not give one quality together.
    """
    asked, source = trial.evaluation.tasks, trial.data.source
    kind = kind_of(source)
    names = (kind.default_task,) if asked == AUTO else tuple(re.split("[,+] *", asked))
    for name in names:
        if name not in TASKS:
            raise BadInput(f"{FIELD}={asked!r}: {nearest(name, [*TASKS, AUTO])}", field=FIELD)
        if not TASKS[name].can_ask(kind):
            able = ", ".join(other for other, task in TASKS.items() if task.can_ask(kind))
            raise BadInput(f"{FIELD}={asked!r}: {name} cannot ask about {source}; choose from {able}", field=FIELD)
    if repeated := [name for name, n in Counter(names).items() if n > 1]:
        raise BadInput(f"{FIELD}={asked!r}: {repeated[0]} is named twice", field=FIELD)
    _check_quality(trial, sum(TASKS[name].gives_quality for name in names))
    return names


def _check_quality(trial: Trial, n: int) -> None:
    if n != 1:
        text = f"must give exactly one quality, not {n}; names are joined with +: {kind_of(trial.data.source).default_task}+OTHER"
        raise BadInput(f"{FIELD}={trial.evaluation.tasks!r}: {text}", field=FIELD)


def measure(subject: Subject) -> list[Measurement]:
    """Every measurement of the trial's tasks; exactly one is on the axis "quality"."""
    import torch

    subject.model.eval()
    with torch.no_grad():
        found = [one for name in chosen(subject.trial) for one in TASKS[name].measure(subject)]
    axes = [one.axis for one in found]
    _check_quality(subject.trial, axes.count("quality"))
    assert "forgetting" in axes, axes
    assert len({one.name for one in found}) == len(found), [one.name for one in found]
    return found
