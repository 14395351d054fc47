"""Which trial runs next: tuning inside each arm (sweeps/tuning.py), then the arm's best setting with fresh seeds. An open search
has other parts (sweeps/halving.py), handed out in the same way.

Results do not depend on timing or on interruption: what runs next follows from outcomes alone, so replaying the finished trials
of an interrupted sweep gives the same search.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.states import Phase
from sweeps import halving
from sweeps.ledger import Outcome
from sweeps.parts import Part
from sweeps.plan import Job, Plan
from sweeps.proposals import Proposals
from sweeps.studies import StudyRecord
from sweeps.tuning import TunedArm


def parts(plan: Plan, proposals: Proposals) -> list[Part]:
    """What a search consists of: a part for each arm; of an open search one for each rung and one for each arm."""
    if plan.experiment.search:
        return halving.parts(plan, plan.experiment.search, proposals)
    return [TunedArm(plan, arm, proposals) for arm in plan.arms]


class Search:
    """All arms of a sweep: hands out jobs in a fair order and takes their outcomes. `known` holds outcomes by the jobs' keys,
    `studies` is the file of the record of studies, if there shall be one."""

    def __init__(
        self, plan: Plan, known: Mapping[str, Outcome], proposals: Proposals | None = None, studies: Path | None = None
    ) -> None:
        self.plan = plan
        self.parts = parts(plan, proposals or Proposals())
        self.known, self.running = dict(known), set[str]()
        self.record = StudyRecord(studies, plan.sweep) if studies and plan.n_tuning else None
        for part in self.parts:
            self._replay(part)

    def next(self) -> Job | None:
        """The next job that may start now: tuning first, then the lowest number, arms in turn."""
        open_jobs = [
            (job.phase is Phase.FINAL, job.number, place, job)
            for place, part in enumerate(self.parts)
            for job in part.open_jobs()
            if job.key not in self.running
        ]
        if not open_jobs:
            return None
        job = min(open_jobs, key=lambda entry: entry[:3])[3]
        self.running.add(job.key)
        return job

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Takes a job's outcome; arms that have the same trial share it."""
        self.running.discard(job.key)
        self.known[job.key] = outcome
        for part in self.parts:
            self._replay(part)

    def finished(self) -> bool:
        return not self.running and not any(part.open_jobs() for part in self.parts)

    def jobs(self) -> list[Job]:
        """Every job known by now, done or not."""
        return [job for part in self.parts for job in part.known_jobs()]

    def outcome(self, job: Job) -> Outcome | None:
        return self.known.get(job.key)

    def done(self) -> list[tuple[Job, Outcome]]:
        """Every job that has an outcome."""
        return [(job, outcome) for job in self.jobs() if (outcome := self.outcome(job)) is not None]

    def n_planned(self) -> int:
        """How many trials the plan has, but for those for which there is nothing to run."""
        return self.plan.n_trials - sum(part.n_not_run() for part in self.parts)

    def close(self) -> int:
        """Ends the record of studies; how many tuning trials it still lacks (the next run of the sweep adds them)."""
        return self.record.close() if self.record else 0

    def _replay(self, part: Part) -> None:
        """Hands a part what is already known of its jobs; each answer may bring new jobs into view."""
        while answered := [job for job in part.open_jobs() if job.key in self.known]:
            for job in answered:
                part.outcomes[job.key] = self.known[job.key]
                if self.record and job.phase is Phase.TUNE:
                    self.record.add(part, job, self.known[job.key])
