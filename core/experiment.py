"""What an experiment is: a question, what varies, what is tuned or searched, seeds and claims. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from core.errors import BadInput, nearest
from core.fields import flatten, parse_value, replace_field
from core.optimizers import usual_rates
from core.rates import RATE, rounded
from core.settings import Scalar, Trial


@dataclass(frozen=True)
class LogUniform:
    """A search range on a log scale. The first `grid` tuning trials are the same evenly spaced points in every arm,
    so that arms can be compared along the range; Optuna proposes the rest."""

    low: float
    high: float
    grid: int = 5

    def __post_init__(self) -> None:
        if not (0 < self.low < self.high and self.grid >= 2):
            raise BadInput(f"search range {self.low}..{self.high} with grid={self.grid}: needs 0 < low < high and grid >= 2")


Space = Mapping[str, LogUniform | tuple[Scalar, ...]]  # field → a range, or levels
DEFAULT_ARM = "default recipe"  # the base trial as it is
HIGHEST_RATE = 9.9  # at which an optimizer is tried: a trial takes rates below MOST_RATE
FEW_ITEMS = 10  # an interval over fewer items says nothing about new ones: no claim is judged on them
TUNED_ARM = "usual recipe, tuned"  # the same beside an open search: its rate tuned, at the steps of the best that was found
FOUND_ARMS = ("best quality", "knee", "least forgetting")  # what a search brings to the test split


@dataclass(frozen=True, kw_only=True)
class OpenSearch:
    """A search over many fields at once for the best trade-off: quality up, forgetting down.

    Successive halving on tokens, in the synchronous form: all `configurations` train with `rungs[0]` of their own epochs, hence
    of their tokens, each from scratch and with a schedule of that length; one in `reduction` of them goes on to the next rung,
    and the last rung is the whole training. The first `startup` configurations fill the space evenly, the others are proposed
    `batch` at a time from what is known. What gains less than `least_gain` of the best gain in quality is no trade-off: one
    forgets nothing by learning nothing.
    """

    space: Space
    configurations: int
    startup: int
    batch: int
    rungs: tuple[float, ...] = (1 / 9, 1 / 3, 1.0)
    reduction: int = 3
    least_gain: float = 0.5

    def __post_init__(self) -> None:
        sizes, rungs = self.sizes(), self.rungs
        one = next((name for name, levels in self.space.items() if isinstance(levels, tuple) and len(set(levels)) < 2), None)
        levels = [len(levels) for levels in self.space.values() if isinstance(levels, tuple)]
        n_points = math.prod(levels) if len(levels) == len(self.space) else self.configurations
        checks = (
            ("space", "space: must have a field", bool(self.space)),
            (one, f"{one}: needs two different levels, or a range", one is None),
            ("rungs", f"rungs={rungs}: must rise from above 0 to 1", rungs == tuple(sorted({*rungs, 1})) and rungs[0] > 0),
            ("rungs", f"rungs={rungs}: two of them have one label, of {', '.join(self.labels())}",
             len(set(self.labels())) == len(rungs)),
            ("reduction", f"reduction={self.reduction}: must be at least 2", self.reduction >= 2),
            ("startup", f"startup={self.startup}: must be at least 1 and at most configurations={self.configurations}",
             1 <= self.startup <= self.configurations),
            ("batch", f"batch={self.batch}: must be at least 1", self.batch >= 1),
            ("least_gain", f"least_gain={self.least_gain}: must be at least 0 and below 1", 0 <= self.least_gain < 1),
            ("configurations", f"configurations={self.configurations}: the space has only {n_points}",
             self.configurations <= n_points),
            ("configurations", f"configurations={self.configurations}: too few for {len(rungs)} rungs", all(sizes)),
        )  # fmt: skip
        for name, text, right in checks:
            if not right:
                raise BadInput(f"search: {text}", field=name or "")

    def sizes(self) -> list[int]:
        """How many configurations train at each rung."""
        return [self.configurations // max(self.reduction, 1) ** i for i in range(len(self.rungs))]

    def labels(self) -> list[str]:
        """What people call the rungs: "rung 1/9", …, "rung 1"."""
        return [f"rung {Fraction(share).limit_denominator(100)}" for share in self.rungs]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published effect and where it stands."""

    effect: str
    source: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the literature that the experiment's analysis judges: supported, contradicted or undecided."""

    id: str  # what it says, in words: "lora_forgets_less_at_equal_quality"
    statement: str
    published: Published


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question: a base trial, what varies (a full grid), what is tuned inside each arm, and the seeds.

    `also` adds arms beside the grid, each a set of dotted overrides of the base. `with_seed` gives fields a value per
    seed (seed i takes entry i modulo the length), the same in every arm, so that arms stay paired. `drawn` does so for the model
    of an arm that stands for its kind: where arms differ in the size of the base. `without` names arms
    that are left out, by their labels. With `search` there is no grid: the arms are what it finds, and the base beside them.
    `rates` has the range of the learning rate of models that are not the laboratory's, by model and method (sweeps/moved.py).
    """

    name: str
    question: str
    base: Trial
    vary: Mapping[str, tuple[Scalar, ...]]
    also: tuple[Mapping[str, Scalar], ...] = ()
    tune: Mapping[str, LogUniform] = field(default_factory=dict)
    tune_trials: int = 0
    tune_again: int = 0  # on how many further bases (entries of `with_seed` and `drawn`) the best two settings run again
    tune_beyond: int = 2  # more tuning trials of an arm, at most, while its best learning rate is an end of those tried
    rates: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    rate_times: Mapping[str, float] = field(default_factory=dict)  # method → its range of the learning rate over that of `tune`
    # Optimizer → its range of the learning rate over AdamW's, in every question; empty where the user has set the range.
    optimizer_times: Mapping[str, float] = field(default_factory=usual_rates)
    seeds: tuple[int, ...] = (0, 1, 2)
    with_seed: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    drawn: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # model → those of its kind, of which a seed takes one
    without: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    search: OpenSearch | None = None
    smoke: bool = False  # so small that it shows that the road works and nothing else: what it finds is not learnt from
    laboratory_only: bool = False  # its arms need what only the laboratory has: its corpus, its facts, its own questions

    def __post_init__(self) -> None:
        for name in (*self.vary, *self.tune, *self.with_seed, *(self.search.space if self.search else ())):
            if name not in flatten(self.base):
                raise BadInput(f"experiment {self.name}: {name}: {nearest(name, list(flatten(self.base)))}", field=name)
        for name, entries in {**self.with_seed, **self.drawn}.items():
            if not entries:
                raise BadInput(f"experiment {self.name}: {name}: nothing for seeds to take turns over", field=name)
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise BadInput(f"experiment {self.name}: seeds={self.seeds}: must be distinct and at least one", field="seeds")
        if bool(self.tune) != (self.tune_trials > 0):
            raise BadInput(
                f"experiment {self.name}: tune_trials={self.tune_trials} must go with tune={dict(self.tune)}", field="tune_trials"
            )
        if self.tune_again < 0 or (self.tune_again and not self.tune):
            raise BadInput(
                f"experiment {self.name}: tune_again={self.tune_again}: must be at least 0, 0 without tune",
                field="tune_again",
            )
        if self.search:
            self._check_search(self.search)

    @property
    def n_bases(self) -> int:
        """Over how many base models seeds take turns, at most; 1: there is one alone."""
        return max(1, len(self.with_seed.get("model.name", ())), *map(len, self.drawn.values()))

    def space(self, name: str, trial: Trial) -> LogUniform:
        """The range in which a tuned field is searched in an arm with this trial's model, method and optimizer."""
        space, method = self.tune[name], trial.adapter.method
        if name != RATE:
            return space
        times = self.optimizer_times.get(trial.train.optimizer, 1.0)
        if moved := self.rates.get((trial.model.name, method)):
            space = LogUniform(*moved, space.grid)
        else:
            times *= self.rate_times.get(method, 1.0)
        if times == 1.0:
            return space
        return LogUniform(rounded(space.low * times), min(rounded(space.high * times), HIGHEST_RATE), space.grid)

    def _check_search(self, search: OpenSearch) -> None:
        """Every value that the search may try can be set, and nothing else decides it."""
        taken = {*self.vary, *self.tune, *(name for arm in self.also for name in arm)}
        if taken:
            text = f"with search there is no vary, also or tune ({', '.join(sorted(taken))})"
            raise BadInput(f"experiment {self.name}: {text}", field=min(taken))
        fixed = {"train.steps", "seed", "evaluation.split", "adapter.method", *self.with_seed} & set(search.space)
        if fixed or self.base.train.steps is not None:
            name = min(fixed, default="train.steps")
            raise BadInput(
                f"experiment {self.name}: {name}: cannot be searched or set; the rungs share out train.epochs", field=name
            )
        for name, levels in search.space.items():
            ends = levels if isinstance(levels, tuple) else (levels.low, levels.high)
            for value in ends:  # a range of a field of whole numbers is refused by `parse_value`
                replace_field(self.base, name, value if ends is levels else parse_value(self.base, name, str(float(str(value)))))
