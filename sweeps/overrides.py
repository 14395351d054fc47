"""How the command line changes an experiment: the grammar of --set, --without, --seeds, --smoke. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from core.errors import BadInput
from core.experiment import Experiment, LogUniform, OpenSearch
from core.fields import flatten, parse_value, replace_field
from core.settings import Scalar
from sweeps.plan import PROVENANCE_OF, arms

MAX_SEEDS = 100
LEAST_RANGE = 2
SMOKE_ROWS = 1_000
SET_BY_PHASE = {"seed": "use --seeds N", "evaluation.split": "tuning is scored on validation, final trials on test"}


def apply_settings(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """The experiment after `--set FIELD=VALUE`: on a varied field the values replace its levels, on a tuned field the
    value fixes it and a range LOW..HIGH is searched instead, on any other field it changes the base trial. A field of an
    open search takes levels or a range; one value ends its search.

    Raises:
        BadInput: no such field (with the nearest name), or a value out of range.
    """
    seen: set[str] = set()
    for setting in settings:
        name, equals, text = setting.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not text or not name:
            raise BadInput(f"--set {setting!r}: must look like train.epochs=2")
        if name in seen:
            raise BadInput(f"--set {setting}: {name} is set twice; several levels of one field: {name}=A,B")
        seen.add(name)
        experiment = _set_field(experiment, name, text)
    return experiment


def _set_field(experiment: Experiment, name: str, text: str) -> Experiment:
    if name in SET_BY_PHASE:
        raise BadInput(f"--set {name}={text}: the sweep sets this itself; {SET_BY_PHASE[name]}")
    base = experiment.base
    if experiment.search and name in experiment.search.space:
        return _set_searched(experiment, experiment.search, name, text)
    if ".." in text and isinstance(flatten(base).get(name), int | float):
        return dataclasses.replace(experiment, tune={**experiment.tune, name: _range(experiment, name, text)})
    if name in experiment.vary:
        levels = tuple(dict.fromkeys(parse_value(base, name, part.strip()) for part in text.split(",")))
        for level in levels:
            replace_field(base, name, level)
        also = _also_with(experiment, name, levels)
        return dataclasses.replace(experiment, vary={**experiment.vary, name: levels}, also=also)
    if "," in text and name not in PROVENANCE_OF:  # names may have commas
        fits = f"several values fit only a field that the experiment varies ({', '.join(experiment.vary) or 'no field'})"
        raise BadInput(f"--set {name}={text}: {fits}; one number is written without commas")
    value = parse_value(base, name, text)
    replace_field(base, name, value)
    if any(name in arm for arm in experiment.also):
        raise BadInput(f"--set {name}={text}: the experiment's arms differ in this field; leave arms out with --without LABEL")
    return replace_in_base(experiment, name, value)


def _set_searched(experiment: Experiment, search: OpenSearch, name: str, text: str) -> Experiment:
    """The open search with other levels or another range of a field; without the field where one value is given."""
    if ".." in text:
        found: LogUniform | tuple[Scalar, ...] = _range(experiment, name, text)
    else:
        found = tuple(dict.fromkeys(parse_value(experiment.base, name, part.strip()) for part in text.split(",")))
    if isinstance(found, tuple) and len(found) == 1:
        space = {field: levels for field, levels in search.space.items() if field != name}
        fixed = dataclasses.replace(experiment, search=None, base=replace_field(experiment.base, name, found[0]))
        return dataclasses.replace(fixed, search=dataclasses.replace(search, space=space))
    return dataclasses.replace(experiment, search=dataclasses.replace(search, space={**search.space, name: found}))


def _also_with(experiment: Experiment, name: str, levels: tuple[Scalar, ...]) -> tuple[Mapping[str, Scalar], ...]:
    """The arms beside the grid after new levels of a varied field: of fewer levels those that are left, else the new level
    in the place of the old one."""
    old = experiment.vary[name]
    if set(levels) <= set(old):
        return tuple(arm for arm in experiment.also if name not in arm or arm[name] in levels)
    if len(levels) != len(old) and any(name in arm for arm in experiment.also):
        raise BadInput(f"--set {name}={','.join(map(str, levels))}: give {len(old)} values, as other arms have them too")
    instead = dict(zip(old, levels, strict=False))
    return tuple({**arm, name: instead.get(arm[name], arm[name])} if name in arm else arm for arm in experiment.also)


def _range(experiment: Experiment, name: str, text: str) -> LogUniform:
    """The tuned field's search range from "1e-4..1e-1", its grid as it was."""
    searched = experiment.search.space.get(name) if experiment.search else experiment.tune.get(name)
    if not isinstance(searched, LogUniform):
        spaces = experiment.search.space if experiment.search else experiment.tune
        tuned = ", ".join(field for field, space in spaces.items() if isinstance(space, LogUniform)) or "no field"
        raise BadInput(f"--set {name}={text}: a range fits only a field that the experiment tunes ({tuned})")
    words = text.split("..")
    if len(words) != 2 or not all(words) or "..." in text:
        raise BadInput(f"--set {name}={text}: a range must look like 1e-4..1e-1")
    low, high = (float(str(parse_value(experiment.base, name, word.strip()))) for word in words)
    for end in (low, high):
        replace_field(experiment.base, name, end)
    if high < LEAST_RANGE * low:  # nearer, three significant digits would not tell the points apart
        raise BadInput(f"--set {name}={text}: the high end must be at least {LEAST_RANGE} times the low end")
    return dataclasses.replace(searched, low=low, high=high)


def replace_in_base(experiment: Experiment, name: str, value: Scalar) -> Experiment:
    """The experiment with one field fixed to a value in every arm and for every seed."""
    tune = {field: space for field, space in experiment.tune.items() if field != name}
    return dataclasses.replace(
        experiment,
        base=replace_field(experiment.base, name, value),
        tune=tune,
        tune_trials=experiment.tune_trials if tune else 0,
        with_seed={field: values for field, values in experiment.with_seed.items() if field != name},
    )


def with_seeds(experiment: Experiment, count: int) -> Experiment:
    """The first `count` seeds of the experiment, going on with the next free numbers."""
    if not 1 <= count <= MAX_SEEDS:
        raise BadInput(f"--seeds {count}: must be between 1 and {MAX_SEEDS}")
    seeds = list(experiment.seeds[:count])
    candidate = 0
    while len(seeds) < count:
        if candidate not in seeds:
            seeds.append(candidate)
        candidate += 1
    return dataclasses.replace(experiment, seeds=tuple(seeds))


def without(experiment: Experiment, labels: Sequence[str]) -> Experiment:
    """The experiment with fewer arms; each entry is an arm's label, or several separated by commas."""
    known = [arm.label for arm in arms(experiment)]
    words = [word for entry in labels for word in ([entry] if entry in known else entry.split(","))]
    named = tuple(dict.fromkeys(word.strip() for word in words))
    for label in named:
        if label not in known:
            raise BadInput(f"--without {label!r}: there is no such arm; choose from {', '.join(known)}")
    if len(named) == len(known):
        raise BadInput(f"--without {', '.join(named)}: no arm is left")
    return dataclasses.replace(experiment, without=named)


SIZES = ("data.n_examples", "train.epochs", "train.steps")  # what --smoke makes small


def smoke(experiment: Experiment) -> Experiment:
    """The same road in about a minute: the ends of each axis, three tuning trials, one seed, few examples and items. Arms
    beside the grid that differ in size are left out."""
    base = experiment.base
    small: dict[str, Scalar] = {
        "data.n_examples": min(base.data.n_examples or 250, 250),
        "train.epochs": min(base.train.epochs, 2.0),
        "evaluation.items_per_task": min(base.evaluation.items_per_task, 10),
        "evaluation.max_rows": min(base.evaluation.max_rows, 40),
        "evaluation.drift_samples": min(base.evaluation.drift_samples, 8),
    }
    for name, value in small.items():
        if name not in experiment.vary:
            base = replace_field(base, name, value)
    ends = {name: (levels[0], levels[-1]) for name, levels in experiment.vary.items()}
    if "data.n_examples" in ends:
        ends["data.n_examples"] = tuple(min(int(level or SMOKE_ROWS), SMOKE_ROWS) for level in ends["data.n_examples"])  # type: ignore[assignment]
    return dataclasses.replace(
        experiment,
        base=base,
        search=_small(experiment.search) if experiment.search else None,
        vary={name: tuple(dict.fromkeys(levels)) for name, levels in ends.items()},
        also=tuple(arm for arm in experiment.also if not set(SIZES) & set(arm)),
        tune={name: dataclasses.replace(space, grid=3) for name, space in experiment.tune.items()},
        tune_trials=min(experiment.tune_trials, 3 ** len(experiment.tune)),
        seeds=experiment.seeds[:1],
    )


def _small(search: OpenSearch) -> OpenSearch:
    """Nine configurations of few rows and epochs on two rungs: three reach the whole training."""
    space = dict(search.space)
    if isinstance(sizes := space.get("data.n_examples"), tuple):
        space["data.n_examples"] = tuple(dict.fromkeys(min(int(size or SMOKE_ROWS), SMOKE_ROWS) for size in sizes))
    if isinstance(epochs := space.get("train.epochs"), LogUniform):
        space["train.epochs"] = LogUniform(min(epochs.low, 1.0), 2.0)
    return OpenSearch(space=space, configurations=9, startup=6, batch=3, rungs=(1 / 3, 1.0), least_gain=search.least_gain)
