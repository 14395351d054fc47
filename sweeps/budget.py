"""`--budget 2h`: a sweep that is made to fit into a time, and `--smoke` of a model that is not the laboratory's.

What is lowered goes in an order that hurts verdicts least: what is only looked at, texts that forgetting is measured on, tuning
points, evaluation items, steps and rows, seeds. Each is lowered as far as it must be before the next is touched; where that does
not do, again and further, with a caution. The choice is kept in the output directory, so that the same command goes on with the
same sweep, however fast the machine is by then.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import tasks
from core.data.rows import is_lab
from core.errors import BadInput, one_line
from core.experiment import Experiment, Space
from core.fields import content_hash, flatten
from core.result import write_whole
from core.tasks.costs import MOST_ROOM
from sweeps import overrides
from sweeps.plan import arms
from sweeps.progress import clock

LONG = "--budget"
SAFE = 0.9  # of the time that is given: an estimate may be short
SMOKE_SECONDS = 300.0
STEP = 0.7  # from one value to the next lower one
LEAST_SEEDS = 3  # for an interval that says something
DECIDING_SEEDS = 2
LEAST_STEPS = 30  # of a training that resembles longer ones

Estimate = Callable[[Experiment], float]  # seconds from start to end


@dataclass(frozen=True)
class Lowering:
    """One thing that can be less: its name, what it is now, lower values from the highest on, and how one is set."""

    name: str
    now: Any
    values: Sequence[Any]
    apply: Callable[[Experiment, Any], Experiment]


@dataclass(frozen=True)
class Least:
    """How low each may go; 0 or None leaves it."""

    tuning: bool
    generations: int
    drift_samples: int
    drift_tokens: int
    new_tokens: int
    eval_rows: int
    items_per_task: int
    rows: int
    steps: int
    seeds: int


BUDGET = Least(True, 4, 16, 0, 0, 100, 10, 200, 50, LEAST_SEEDS)
FURTHER = Least(False, 0, 0, 0, 0, 50, 5, 96, 20, DECIDING_SEEDS)  # where that does not do: verdicts suffer
SMOKE = Least(False, 1, 2, 24, 16, 4, 1, 16, 2, 1)

BEARABLE = {
    "data.n_examples": BUDGET.rows,
    "evaluation.items_per_task": BUDGET.items_per_task,
    "evaluation.max_rows": BUDGET.eval_rows,
    "--seeds": BUDGET.seeds,
}


def _falling(now: Any, least: int) -> list[int]:
    """Whole numbers below `now`, each about STEP of the one before, down to `least`."""
    found, value = [], float(now)
    while value * STEP > least:
        value *= STEP
        digits = len(str(int(value))) - 2
        rounded = int(round(value, -digits)) if digits > 0 else int(value)
        if least < rounded < now and rounded not in found:
            found.append(rounded)
    return [*found, least] if least < now else []


def _field(name: str, now: Any, values: Sequence[Any]) -> Lowering:
    return Lowering(name, now, values, lambda experiment, value: overrides.apply_settings(experiment, [f"{name}={value}"]))


def lowerings(experiment: Experiment, least: Least, n_rows: int, fixed: Sequence[str] = ()) -> list[Lowering]:
    """What can be lowered, in order. `n_rows`: that are trained on; `fixed`: what was given by hand."""
    values = flatten(experiment.base)
    rows = overrides.field_of_rows(experiment)
    floors = {
        "evaluation.generations": least.generations,
        "evaluation.drift_samples": least.drift_samples,
        "evaluation.drift_tokens": least.drift_tokens,
    }
    if _of_base_text_alone(experiment) and values["evaluation.base_text"] is not None:
        floors["evaluation.max_rows"] = least.drift_samples
    found = [] if is_lab(str(values["data.source"])) else [_plain(values, name, floor) for name, floor in floors.items()]
    if least.new_tokens and not is_lab(str(values["data.source"])):
        now = values["evaluation.max_new_tokens"] or MOST_ROOM
        found.append(_field("evaluation.max_new_tokens", now, _falling(now, least.new_tokens)))
    found += _tuning(experiment) if least.tuning else []
    few = {"evaluation.items_per_task": least.items_per_task, "evaluation.max_rows": least.eval_rows}[rows]
    found += [_plain(values, rows, few), *_size(experiment, least, n_rows), _seeds(experiment, least)]
    varied = {*experiment.vary, *experiment.tune, *(name for arm in experiment.also for name in arm)}
    varied |= set(experiment.search.space) if experiment.search else set()
    taken = varied - {"data.n_examples"} | set(fixed)
    return [one for one in found if one.values and one.name not in taken]


def _of_base_text_alone(experiment: Experiment) -> bool:
    """Whether `evaluation.max_rows` says how much of the base text is read, and of no task how many rows."""
    return all(tasks.TASKS[name].rows_in != "evaluation.max_rows" for name in tasks.chosen(experiment.base))


def _plain(values: Mapping[str, Any], name: str, floor: int) -> Lowering:
    return _field(name, values[name], _falling(values[name], floor) if floor else [])


def _tuning(experiment: Experiment) -> list[Lowering]:
    if search := experiment.search:
        floor = max(search.reduction ** (len(search.rungs) - 1), 9)
        counts = _falling(search.configurations, floor)

        def fewer(asked: Experiment, count: int) -> Experiment:
            assert asked.search
            startup = min(asked.search.startup, count)
            return dataclasses.replace(asked, search=dataclasses.replace(asked.search, configurations=count, startup=startup))

        return [Lowering("configurations", search.configurations, counts, fewer)]
    least = overrides.LEAST_GRID ** len(experiment.tune)
    counts = list(range(experiment.tune_trials - 1, least - 1, -1)) if experiment.tune else []
    return [Lowering("--tune-trials", experiment.tune_trials, counts, overrides.with_tune_trials)]


def _size(experiment: Experiment, least: Least, n_rows: int) -> list[Lowering]:
    """Steps or epochs; then rows, or where they vary or are searched, the largest levels. One pass over many rows teaches more
    than several over few."""
    name, train = "data.n_examples", experiment.base.train
    found = []
    if train.steps is not None:
        found.append(_field("train.steps", train.steps, _falling(train.steps, least.steps)))
    elif train.epochs > 1:
        found.append(_field("train.epochs", train.epochs, [n for n in (2.0, 1.0) if n < train.epochs]))
    spaces: Space = experiment.search.space if experiment.search else experiment.vary
    levels = spaces.get(name)
    if levels is None:
        found.append(_field(name, n_rows, _falling(n_rows, least.rows)))
    elif isinstance(levels, tuple):  # a range would have no whole numbers, and is left as it is
        ordered = sorted(levels, key=lambda level: (level is None, level if isinstance(level, int) else 0))
        shorter = [",".join(str(level) for level in levels if level in ordered[:n]) for n in range(len(levels) - 1, 1, -1)]
        found.append(_field(name, ",".join(map(str, levels)), shorter))
    return found


def _seeds(experiment: Experiment, least: Least) -> Lowering:
    n = len(experiment.seeds)
    return Lowering("--seeds", n, range(n - 1, least.seeds - 1, -1), overrides.with_seeds)


Chosen = dict[str, Any]  # a lowering's name → its value


def fit(experiment: Experiment, order: Sequence[Lowering], limit: float, estimate: Estimate) -> tuple[Experiment, Chosen, float]:
    """The experiment, lowered until it takes at most `limit` seconds, or as far as it goes; what was lowered; its seconds."""
    chosen: Chosen = {}
    taken = estimate(experiment)
    for one in order:
        if taken <= limit:
            break
        before = experiment
        for value in one.values:
            with suppress(BadInput):  # a value that does not go with the others
                changed = one.apply(before, value)
                taken, experiment, chosen[one.name] = estimate(changed), changed, value
            if taken <= limit:
                break
    return experiment, chosen, taken


def raise_again(experiment: Experiment, order: Sequence[Lowering], chosen: Chosen, limit: float, estimate: Estimate) -> Chosen:
    """What was lowered, raised again as far as there is time left: what was lowered last first, step by step. `experiment`:
    as it was before."""
    for one in reversed([one for one in order if one.name in chosen]):
        ladder = [one.now, *one.values]
        for value in reversed(ladder[: ladder.index(chosen[one.name])]):
            higher = {name: at for name, at in {**chosen, one.name: value}.items() if (name, at) != (one.name, one.now)}
            try:
                if estimate(replay(experiment, order, higher)) > limit:
                    break
            except BadInput:
                break
            chosen = higher
    return chosen


def together(order: Sequence[Lowering], further: Sequence[Lowering]) -> list[Lowering]:
    """One list of both: each thing with all its values, at the end those that are lowered further alone."""
    more, names = {one.name: one.values for one in further}, {one.name for one in order}
    both = [dataclasses.replace(one, values=[*one.values, *more.get(one.name, ())]) for one in order]
    return both + [one for one in further if one.name not in names]


def replay(experiment: Experiment, order: Sequence[Lowering], chosen: Chosen) -> Experiment:
    """The experiment as it was lowered before."""
    for one in order:
        if one.name in chosen:
            experiment = one.apply(experiment, chosen[one.name])
    return experiment


def told(before: Experiment, after: Experiment, order: Sequence[Lowering], chosen: Chosen) -> list[str]:
    """What was lowered, arms that are lost with it, and the claims that can no longer be decided."""
    said = [f"lowered: {one.name} {one.now} to {chosen[one.name]}" for one in order if one.name in chosen]
    labels = [arm.label for arm in arms(after)]
    if lost := [arm.label for arm in arms(before) if arm.label not in labels]:
        said.append(f"caution: arms lost: {', '.join(lost)}: claims about them cannot be decided")
    bearable = dict(BEARABLE)
    if _of_base_text_alone(after):
        bearable["evaluation.max_rows"] = BUDGET.drift_samples
    if weak := [name for name, least in bearable.items() if isinstance(now := chosen.get(name), int) and now < least]:
        least = ", ".join(f"{name} {bearable[name]}" for name in weak)
        more = f"more time, or fewer arms (--without LABEL), would keep {least}"
        said.append(f"caution: so little shows large differences alone; {more}")
    said += _few_steps(after)
    if len(after.seeds) < DECIDING_SEEDS and after.claims:
        names = ", ".join(claim.id for claim in after.claims)
        said.append(f"caution: with {len(after.seeds)} seed no claim can be decided: {names}")
    return said


def _few_steps(after: Experiment) -> list[str]:
    """A caution where trainings are so short that they say little of longer ones."""
    train, n_rows = after.base.train, after.base.data.n_examples
    fixed = n_rows is not None and not {"data.n_examples", "train.steps", "train.epochs", "train.batch_size"} & set(after.vary)
    if not fixed or after.search or (steps := train.n_steps(n_rows or 0)) >= LEAST_STEPS:
        return []
    smaller = next((size for size in (8, 4, 2, 1) if steps * train.batch_size / size >= LEAST_STEPS), 1)
    text = f"trainings of {steps} steps say little of longer ones"
    return [f"caution: {text}; --set train.batch_size={smaller} takes more and smaller ones in about the same time"]


@dataclass(frozen=True)
class Kept:
    """What was chosen, and the file that keeps it once the sweep starts."""

    path: Path
    chosen: Chosen

    def write(self) -> None:
        """Keeps the choice, unless it is there."""
        if not self.path.exists():
            write_whole(self.path, json.dumps(self.chosen).encode())

    @classmethod
    def at(cls, path: Path) -> Kept | None:
        """What was chosen before and is kept there; None where there is nothing.

        Raises:
            BadInput: the file is damaged: another choice would be another sweep.
        """
        try:
            return cls(path, dict(json.loads(path.read_text())))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            text = "bring it back, or delete it and a new choice is made"
            raise BadInput(f"{path}: cannot be read ({one_line(error)}); {text}", field=LONG) from None

    @staticmethod
    def place(output: Path, sweep: str, experiment: Experiment, limit: float, fixed: Sequence[str] | None = None) -> Path:
        """Where the choice for this sweep, seeds, arms and time is kept; with `fixed` the one that leaves these names."""
        what: list[object] = [sweep, list(experiment.seeds), [arm.label for arm in arms(experiment)], limit]
        what += [] if fixed is None else [sorted(set(fixed))]
        return output / f"budget-{content_hash(what)[:8]}.json"


def refusal(limit: float, least: float, known: str) -> BadInput:
    """Why a sweep cannot be made to fit."""
    text = f"even at its smallest this sweep takes about {clock(least)} ({known})"
    more = f"give {LONG} {math.ceil(least / 60)}m, or leave arms out with --without LABEL"
    return BadInput(f"{LONG} {clock(limit)}: {text}; {more}", field=LONG)
