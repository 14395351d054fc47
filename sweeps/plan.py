"""What a sweep consists of: experiment → cells → trials with fingerprints. Pure: no disk, no clock, no randomness.

The command line changes an `Experiment` here (`apply_settings`, `with_seeds`, `smoke`), the cells come from `cells`, and
`sweep_id` says which MLflow parent run and which directory they belong to. A trial's key is its fingerprint and phase:
whatever has a result under its key is never run again.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from core.definitions import (
    DEFAULT_ARM,
    FOUND_ARMS,
    RESULT_VERSION,
    BadInput,
    Experiment,
    Full,
    LogUniform,
    OpenSearch,
    Scalar,
    Trial,
    content_hash,
    fingerprint,
    flatten,
    identity,
    parse_value,
    replace_field,
)

TUNE_SEED = 1_000  # one seed for all tuning trials of a sweep: cells and learning rates are compared on the same rows
MAX_SEEDS = 100
LEAST_RANGE = 2
SMOKE_ROWS = 1_000
SET_BY_PHASE = {"seed": "use --seeds N", "evaluation.split": "tuning is scored on validation, final trials on test"}
SHORT = {"adapter.rank": "r", "adapter.method": ""}
# Which provenance hash describes which fields: a varied field's hash is part of the trial, not of the sweep.
PROVENANCE_OF = {
    "model.name": "model",
    "data.source": "data",
    "data.eval_source": "eval_data",
    "evaluation.base_text": "base_text",
}

Provenance = Mapping[str, str]
Inspect = Callable[[Trial], Provenance]


@dataclass(frozen=True)
class Cell:
    """One point of the grid: a label for people, and the fields in which it differs from the base trial."""

    label: str
    overrides: Mapping[str, Scalar]
    tune: Mapping[str, LogUniform]


@dataclass(frozen=True)
class Job:
    """One trial to run: `number` is the tuning trial's number, or the index of the final seed."""

    cell: str
    phase: str  # "tune" | "final"
    number: int
    trial: Trial
    provenance: Provenance
    axes: tuple[str, ...]  # the fields that make the cells differ

    @functools.cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.trial, self.provenance)

    @functools.cached_property
    def key(self) -> str:
        return f"{self.fingerprint}-{self.phase}"

    @property
    def name(self) -> str:
        """What a person calls it: "lora r=16 seed 0", "lora r=16 tune 3"."""
        return f"{self.cell} seed {self.trial.seed}" if self.phase == "final" else f"{self.cell} tune {self.number}"


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
    """The experiment with one field fixed to a value in every cell and for every seed."""
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
    """The experiment with fewer arms; each entry is a cell's label, or several separated by commas."""
    known = [cell.label for cell in cells(experiment)]
    words = [word for entry in labels for word in ([entry] if entry in known else entry.split(","))]
    named = tuple(dict.fromkeys(word.strip() for word in words))
    for label in named:
        if label not in known:
            raise BadInput(f"--without {label!r}: there is no such arm; choose from {', '.join(known)}")
    if len(named) == len(known):
        raise BadInput(f"--without {', '.join(named)}: no arm is left")
    return dataclasses.replace(experiment, without=named)


def check_quantization(experiment: Experiment) -> None:
    """Arms that train the base's own weights can't have them in 4 bits."""
    for cell in cells(experiment):
        trial = overridden(experiment.base, cell.overrides)
        if trial.model.quantization != "none" and isinstance(trial.adapter, Full):
            how = f"leave this arm out with --without {shlex.quote(cell.label)}"
            raise BadInput(f"model.quantization={trial.model.quantization}: 4-bit weights cannot be trained in full; {how}")


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


def cells(experiment: Experiment) -> list[Cell]:
    """The full grid over `vary`, then the arms of `also`, but for those of `without`; every cell built once, so that a bad
    value is met here. Labels and order don't depend on what is left out: an arm that comes later has the same trials.
    Of an open search: its arms, whose settings are not known yet."""
    if experiment.search:
        return [Cell(label, {}, {}) for label in (DEFAULT_ARM, *FOUND_ARMS) if label not in experiment.without]
    grid = [dict(zip(experiment.vary, levels, strict=True)) for levels in product(*experiment.vary.values())]
    arms: list[Mapping[str, Scalar]] = [*grid, *experiment.also]
    trials = [overridden(experiment.base, arm) for arm in arms]
    labels = _labels(trials, arms)
    found = []
    for label, arm, trial in zip(labels, arms, trials, strict=True):
        tuned = {name: space for name, space in experiment.tune.items() if name in flatten(trial) and name not in arm}
        found.append(Cell(label, dict(arm), tuned))
    distinct = {(trial, tuple(cell.tune)) for cell, trial in zip(found, trials, strict=True)}
    if len(set(labels)) != len(labels) or len(distinct) != len(found):
        raise BadInput(f"experiment {experiment.name}: two cells are the same: {', '.join(labels)}")
    return [cell for cell in found if cell.label not in experiment.without]


def overridden(trial: Trial, overrides: Mapping[str, Scalar]) -> Trial:
    """The trial with several fields changed, the adapter's method first (its fields depend on it)."""
    for name in sorted(overrides, key=lambda field: field != "adapter.method"):
        trial = replace_field(trial, name, overrides[name])
    return trial


def _labels(trials: Sequence[Trial], arms: Sequence[Mapping[str, Scalar]]) -> list[str]:
    """ "lora r=16", "full", "n_examples=250": the method where it differs or its fields do, then what the cell changes."""
    names = list(dict.fromkeys(name for arm in arms for name in arm))
    method_matters = any(name.startswith("adapter.") for name in names)
    tails = [name.rpartition(".")[2] for name in names]
    short = {name: SHORT.get(name, tail if tails.count(tail) == 1 else name) for name, tail in zip(names, tails, strict=True)}
    labels = []
    for trial, arm in zip(trials, arms, strict=True):
        words = [trial.adapter.method] if method_matters else []
        shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in arm.items()}
        words += [f"{short[name]}={value}" for name, value in shown.items() if name != "adapter.method"]
        labels.append(" ".join(words) or "base")
    return labels


def axes(experiment: Experiment) -> tuple[str, ...]:
    """The fields in which cells differ, in the order in which the experiment names them."""
    searched = (*experiment.search.space, "train.epochs") if experiment.search else ()
    return tuple(dict.fromkeys([*experiment.vary, *(name for arm in experiment.also for name in arm), *searched]))


def seed_overrides(experiment: Experiment, index: int) -> dict[str, Scalar]:
    """The fields that seed number `index` takes from `with_seed`, the same in every arm."""
    return {name: values[index % len(values)] for name, values in experiment.with_seed.items()}


def _n_variants(experiment: Experiment) -> int:
    """After how many seeds `with_seed` repeats itself."""
    return math.lcm(*(len(values) for values in experiment.with_seed.values()))


def tuning_job(experiment: Experiment, cell: Cell, number: int, values: Mapping[str, Scalar], inspect: Inspect) -> Job:
    """Tuning trial `number` of a cell: the tuning seed, scored on the validation split."""
    if TUNE_SEED in experiment.seeds:
        raise BadInput(f"experiment {experiment.name}: seed {TUNE_SEED} is the tuning seed; choose another final seed")
    trial = overridden(experiment.base, {**seed_overrides(experiment, 0), **cell.overrides, **values})
    trial = overridden(trial, {"seed": TUNE_SEED, "evaluation.split": "validation"})
    return Job(cell.label, "tune", number, trial, inspect(trial), axes(experiment))


def final_job(experiment: Experiment, cell: Cell, index: int, values: Mapping[str, Scalar], inspect: Inspect) -> Job:
    """The cell's chosen setting with final seed number `index`, scored on the test split."""
    trial = overridden(experiment.base, {**seed_overrides(experiment, index), **cell.overrides, **values})
    trial = overridden(trial, {"seed": experiment.seeds[index], "evaluation.split": "test"})
    return Job(cell.label, "final", index, trial, inspect(trial), axes(experiment))


def probes(experiment: Experiment) -> dict[Trial, str]:
    """One trial for every distinct input of the sweep, with the label of its arm: each cell, and each value of an open search,
    with each entry of `with_seed` (for checks and estimates)."""
    settings = [(cell.label, cell.overrides) for cell in cells(experiment)]
    for name, levels in experiment.search.space.items() if experiment.search else ():
        ends = levels if isinstance(levels, tuple) else (levels.low, levels.high)
        settings += [(f"{name}={value}", {name: value}) for value in ends]
    return {
        overridden(experiment.base, {**seed_overrides(experiment, index), **setting}): label
        for label, setting in settings
        for index in range(_n_variants(experiment))
    }


def sweep_id(experiment: Experiment, inspect: Inspect) -> str:
    """Which sweep this is. Levels, arms and seeds are left out, so that adding one goes on in the same parent run. The tuned
    range is part of it: arms tuned over different ranges would not be compared alike."""
    varying = {*experiment.vary, *experiment.tune, *experiment.with_seed, "seed", "evaluation.split"}
    hidden = {PROVENANCE_OF[name] for name in experiment.vary if name in PROVENANCE_OF}
    inputs = [inspect(overridden(experiment.base, seed_overrides(experiment, i))) for i in range(_n_variants(experiment))]
    what = {
        "experiment": experiment.name,
        "base": {name: value for name, value in identity(experiment.base).items() if name not in varying},
        "axes": sorted(experiment.vary),
        "tune": {name: [space.low, space.high, space.grid] for name, space in experiment.tune.items()},
        "tune_trials": experiment.tune_trials,
        "with_seed": {name: list(values) for name, values in experiment.with_seed.items()},
        "inputs": [{kind: value for kind, value in found.items() if kind not in hidden} for found in inputs],
        "version": RESULT_VERSION,
    }
    return content_hash(what | ({"search": dataclasses.asdict(experiment.search)} if experiment.search else {}))


def count_trials(experiment: Experiment) -> tuple[int, int]:
    """How many tuning trials and how many final trials the sweep has."""
    found = cells(experiment)
    searched = sum(experiment.search.sizes()) if experiment.search else 0
    return searched + sum(experiment.tune_trials for cell in found if cell.tune), len(found) * len(experiment.seeds)


def tuning_grid(cell: Cell, tune_trials: int) -> list[dict[str, float]]:
    """The first tuning points of a cell: evenly spaced on the log scale, the same in every cell, three significant digits.

    Raises:
        BadInput: fewer tuning trials than grid points would cover only the low end of the range.
    """
    levels = []
    for space in cell.tune.values():
        step = math.log(space.high / space.low) / (space.grid - 1)
        levels.append([float(f"{space.low * math.exp(step * i):.3g}") for i in range(space.grid)])
    points = [dict(zip(cell.tune, values, strict=True)) for values in product(*levels)] if cell.tune else []
    if len(points) > tune_trials and points:
        raise BadInput(f"tune_trials={tune_trials}: must be at least the {len(points)} grid points of {', '.join(cell.tune)}")
    return points
