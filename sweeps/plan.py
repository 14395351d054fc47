"""What a sweep consists of: experiment → arms → trials with fingerprints. Pure: no disk, no clock, no randomness.

A `Plan` is made once from an experiment and handed on. Its sweep id says which MLflow parent run and which directory the trials
belong to. A trial's key is its fingerprint and phase: whatever has a result under its key is never run again.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

from core.errors import BadInput
from core.experiment import DEFAULT_ARM, FOUND_ARMS, TUNED_ARM, Experiment, LogUniform, OpenSearch
from core.fields import fingerprint, flatten, reads, replace_field
from core.rates import RATE, rate_of
from core.settings import Scalar, Trial
from core.states import Phase
from sweeps import identity
from sweeps.labels import labels

TUNE_SEED = 1_000  # one seed for all tuning trials of a sweep: arms and learning rates are compared on the same rows
USUAL_RATES = 5  # of the usual recipe beside an open search, and up to two more beyond an end
MOST_ARMS = 2_000  # assumption: beyond it nobody reads the table
Provenance = Mapping[str, str]
Inspect = Callable[[Trial], Provenance]


@dataclass(frozen=True)
class Arm:
    """One point of the grid: a label for people, the fields in which it differs from the base trial, and its tuning."""

    label: str
    overrides: Mapping[str, Scalar]
    tune: Mapping[str, LogUniform]
    grid: tuple[Mapping[str, float], ...] = ()  # the first tuning points


@dataclass(frozen=True)
class Repeated:
    """An arm that is not run, as another one is the same runs."""

    arm: Arm
    of: str  # the label of the arm that is run

    def __str__(self) -> str:
        return f"{self.arm.label}: the same runs as {self.of}, run once"


@dataclass(frozen=True)
class Job:
    """One trial to run: `number` is the tuning trial's number, or the index of the final seed."""

    arm: str
    phase: Phase
    number: int
    trial: Trial
    provenance: Provenance
    axes: tuple[str, ...]  # the fields that make the arms differ

    @functools.cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.trial, self.provenance)

    @functools.cached_property
    def key(self) -> str:
        return f"{self.fingerprint}-{self.phase}"

    @property
    def name(self) -> str:
        """What a person calls it: "lora r=16 seed 0", "lora r=16 tune 3"."""
        if self.phase is Phase.AGAIN:
            return f"{self.arm} tune again {self.number} on {self.trial.model.name}"
        return f"{self.arm} seed {self.trial.seed}" if self.phase is Phase.FINAL else f"{self.arm} tune {self.number}"


@dataclass(frozen=True)
class Plan:
    """Everything that follows from an experiment before any trial has run. `inspect` gives the hashes of what a trial reads."""

    experiment: Experiment
    inspect: Inspect
    arms: tuple[Arm, ...]  # that are run
    axes: tuple[str, ...]  # the fields in which arms differ, in the order in which the experiment names them
    repeated: tuple[Repeated, ...] = ()  # arms that are not run, as they are the same runs as others
    priors: Mapping[str, float] = field(default_factory=dict)  # an arm's label → the learning rate that is proposed first
    seeds_of: Mapping[str, int] = field(default_factory=dict)  # an arm's label → its final seeds, where it has not all
    most_seeds: int | None = None  # that an arm may come to have, where looks are planned

    @classmethod
    def of(cls, experiment: Experiment, inspect: Inspect) -> Plan:
        """The experiment's plan.

        Raises:
            BadInput: two arms are the same, a value is out of range, or seeds and tuning don't fit together.
        """
        plan = cls(experiment, _once(inspect), tuple(arms(experiment)), _axes(experiment))
        if plan.n_tuning and TUNE_SEED in experiment.seeds:
            raise BadInput(f"experiment {experiment.name}: seed {TUNE_SEED} is the tuning seed; choose another final seed")
        return plan

    def once(self, same: Mapping[str, str]) -> Plan:
        """The plan without arms that are the same runs as others; `same`: such an arm → the one that is run."""
        repeated = tuple(Repeated(arm, same[arm.label]) for arm in self.arms if arm.label in same)
        return dataclasses.replace(self, arms=tuple(arm for arm in self.arms if arm.label not in same), repeated=repeated)

    @functools.cached_property
    def n_tuning(self) -> int:
        of_search = sum(self.experiment.search.sizes()) if self.experiment.search else 0
        return of_search + sum(self.n_tuning_of(arm) + self.n_again_of(arm) for arm in self.arms)

    def n_tuning_of(self, arm: Arm) -> int:
        """How many tuning trials an arm has; a prior takes the place of a proposal, or is one more where there is none."""
        asked = 0 if not arm.tune else len(arm.grid) if self.experiment.search else self.experiment.tune_trials
        return asked + (self.prior_of(arm) is not None and asked == len(arm.grid))

    def n_again_of(self, arm: Arm) -> int:
        """How many trials choose between its best two settings on further bases."""
        return 2 * self.n_more_bases if arm.tune else 0

    @functools.cached_property
    def n_more_bases(self) -> int:
        """On how many bases beside the first the best settings run again: no more than there are."""
        return min(self.experiment.tune_again, self.experiment.n_bases - 1)

    @functools.cached_property
    def n_bases(self) -> int:
        """Over how many base models the seeds of an arm take turns; of the arms' numbers the least above one."""
        found = {len({self.trial(i, arm.overrides).model.name for i in range(self.cycle)}) for arm in self.arms}
        return min(found - {1}, default=1)

    def prior_of(self, arm: Arm) -> float | None:
        """The rate that a like sweep has found for this arm, if it is none of the grid and no further than the arm may go."""
        rate, space = self.priors.get(arm.label), arm.tune.get(RATE)
        if rate is None or space is None or len(arm.tune) > 1 or rate in [point[RATE] for point in arm.grid]:
            return None
        beyond = (space.high / space.low) ** (self.experiment.tune_beyond / (space.grid - 1))
        return rate if space.low / beyond <= rate <= space.high * beyond else None

    @property
    def n_beyond(self) -> int:
        """How many trials there may be beyond the ends of ranges, on all bases on which rates are chosen."""
        return self.experiment.tune_beyond * (1 + self.n_more_bases) * sum(rate_of(arm.tune) is not None for arm in self.arms)

    @property
    def n_final(self) -> int:
        return sum(map(self.n_seeds, self.arms))

    def n_seeds(self, arm: Arm) -> int:
        """How many final seeds an arm has."""
        return self.seeds_of.get(arm.label, len(self.experiment.seeds))

    @functools.cached_property
    def n_variants(self) -> int:
        """After how many seeds `with_seed` repeats itself."""
        return math.lcm(*(len(values) for values in self.experiment.with_seed.values()))

    @functools.cached_property
    def cycle(self) -> int:
        """After how many seeds `with_seed` and `drawn` repeat themselves."""
        return math.lcm(self.n_variants, *(len(models) for models in self.experiment.drawn.values()))

    @functools.cached_property
    def n_probed(self) -> int:
        """Of how many seeds the inputs differ: of no more than there are, or bases to tune on."""
        most = max(self.most_seeds or 0, len(self.experiment.seeds), 1 + self.experiment.tune_again)
        return min(self.cycle, most)

    @property
    def n_trials(self) -> int:
        return self.n_tuning + self.n_final

    @functools.cached_property
    def sweep(self) -> str:
        """Which sweep this is: 16 hexadecimal digits."""
        inputs = [self.inspect(self.trial(index, {})) for index in range(self.n_variants)]
        return identity.sweep_id(self.experiment, inputs)

    @functools.cached_property
    def probes(self) -> Mapping[Trial, str]:
        """One trial for every distinct input of the sweep, with the label of its arm, for checks and estimates: each arm, and
        each value of an open search, with each entry of `with_seed`."""
        settings = [(arm.label, arm.overrides) for arm in self.arms]
        for name, levels in self.experiment.search.space.items() if self.experiment.search else ():
            ends = levels if isinstance(levels, tuple) else (levels.low, levels.high)
            settings += [(f"{name}={value}", {name: value}) for value in ends]
        return {self.trial(index, setting): label for label, setting in settings for index in range(self.n_probed)}

    def trial(self, index: int, values: Mapping[str, Scalar]) -> Trial:
        """The base trial with these values, and with what seed number `index` takes from `with_seed`, the same in every arm, and
        from the models of its kind."""
        with_seed = {name: entries[index % len(entries)] for name, entries in self.experiment.with_seed.items()}
        trial = overridden(self.experiment.base, {**with_seed, **values})
        if "model.name" not in values or trial.model.name not in self.experiment.drawn:
            return trial
        kind = self.experiment.drawn[trial.model.name]
        return replace_field(trial, "model.name", kind[index % len(kind)])

    def tuning_job(self, arm: Arm, number: int, values: Mapping[str, Scalar]) -> Job:
        """Tuning trial `number` of an arm: the tuning seed, scored on the validation split."""
        return self._on_validation(arm, (Phase.TUNE, number), 0, values)

    def again_job(self, arm: Arm, number: int, values: Mapping[str, Scalar], index: int) -> Job:
        """A setting of an arm on the base of seed number `index`, else as it was tuned."""
        return self._on_validation(arm, (Phase.AGAIN, number), index, values)

    def _on_validation(self, arm: Arm, at: tuple[Phase, int], index: int, values: Mapping[str, Scalar]) -> Job:
        asked: dict[str, Scalar] = {"seed": TUNE_SEED, "evaluation.split": "validation"}
        trial = overridden(self.trial(index, {**arm.overrides, **values}), asked)
        return Job(arm.label, *at, trial, self.inspect(trial), self.axes)

    def final_job(self, arm: Arm, index: int, values: Mapping[str, Scalar]) -> Job:
        """The arm's chosen setting with final seed number `index`, scored on the test split."""
        asked: dict[str, Scalar] = {"seed": self.experiment.seeds[index], "evaluation.split": "test"}
        trial = overridden(self.trial(index, {**arm.overrides, **values}), asked)
        return Job(arm.label, Phase.FINAL, index, trial, self.inspect(trial), self.axes)


def _once(inspect: Inspect) -> Inspect:
    """What each input had in it when it was first looked at: a file that changes under a running sweep does not change the plan,
    and the trials refuse it."""
    known: dict[tuple[object, ...], Provenance] = {}
    read = operator.attrgetter("model", "prefer.method", *identity.PROVENANCE_OF)  # by whose content a trial's hashes are told

    def looked_at(trial: Trial) -> Provenance:
        inputs = read(trial)
        if inputs not in known:
            known[inputs] = inspect(trial)
        return known[inputs]

    return looked_at


def arms(experiment: Experiment) -> list[Arm]:
    """The full grid over `vary`, then the arms of `also`, but for those of `without`; every arm built once, so that a bad
    value is met here. Labels and order don't depend on what is left out: an arm that comes later has the same trials.
    Of an open search: its arms, whose settings are not known yet, and the usual recipe tuned."""
    if experiment.search:
        found = [Arm(label, {}, {}) for label in (DEFAULT_ARM, *FOUND_ARMS)]
        found += _usual_tuned(experiment.search, 2 if experiment.smoke else USUAL_RATES)
        return [arm for arm in found if arm.label not in experiment.without]
    if (n := math.prod(map(len, experiment.vary.values())) + len(experiment.also)) > MOST_ARMS:
        names = ", ".join(experiment.vary)
        raise BadInput(f"{names}: {n:,} arms; a sweep takes at most {MOST_ARMS:,}: give fewer levels", field=names)
    grid = [dict(zip(experiment.vary, levels, strict=True)) for levels in product(*experiment.vary.values())]
    settings: list[Mapping[str, Scalar]] = [*grid, *experiment.also]
    trials = [overridden(experiment.base, setting) for setting in settings]
    called = labels(trials, settings)
    found = []
    for label, setting, trial in zip(called, settings, trials, strict=True):
        tunable = [name for name in experiment.tune if name in flatten(trial) and name not in setting and reads(trial, name)]
        tuned = {name: experiment.space(name, trial) for name in tunable}
        found.append(Arm(label, dict(setting), tuned, _grid(tuned, experiment.tune_trials)))
    distinct = {(trial, tuple(arm.tune)) for arm, trial in zip(found, trials, strict=True)}
    if len(set(called)) != len(called) or len(distinct) != len(found):
        raise BadInput(f"experiment {experiment.name}: two arms are the same: {', '.join(called)}")
    return [arm for arm in found if arm.label not in experiment.without]


def _usual_tuned(search: OpenSearch, n_rates: int) -> list[Arm]:
    """The base trial with its learning rate tuned along the search's range, where it has one."""
    space = search.space.get(RATE)
    if not isinstance(space, LogUniform):
        return []
    tuned = {RATE: dataclasses.replace(space, grid=n_rates)}
    return [Arm(TUNED_ARM, {}, tuned, _grid(tuned, n_rates))]


def overridden(trial: Trial, overrides: Mapping[str, Scalar]) -> Trial:
    """The trial with several fields changed, the adapter's method first (its fields depend on it)."""
    for name in sorted(overrides, key=lambda field: field != "adapter.method"):
        trial = replace_field(trial, name, overrides[name])
    return trial


def _grid(tuned: Mapping[str, LogUniform], tune_trials: int) -> tuple[dict[str, float], ...]:
    """The first tuning points of an arm: evenly spaced on the log scale, the same in every arm, three significant digits.

    Raises:
        BadInput: fewer tuning trials than grid points would cover only the low end of the range.
    """
    if not tuned:
        return ()
    levels = []
    for space in tuned.values():
        step = math.log(space.high / space.low) / (space.grid - 1)
        levels.append([float(f"{space.low * math.exp(step * i):.3g}") for i in range(space.grid)])
    points = tuple(dict(zip(tuned, values, strict=True)) for values in product(*levels))
    if len(points) > tune_trials:
        raise BadInput(f"tune_trials={tune_trials}: must be at least the {len(points)} grid points of {', '.join(tuned)}")
    return points


def _axes(experiment: Experiment) -> tuple[str, ...]:
    searched = (*experiment.search.space, "train.epochs") if experiment.search else ()
    return tuple(dict.fromkeys([*experiment.vary, *(name for arm in experiment.also for name in arm), *searched]))
