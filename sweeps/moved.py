"""A question's learning rates, moved to a model that is not the laboratory's (core/rates.py has the rule).

A tuned range is put around the rate that the rule expects for the arm's model and method, as wide as the question has it. Rates
that are not tuned, be they fixed or an axis, keep their ratios to each other and move with the width. What the user sets stays,
and so does everything of the laboratory's models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress

from core import base as bases
from core import rates
from core.adapters import METHODS
from core.base import BaseFiles
from core.data.rows import is_lab
from core.errors import BadInput
from core.experiment import Experiment, LogUniform
from core.fields import replace_field
from core.rates import RATE
from core.settings import Scalar
from sweeps.plan import arms, overridden


def moved(experiment: Experiment, asked: Experiment, given: bool) -> Experiment:
    """The experiment as the options made it of the one that was `asked`, with rates for its models. `given`: the user has set
    the rate."""
    if given:
        return dataclasses.replace(experiment, rate_times={})
    if not is_lab(asked.base.model.name):
        return experiment
    files = _files(experiment)
    found = {name: read for name, read in files.items() if not is_lab(name)}
    if not found:
        return experiment
    if RATE in experiment.tune:
        ranges = {(name, method): _range(experiment, read, method) for name, read in found.items() for method in METHODS}
        return dataclasses.replace(experiment, rates=ranges)
    own = found.get(experiment.base.model.name)
    return _moved_levels(experiment, asked, own) if own else experiment


def _files(experiment: Experiment) -> dict[str, BaseFiles]:
    """The models of the experiment that can be read; why others cannot is told where the plan is checked."""
    names: dict[str, None] = {experiment.base.model.name: None}
    names |= {str(name): None for name in experiment.vary.get("model.name", ())}
    names |= {str(arm["model.name"]): None for arm in experiment.also if "model.name" in arm}
    found = {}
    for name in names:
        with suppress(BadInput):
            found[name] = bases.read(dataclasses.replace(experiment.base.model, name=name))
    return found


def _range(experiment: Experiment, read: BaseFiles, method: str) -> tuple[float, float]:
    """Of a method that the question gives a range of its own: as far from LoRA's as there."""
    space, times = experiment.tune[RATE], experiment.rate_times.get(method)
    if times is None:
        return _around(space, read, METHODS[method].rates_of_full)
    return rates.around(rates.best(read.width, read.model_type, False) * times, space.low, space.high)


def _around(space: LogUniform, read: BaseFiles, full: bool) -> tuple[float, float]:
    return rates.around(rates.best(read.width, read.model_type, full), space.low, space.high)


def _moved_levels(experiment: Experiment, asked: Experiment, read: BaseFiles) -> Experiment:
    """The experiment with its fixed rate, the levels of an axis and the range of an open search moved to its base's width."""

    def rate(value: Scalar) -> float:
        return rates.moved(float(str(value)), read.width, read.model_type)

    def arm(changes: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
        return {**changes, RATE: rate(changes[RATE])} if RATE in changes else changes

    full, was_full = (METHODS[one.base.adapter.method].rates_of_full for one in (experiment, asked))
    over = 1 / rates.LORA_OVER_FULL if full and not was_full else 1.0  # the question's one rate is LoRA's
    fixed = rates.moved(asked.base.train.learning_rate, read.width, read.model_type, over)
    vary = {name: tuple(map(rate, levels)) if name == RATE else levels for name, levels in experiment.vary.items()}
    search = experiment.search
    if search and isinstance(space := search.space.get(RATE), LogUniform):
        low, high = _around(space, read, full)
        search = dataclasses.replace(search, space={**search.space, RATE: LogUniform(low, high, space.grid)})
    base = replace_field(experiment.base, RATE, fixed)
    return dataclasses.replace(experiment, base=base, vary=vary, also=tuple(map(arm, experiment.also)), search=search)


def ranges(experiment: Experiment) -> str:
    """Where the arms' rates are searched, and why there: "1.6e-4 to 1e-2 for LoRA, 1.6e-5 to 1e-3 for full (width 576;
    Schulman 2025)"; "" where the question's own range is."""
    if experiment.rate_times and not experiment.rates:
        return _own_ranges(experiment)
    files, found = _files(experiment), dict[str, None]()
    for arm in arms(experiment) if experiment.rates else ():
        trial = overridden(experiment.base, arm.overrides)
        if (trial.model.name, trial.adapter.method) in experiment.rates and RATE in arm.tune:
            space, label = arm.tune[RATE], METHODS[trial.adapter.method].label
            where = f" at width {files[trial.model.name].width}" if len(files) > 1 else ""
            found[f"{rates.text(space.low)} to {rates.text(space.high)} for {label}{where}"] = None
    widths = "" if len(files) > 1 else f"width {files[experiment.base.model.name].width}; "
    return f"{', '.join(found)} ({widths}{rates.SOURCE})" if found else ""


def _own_ranges(experiment: Experiment) -> str:
    """Of the laboratory's models, where the question has a range for each method."""
    found = dict[str, list[str]]()
    for arm in arms(experiment):
        if RATE in arm.tune:
            name = METHODS[overridden(experiment.base, arm.overrides).adapter.method].label
            where = f"{rates.text(arm.tune[RATE].low)} to {rates.text(arm.tune[RATE].high)}"
            found.setdefault(where, []).append(name)
    return "; ".join(f"{where} for {', '.join(names)}" for where, names in found.items())


def told(experiment: Experiment, asked: Experiment, given: bool) -> list[str]:
    """What was moved of rates that are not tuned, in a line."""
    now, was = _levels(experiment), _levels(asked)
    if given or RATE in experiment.tune or is_lab(experiment.base.model.name) or now == was:
        return []
    width = _files(experiment)[experiment.base.model.name].width
    return [f"learning rate: {_text(now)} (the laboratory's {_text(was)}, moved to width {width}; {rates.SOURCE})"]


def _levels(experiment: Experiment) -> list[float]:
    """The rates that arms have, the lowest and the highest; of an open search its range."""
    if experiment.search and isinstance(space := experiment.search.space.get(RATE), LogUniform):
        return [space.low, space.high]
    own = [*experiment.vary.get(RATE, (experiment.base.train.learning_rate,))]
    found = [float(str(rate)) for rate in (*own, *(arm[RATE] for arm in experiment.also if RATE in arm))]
    return sorted({min(found), max(found)})


def _text(ends: list[float]) -> str:
    return " to ".join(map(rates.text, ends))
