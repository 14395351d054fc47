"""--smoke: an experiment made so small that it shows in minutes whether the road works, and nothing else. Pure."""

from __future__ import annotations

import dataclasses

from core.experiment import Experiment, LogUniform, OpenSearch
from core.fields import flatten, replace_field
from core.settings import Scalar

SIZES = ("data.n_examples", "train.epochs", "train.steps")  # what --smoke makes small
SMOKE_ROWS = 1_000  # at most, of a level of data.n_examples
SMALL: dict[str, int | float] = {
    "data.n_examples": 250,
    "train.epochs": 2.0,
    "evaluation.items_per_task": 10,
    "evaluation.max_rows": 40,
    "evaluation.drift_samples": 8,
}


def small(experiment: Experiment) -> Experiment:
    """The same road in minutes: the ends of each axis, three tuning trials, one seed, few rows and items."""
    base, values = experiment.base, flatten(experiment.base)
    for name, most in SMALL.items():
        if name not in experiment.vary:
            value = values[name]
            base = replace_field(base, name, min(value, most) if isinstance(value, int | float) else most)
    return dataclasses.replace(
        experiment,
        base=base,
        search=_small_search(experiment.search) if experiment.search else None,
        vary={name: _ends(name, levels) for name, levels in experiment.vary.items()},
        also=tuple(arm for arm in experiment.also if not set(SIZES) & set(arm)),
        tune={name: dataclasses.replace(space, grid=3) for name, space in experiment.tune.items()},
        tune_trials=min(experiment.tune_trials, 3 ** len(experiment.tune)),
        tune_again=0,
        tune_beyond=0,
        seeds=experiment.seeds[:1],
        smoke=True,
    )


def _ends(name: str, levels: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """The first and the last level of an axis of numbers, sizes cut to a few rows; an axis of words has no ends and keeps all."""
    if any(isinstance(level, str) for level in levels):
        return levels
    ends = (levels[0], levels[-1])
    return _few_rows(ends) if name == "data.n_examples" else tuple(dict.fromkeys(ends))


def _few_rows(sizes: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    return tuple(dict.fromkeys(min(int(size or SMOKE_ROWS), SMOKE_ROWS) for size in sizes))


def _small_search(search: OpenSearch) -> OpenSearch:
    """Nine configurations of few rows and epochs on two rungs: three reach the whole training."""
    space = dict(search.space)
    if isinstance(sizes := space.get("data.n_examples"), tuple):
        space["data.n_examples"] = _few_rows(sizes)
    if isinstance(epochs := space.get("train.epochs"), LogUniform):
        space["train.epochs"] = LogUniform(min(epochs.low, 1.0), 2.0)
    return OpenSearch(space=space, configurations=9, startup=6, batch=3, rungs=(1 / 3, 1.0), least_gain=search.least_gain)
