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
from core.optimizers import ADAMW, OPTIMIZERS
from core.rates import RATE
from core.settings import Scalar, Trial
from sweeps.plan import Arm, arms, overridden


def moved(experiment: Experiment, asked: Experiment, given: bool) -> Experiment:
    """The experiment as the options made it of the one that was `asked`, with rates for its models. `given`: the user has set
    the rate."""
    if given:
        return dataclasses.replace(experiment, rate_times={}, optimizer_times={})
    if not is_lab(asked.base.model.name):
        return experiment
    files = _files(experiment)
    found = {name: read for name, read in files.items() if not is_lab(name)}
    if RATE in experiment.tune:
        if not found:
            return experiment
        ranges = {(name, method): _range(experiment, read, method) for name, read in found.items() for method in METHODS}
        also = tuple(_moved_arm(experiment, asked, arm, found) for arm in experiment.also)
        return dataclasses.replace(experiment, rates=ranges, also=also)
    own, times = found.get(experiment.base.model.name), _times(experiment, asked)
    return _moved_levels(experiment, asked, own, times) if own or times != 1.0 else experiment


def _moved_arm(
    experiment: Experiment, asked: Experiment, arm: Mapping[str, Scalar], files: Mapping[str, BaseFiles]
) -> Mapping[str, Scalar]:
    """An arm whose rate is fixed where others are tuned: as far from where they are as on the laboratory's models."""
    trial = overridden(experiment.base, arm)
    read = files.get(trial.model.name)
    if RATE not in arm or read is None:
        return arm
    over = _over(trial, overridden(asked.base, arm))
    return {**arm, RATE: rates.moved(float(str(arm[RATE])) * _times(experiment, asked), read.width, read.model_type, over)}


def _over(now: Trial, was: Trial) -> float:
    """By how much the question's rate, which is LoRA's, is to be lowered for a method of full fine-tuning's rates."""
    full, was_full = (METHODS[one.adapter.method].rates_of_full for one in (now, was))
    return 1 / rates.LORA_OVER_FULL if full and not was_full else 1.0


def _times(experiment: Experiment, asked: Experiment) -> float:
    """The usual rate of the optimizer that the options set, over that of the question's."""
    now, was = (experiment.optimizer_times.get(one.base.train.optimizer, 1.0) for one in (experiment, asked))
    return now / was


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


def _moved_levels(experiment: Experiment, asked: Experiment, read: BaseFiles | None, times: float) -> Experiment:
    """The experiment with its fixed rate, the levels of an axis and the range of an open search moved to its base's width (None:
    a base of the laboratory's) and, `times` as high, to its optimizer."""

    def rate(value: Scalar, over: float = 1.0) -> float:
        number = float(str(value)) * times
        return rates.moved(number, read.width, read.model_type, over) if read else rates.rounded(number)

    def arm(changes: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
        return {**changes, RATE: rate(changes[RATE])} if RATE in changes else changes

    full = METHODS[experiment.base.adapter.method].rates_of_full
    fixed = rate(asked.base.train.learning_rate, _over(experiment.base, asked.base))
    vary = {name: tuple(map(rate, levels)) if name == RATE else levels for name, levels in experiment.vary.items()}
    search = experiment.search
    if search and isinstance(space := search.space.get(RATE), LogUniform):
        low, high = _around(space, read, full) if read else (space.low, space.high)
        space = LogUniform(rates.rounded(low * times), rates.rounded(high * times), space.grid)
        search = dataclasses.replace(search, space={**search.space, RATE: space})
    base = replace_field(experiment.base, RATE, fixed)
    return dataclasses.replace(experiment, base=base, vary=vary, also=tuple(map(arm, experiment.also)), search=search)


def ranges(experiment: Experiment) -> str:
    """Where the arms' rates are searched, and why there: "1.6e-4 to 1e-2 for LoRA, 1.6e-5 to 1e-3 for full (width 576;
    Schulman 2025)"; "" where the question's own range is."""
    if not experiment.rates:
        others = any(_trial(experiment, arm).train.optimizer != ADAMW for arm in arms(experiment) if RATE in arm.tune)
        return _own_ranges(experiment) if experiment.rate_times or (others and experiment.optimizer_times) else ""
    files, found = _files(experiment), dict[str, None]()
    for arm in arms(experiment):
        trial = _trial(experiment, arm)
        if (trial.model.name, trial.adapter.method) in experiment.rates and RATE in arm.tune:
            space = arm.tune[RATE]
            where = f" at width {files[trial.model.name].width}" if len(files) > 1 else ""
            found[f"{rates.text(space.low)} to {rates.text(space.high)} for {_label(trial)}{where}"] = None
    widths = "" if len(files) > 1 else f"width {files[experiment.base.model.name].width}; "
    return f"{', '.join(found)} ({widths}{rates.SOURCE})" if found else ""


def _own_ranges(experiment: Experiment) -> str:
    """Of the laboratory's models, where the question has a range for each method, or several optimizers."""
    found = dict[str, list[str]]()
    for arm in arms(experiment):
        if RATE in arm.tune:
            where = f"{rates.text(arm.tune[RATE].low)} to {rates.text(arm.tune[RATE].high)}"
            found.setdefault(where, []).append(_label(_trial(experiment, arm)))
    return "; ".join(f"{where} for {', '.join(dict.fromkeys(names))}" for where, names in found.items())


def _trial(experiment: Experiment, arm: Arm) -> Trial:
    return overridden(experiment.base, arm.overrides)


def _label(trial: Trial) -> str:
    """The method, and an optimizer that is not AdamW."""
    method, optimizer = METHODS[trial.adapter.method].label, trial.train.optimizer
    return method if optimizer == ADAMW else f"{method} with {OPTIMIZERS[optimizer].label}"


def told(experiment: Experiment, asked: Experiment, given: bool) -> list[str]:
    """What was moved of rates that are not tuned, in a line."""
    now, was = _levels(experiment), _levels(asked)
    if given or not now:
        return []
    base, moves = experiment.base, []
    if _times(experiment, asked) != 1.0:
        own = OPTIMIZERS[base.train.optimizer]
        moves.append(f"for {own.label} {own.rate_times:g} times AdamW's ({own.rate_source})")
    if not is_lab(base.model.name):
        moves.append(f"moved to width {_files(experiment)[base.model.name].width}; {rates.SOURCE}")
    of = " of arms that are not tuned" if RATE in experiment.tune else ""
    line = f"learning rate{of}: {_text(now)} (the laboratory's {_text(was)}, {', '.join(moves)})"
    return [line] if now != was and moves else []


def _levels(experiment: Experiment) -> list[float]:
    """The rates that arms have, the lowest and the highest; of an open search its range."""
    if experiment.search and isinstance(space := experiment.search.space.get(RATE), LogUniform):
        return [space.low, space.high]
    own = [] if RATE in experiment.tune else [*experiment.vary.get(RATE, (experiment.base.train.learning_rate,))]
    found = [float(str(rate)) for rate in (*own, *(arm[RATE] for arm in experiment.also if RATE in arm))]
    return sorted({min(found), max(found)}) if found else []


def _text(ends: list[float]) -> str:
    return " to ".join(map(rates.text, ends))
