"""What is measured before and after training: one table from a task's name to how it asks and scores. Without torch: the tasks
themselves are imported when they measure. To add a task: a file here, its entry in TASKS, its measures in core/measures.py."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core import hardware
from core.data.kinds import Kind, kind_of
from core.errors import BadInput, nearest
from core.settings import AUTO, Data, Evaluation, Trial
from core.tasks import costs, examples, instructions, task_files

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
    alone: bool = False  # not beside another that gives quality
    final_only: bool = False  # asked on the test split alone: nothing is chosen by it
    cost: costs.CostOf = costs.nothing  # about, how many tokens it reads and writes
    check: Callable[[Trial], None] = lambda trial: None  # BadInput for what it cannot ask, before anything starts
    uses: tuple[str, ...] = ()  # fields of `evaluation` that would be ignored in silence without a task that uses them
    lowered_by: str = "evaluation.max_rows"  # what lowers its cost

    @property
    def rows_in(self) -> str:
        """The field that says how many rows it asks, or questions of each of its tasks, of one that has such a field."""
        return self.lowered_by.partition(" or ")[0]


# The modules are named and not imported: they import torch, and preflight reads this table without it.
def _measured_by(module: str, function: str = "measure") -> Callable[[Subject], list[Measurement]]:
    return lambda subject: getattr(importlib.import_module(module), function)(subject)  # type: ignore[no-any-return]


TASKS: dict[str, Task] = {
    "lab": Task(
        measure=_measured_by("core.tasks.lab"),
        cost=costs.lab,
        can_ask=lambda kind: kind.laboratory,
        alone=True,
        check=examples.check_laboratory,
        uses=("shots",),
        lowered_by="evaluation.items_per_task",
    ),
    "composed": Task(
        measure=_measured_by("core.tasks.composed"),
        cost=costs.composed,
        can_ask=lambda kind: kind.laboratory,
        alone=True,
        lowered_by="evaluation.items_per_task",
    ),
    "gym": Task(
        measure=_measured_by("core.tasks.gym"),
        cost=costs.gym,
        can_ask=lambda kind: kind.default_task == "gym",
        uses=("shots",),
        lowered_by="evaluation.items_per_task or evaluation.max_new_tokens",
    ),
    "answers": Task(
        measure=_measured_by("core.tasks.answers"),
        cost=costs.answers,
        can_ask=lambda kind: not kind.own_questions,
        check=examples.check_answers,
        uses=("answer", "shots"),
        lowered_by="evaluation.max_rows or evaluation.max_new_tokens",
    ),
    "choices": Task(
        measure=_measured_by("core.tasks.choices"),
        cost=costs.choices,
        can_ask=lambda kind: not kind.laboratory,
        gives_quality=False,
        check=examples.check_choices,
        uses=("choices", "choices_dev", "shots"),
    ),
    "ifeval": Task(
        measure=_measured_by("core.tasks.following"),
        cost=costs.ifeval,
        can_ask=lambda kind: not kind.laboratory,
        check=instructions.check,
        uses=("ifeval",),
        lowered_by="evaluation.max_rows or evaluation.max_new_tokens",
    ),
    "constraints": Task(
        measure=_measured_by("core.tasks.probes", "constraints"),
        cost=costs.constraints,
        can_ask=lambda kind: not kind.laboratory,
        gives_quality=False,
        final_only=True,
        lowered_by="evaluation.max_new_tokens",
    ),
    "refusals": Task(
        measure=_measured_by("core.tasks.probes", "harmless"),
        cost=costs.refusals,
        can_ask=lambda kind: not kind.laboratory,
        gives_quality=False,
        final_only=True,
        lowered_by="evaluation.max_new_tokens",
    ),
    "lm-eval": Task(
        measure=_measured_by("core.tasks.harness"),
        cost=costs.lm_eval,
        can_ask=lambda kind: not kind.laboratory,
        gives_quality=False,
        final_only=True,
        check=task_files.check,
        uses=("lm_eval", "lm_eval_chat", "shots"),
    ),
    "text": Task(measure=_measured_by("core.tasks.text"), cost=costs.text, can_ask=lambda kind: not kind.own_questions),
}


def chosen(trial: Trial) -> tuple[str, ...]:
    """The names of the trial's tasks: those of `evaluation.tasks`, or the one that its source is measured by.

    Raises:
        BadInput: there is no such task, one cannot ask about this source, or they do not give one quality together.
    """
    asked, source = trial.evaluation.tasks, trial.data.source
    kind = kind_of(source)
    names = (kind.default_task,) if asked == AUTO else trial.evaluation.task_names
    for name in names:
        if name not in TASKS:
            raise BadInput(f"{FIELD}={asked!r}: {nearest(name, [*TASKS, AUTO])}", field=FIELD)
        if not TASKS[name].can_ask(kind):
            able = ", ".join(other for other, task in TASKS.items() if task.can_ask(kind))
            raise BadInput(f"{FIELD}={asked!r}: {name} cannot ask about {source}; choose from {able}", field=FIELD)
    if repeated := [name for name, n in Counter(names).items() if n > 1]:
        raise BadInput(f"{FIELD}={asked!r}: {repeated[0]} is named twice", field=FIELD)
    giving = [name for name in names if TASKS[name].gives_quality]
    if not giving or (len(giving) > 1 and any(TASKS[name].alone for name in giving)):
        n = len(giving)
        text = f"must give exactly one quality, not {n}; names are joined with +: {kind.default_task}+OTHER"
        raise BadInput(f"{FIELD}={asked!r}: {text}", field=FIELD)
    return names


def asked(trial: Trial) -> tuple[str, ...]:
    """Those of the trial's tasks that are asked on its split."""
    return tuple(name for name in chosen(trial) if trial.evaluation.split == "test" or not TASKS[name].final_only)


def check(trial: Trial) -> None:
    """Looks at what the trial's tasks need, without torch.

    Raises:
        BadInput: one of them cannot ask.
    """
    names, default = chosen(trial), vars(Evaluation())
    for field, value in vars(trial.evaluation).items():
        of = sorted(name for name, task in TASKS.items() if field in task.uses)
        if value != default[field] and of and not set(of) & set(names):
            here = f"used by {', '.join(of)} alone, and {' and '.join(names)} measures here"
            text = f"{here}; leave it out, or add {of[0]} in {FIELD}"
            raise BadInput(f"evaluation.{field}={value}: {text}", field=f"evaluation.{field}")
    for name in names:
        TASKS[name].check(trial)


def fold_of(data: Data) -> int | None:
    """The held-out fold, where a model's answers depend on it: the laboratory's alone."""
    return data.held_out_fold if kind_of(data.source).laboratory else None


def in_fold(found: list[Measurement], data: Data) -> list[Measurement]:
    """What a model scored with another held-out fold, as this one has it."""
    if kind_of(data.source).default_task != "gym":
        return found
    from core.tasks import gym

    return gym.in_fold(found, data.held_out_fold)


def measure(subject: Subject) -> list[Measurement]:
    """Every measurement of the trial's tasks. The first one on the axis "quality" is the trial's quality; others that would be
    are told beside it. Forgetting is the laboratory's tasks' own matter; for all others it is measured here, alike."""
    import torch

    subject.model.eval()
    with torch.no_grad():
        found = []
        for name in asked(subject.trial):
            hardware.trim()
            found += TASKS[name].measure(subject)
        from core.tasks import drift, text

        hardware.trim()
        laboratory = kind_of(subject.trial.data.source).laboratory
        found += drift.on_the_task(subject) if laboratory else text.forgetting(subject)
    first = next(i for i, one in enumerate(found) if one.axis == "quality")
    found = [replace(one, axis="other") if one.axis == "quality" and i > first else one for i, one in enumerate(found)]
    assert "forgetting" in {one.axis for one in found}
    assert len({one.name for one in found}) == len(found), [one.name for one in found]
    return found
