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

from core.experiment import LogUniform
from core.states import State
from sweeps import recipes
from sweeps.ledger import Outcome
from sweeps.parts import Part, Setting
from sweeps.plan import Arm, Job, Plan
from sweeps.proposals import Proposals

if TYPE_CHECKING:
    import optuna

Point = Mapping[str, float]  # one tuned setting
Scored = Sequence[tuple[Point, float]]  # settings and their quality


class TunedArm(Part):
    """One arm: its tuning trials by number, what is known of them, and its best setting."""

    def __init__(self, plan: Plan, arm: Arm, proposals: Proposals) -> None:
        super().__init__(plan, arm, tuple(arm.tune), plan.experiment.tune_trials if arm.tune else 0)
        self.proposals = proposals
        self.points: list[Point] = list(arm.grid)

    def known_jobs(self) -> list[Job]:
        """Every job known by now. Asks for the next proposal when all earlier tuning trials are done."""
        tuning = [self._tuning(number) for number in range(len(self.points))]
        while all(job.key in self.outcomes for job in tuning):
            if len(tuning) == self.n_tune:
                return tuning + self._final_jobs()
            self.points.append(self._propose(len(tuning)))
            tuning.append(self._tuning(len(tuning)))
        return tuning

    def best(self) -> Setting | None:
        """The setting with the highest quality on validation; {} without tuning, None if every tuning trial failed."""
        if not self.n_tune:
            return {}
        tried = [self.outcomes[self._tuning(number).key] for number in range(self.n_tune)]
        scored = [
            (found.quality, -number) for number, found in enumerate(tried) if not found.failed and found.quality is not None
        ]
        return dict(self.points[-max(scored)[1]]) if scored else None

    def tuned(self) -> bool:
        return len(self.points) == self.n_tune and all(self._tuning(n).key in self.outcomes for n in range(self.n_tune))

    def setting(self, number: int) -> Setting:
        return self.points[number]

    def distributions(self) -> dict[str, Any]:
        return {name: distribution(space) for name, space in self.arm.tune.items()}

    def objectives(self, outcome: Outcome) -> tuple[float, ...] | None:
        return None if outcome.failed or outcome.quality is None else (outcome.quality,)

    def _tuning(self, number: int) -> Job:
        return self._tuning_job(number, self.points[number])

    def _propose(self, number: int) -> Point:
        """The setting of tuning trial `number`, from trials 0 … number - 1."""
        scored = self._scored()
        space = [[name, levels.low, levels.high] for name, levels in self.arm.tune.items()]
        basis = {"sampler": "GP", "arm": self.arm.label, "number": number, "space": space}
        basis |= {"tried": self.points, "scored": scored}
        (values,) = self.proposals.get("optuna", basis, lambda: [self._ask(number, scored)])
        return {name: float(str(value)) for name, value in values.items()}

    def _scored(self) -> Scored:
        """The settings that say something, each with its quality."""
        found = [(values, self.outcomes[self._tuning(n).key]) for n, values in enumerate(self.points)]
        qualities = [one.quality for _, one in found if not one.failed and one.quality is not None]
        scored = []
        for values, one in found:
            if one.failed and not (one.state is State.DIVERGED and qualities):
                continue  # a crash says nothing about the setting
            quality = min(qualities) if one.failed else one.quality  # diverged: as bad as the worst seen
            if quality is not None:
                scored.append((values, quality))
        return scored

    def _ask(self, number: int, scored: Scored) -> Point:
        """Optuna's proposal for tuning trial `number`."""
        import optuna  # with torch two seconds: only where nothing is recorded

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed, space = recipes.seed_of(self.arm.label, number), self.distributions()
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GPSampler(seed=seed, n_startup_trials=0))
        for values, quality in scored:
            study.add_trial(optuna.trial.create_trial(params=dict(values), distributions=space, value=quality))
        return self._new(self._inside(study.ask(space).params), random.Random(seed))

    def _new(self, proposed: Point, rng: random.Random) -> Point:
        """The proposal, or where it was tried already, another setting."""
        if proposed in self.points:  # half-way to the nearest other point teaches more
            other = min((point for point in self.points if point != proposed), key=lambda point: _distance(point, proposed))
            proposed = self._inside({name: math.sqrt(value * other[name]) for name, value in proposed.items()})
        while proposed in self.points:
            drawn = {name: levels.low * (levels.high / levels.low) ** rng.random() for name, levels in self.arm.tune.items()}
            proposed = self._inside(drawn)
        return proposed

    def _inside(self, values: Point) -> Point:
        """In the range, with three significant digits: what a person can read and type again."""
        return {name: recipes.rounded(self.arm.tune[name], value) for name, value in values.items()}


def _distance(one: Point, two: Point) -> float:
    return sum(math.log(one[name] / two[name]) ** 2 for name in one)


def distribution(space: LogUniform) -> optuna.distributions.FloatDistribution:
    """The range as Optuna has it: three significant digits may round a point just past its end."""
    from optuna.distributions import FloatDistribution

    return FloatDistribution(space.low * 0.99, space.high * 1.01, log=True)
