"""A part of a search: an arm that is tuned, a rung of an open search, or an arm that an open search finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from core.settings import Scalar
from core.states import Phase
from sweeps.ledger import Outcome
from sweeps.plan import Arm, Job, Plan

Setting = Mapping[str, Scalar]  # field → the value that was tuned or searched
Direction = Literal["maximize", "minimize"]


class Part(ABC):
    """The jobs of one arm or rung, as they come into view, and what is known of them."""

    directions: tuple[Direction, ...] = ("maximize",)  # of the objectives

    def __init__(self, plan: Plan, arm: Arm, fields: tuple[str, ...], n_tune: int) -> None:
        self.plan, self.arm = plan, arm
        self.fields = fields  # in which the settings differ
        self.n_tune, self.n_again, self.n_final = n_tune, 0, plan.n_seeds(arm)
        self.jobs: dict[tuple[Phase, int], Job] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.finals: list[Job] = []  # once the setting is known

    @abstractmethod
    def known_jobs(self) -> list[Job]:
        """Every job known by now, done or not, in order."""

    @abstractmethod
    def tuned(self) -> bool:
        """Whether every trial that chooses the setting is over."""

    @abstractmethod
    def best(self) -> Setting | None:
        """The setting for fresh seeds; {} where the base's own is used, None where none is known."""

    def open_jobs(self) -> list[Job]:
        """The jobs that are known by now and have no outcome yet."""
        return [job for job in self.known_jobs() if job.key not in self.outcomes]

    def has_no_setting(self) -> bool:
        """Whether tuning is over and no setting worked: there is nothing to run with fresh seeds."""
        return self.tuned() and self.best() is None

    def n_not_run(self) -> int:
        """How many trials of the plan there is nothing to run for."""
        return 0

    def n_more(self) -> int:
        """How many trials there are beyond those of the plan."""
        return 0

    # What the record of studies (sweeps/studies.py) holds of a tuning trial

    def setting(self, number: int) -> Setting:
        """The setting of tuning trial `number`."""
        return {}

    def distributions(self) -> dict[str, Any]:
        """The space of the settings, in Optuna's classes."""
        return {}

    def objectives(self, outcome: Outcome) -> tuple[float, ...] | None:
        """What is maximized or minimized, as `directions` says; None of a trial without it."""
        return None

    # For subclasses

    def _tuning_job(self, number: int, values: Setting) -> Job:
        at = (Phase.TUNE, number)
        if at not in self.jobs:
            self.jobs[at] = self.plan.tuning_job(self.arm, number, values)
        return self.jobs[at]

    def _again_job(self, number: int, values: Setting, index: int) -> Job:
        at = (Phase.AGAIN, number)
        if at not in self.jobs:
            self.jobs[at] = self.plan.again_job(self.arm, number, values, index)
        return self.jobs[at]

    def _final_jobs(self) -> list[Job]:
        """The best setting with each seed, once it is known."""
        if not self.finals and (best := self.best()) is not None:
            self.finals = [self.plan.final_job(self.arm, index, best) for index in range(self.n_final)]
            self.jobs |= {(Phase.FINAL, job.number): job for job in self.finals}
        return list(self.finals)
