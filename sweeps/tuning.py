"""Tuning inside one arm: a fixed grid, then Optuna's proposals, then the best setting with fresh seeds.

The first points of an arm are a fixed grid and may run at once; after them Optuna proposes one at a time, from the arm's
results in the order of their numbers, with a sampler seeded by arm and number.

Sampler: GP, measured by simulation (60 noisy asymmetric parabolas in log learning rate, 5 grid points, noise sd .005):
mean regret after 1 proposal .0020 against .0091 (TPE), .0094 (random); after 3, .0011 against .0047. A proposal takes 0.06 s.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.experiment import Experiment, LogUniform
from core.settings import Scalar
from sweeps import recipes
from sweeps.ledger import Outcome
from sweeps.plan import Arm, Inspect, Job, final_job, tuning_grid, tuning_job
from sweeps.proposals import Proposals

if TYPE_CHECKING:
    import optuna


Values = dict[str, float]


class ArmSearch:
    """One arm: its tuning trials by number, what is known of them, and its best setting."""

    def __init__(self, experiment: Experiment, arm: Arm, inspect: Inspect, proposals: Proposals) -> None:
        self.arm, self.experiment, self.inspect, self.proposals = arm, experiment, inspect, proposals
        self.fields = tuple(arm.tune)  # in which the tuning trials differ
        self.n_tune = experiment.tune_trials if arm.tune else 0
        self.points: list[Values] = tuning_grid(arm, self.n_tune)
        self.directions: list[Any] = ["maximize"]
        self.jobs: dict[tuple[str, int], Job] = {}
        self.outcomes: dict[str, Outcome] = {}

    def open_jobs(self) -> list[Job]:
        """The jobs that are known by now and have no outcome yet, in order."""
        return [job for job in self.known_jobs() if job.key not in self.outcomes]

    def known_jobs(self) -> list[Job]:
        """Every job known by now. Asks for the next proposal when all earlier tuning trials are done."""
        tuning = [self._tuning(number) for number in range(len(self.points))]
        while all(job.key in self.outcomes for job in tuning):
            if len(tuning) == self.n_tune:
                return tuning + self._finals()
            self.points.append(self._propose(len(tuning)))
            tuning.append(self._tuning(len(tuning)))
        return tuning

    def best(self) -> Mapping[str, Scalar] | None:
        """The setting with the highest quality on validation; {} without tuning, None if every tuning trial failed."""
        if not self.n_tune:
            return {}
        tried = [self.outcomes[self._tuning(number).key] for number in range(self.n_tune)]
        scored = [
            (found.quality, -number) for number, found in enumerate(tried) if not found.failed and found.quality is not None
        ]
        return dict(self.points[-max(scored)[1]]) if scored else None

    def tuned(self) -> bool:
        """Whether tuning is over."""
        return len(self.points) == self.n_tune and all(self._tuning(n).key in self.outcomes for n in range(self.n_tune))

    def hopeless(self) -> bool:
        """Whether tuning is over and no setting worked: there is nothing to run with fresh seeds."""
        return self.tuned() and self.best() is None

    def omitted(self) -> int:
        """How many trials of the plan there is nothing to run for."""
        return 0

    def told(self, job: Job, outcome: Outcome) -> optuna.trial.FrozenTrial:
        """A tuning trial as Optuna keeps it."""
        import optuna

        scored = not outcome.failed and outcome.quality is not None
        state = optuna.trial.TrialState.COMPLETE if scored else optuna.trial.TrialState.FAIL
        value, space = outcome.quality if scored else None, _space(self.arm)
        return optuna.trial.create_trial(state=state, params=dict(self.points[job.number]), distributions=space, value=value)

    def _tuning(self, number: int) -> Job:
        at = ("tune", number)
        if at not in self.jobs:
            self.jobs[at] = tuning_job(self.experiment, self.arm, number, self.points[number], self.inspect)
        return self.jobs[at]

    def _finals(self) -> list[Job]:
        best = self.best()
        if best is None:
            return []
        for index in range(len(self.experiment.seeds)):
            if ("final", index) not in self.jobs:
                self.jobs["final", index] = final_job(self.experiment, self.arm, index, best, self.inspect)
        return [self.jobs["final", index] for index in range(len(self.experiment.seeds))]

    def _propose(self, number: int) -> Values:
        """The setting of tuning trial `number`, from trials 0 … number - 1."""
        scored = self._scored()
        space = {name: [levels.low, levels.high] for name, levels in self.arm.tune.items()}
        basis = {"arm": self.arm.label, "number": number, "space": space, "tried": self.points, "scored": scored}
        (values,) = self.proposals.get("optuna", basis, lambda: [self._ask(number, scored)])
        return {name: float(str(value)) for name, value in values.items()}

    def _scored(self) -> list[tuple[Values, float]]:
        """The settings that say something, each with its quality."""
        found = [(values, self.outcomes[self._tuning(n).key]) for n, values in enumerate(self.points)]
        qualities = [one.quality for _, one in found if not one.failed and one.quality is not None]
        scored = []
        for values, one in found:
            if one.failed and not (one.state == "diverged" and qualities):
                continue  # a crash says nothing about the setting
            quality = min(qualities) if one.failed else one.quality  # diverged: as bad as the worst seen
            if quality is not None:
                scored.append((values, quality))
        return scored

    def _ask(self, number: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Optuna's proposal for tuning trial `number`."""
        import optuna  # with torch two seconds: only where nothing is recorded

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed, space = recipes.seed_of(self.arm.label, number), _space(self.arm)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GPSampler(seed=seed, n_startup_trials=0))
        for values, quality in scored:
            study.add_trial(optuna.trial.create_trial(params=dict(values), distributions=space, value=quality))
        return self._new(self._inside(study.ask(space).params), random.Random(seed))

    def _new(self, proposed: Values, rng: random.Random) -> Values:
        """The proposal, or where it was tried already, another setting."""
        if proposed in self.points:  # half-way to the nearest other point teaches more
            other = min((point for point in self.points if point != proposed), key=lambda point: _distance(point, proposed))
            proposed = self._inside({name: math.sqrt(value * other[name]) for name, value in proposed.items()})
        while proposed in self.points:
            drawn = {name: levels.low * (levels.high / levels.low) ** rng.random() for name, levels in self.arm.tune.items()}
            proposed = self._inside(drawn)
        return proposed

    def _inside(self, values: Values) -> Values:
        """In the range, with three significant digits: what a person can read and type again."""
        return {name: recipes.rounded(self.arm.tune[name], value) for name, value in values.items()}


def _distance(one: Values, two: Values) -> float:
    return sum(math.log(one[name] / two[name]) ** 2 for name in one)


def _space(arm: Arm) -> dict[str, Any]:
    return {name: distribution(space) for name, space in arm.tune.items()}


def distribution(space: LogUniform) -> optuna.distributions.FloatDistribution:
    """The range as Optuna has it: three significant digits may round a point just past its end."""
    from optuna.distributions import FloatDistribution

    return FloatDistribution(space.low * 0.99, space.high * 1.01, log=True)
