"""Which trial runs next: tuning inside each arm (sweeps/tuning.py), then the arm's best setting with fresh seeds. An open search
has other parts (sweeps/halving.py), handed out in the same way.

Results do not depend on timing or on interruption: what runs next follows from outcomes alone, so replaying the finished trials
of an interrupted sweep gives the same search.
"""

from __future__ import annotations

import heapq
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
        self.waiting: list[tuple[bool, int, int, Job]] = []  # a heap of what came into view, in the order in which it may start
        self.places: dict[str, list[int]] = {}  # key → the parts that have this job
        for place in range(len(self.parts)):
            self._look(place)

    def next(self) -> Job | None:
        """The next job that may start now: tuning first, then the lowest number, arms in turn."""
        while self.waiting:
            job = heapq.heappop(self.waiting)[-1]
            if job.key not in self.known and job.key not in self.running:
                self.running.add(job.key)
                return job
        return None

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Takes a job's outcome; arms that have the same trial share it."""
        self.running.discard(job.key)
        self.known[job.key] = outcome
        # an arm follows from its own trials alone; of an open search each part follows from the others
        for place in range(len(self.parts)) if self.plan.experiment.search else self.places.get(job.key, ()):
            self._look(place)

    def finished(self) -> bool:
        while self.waiting and self.waiting[0][-1].key in self.known:
            heapq.heappop(self.waiting)
        return not self.running and not self.waiting

    def jobs(self) -> list[Job]:
        """Every job known by now, done or not."""
        return [job for part in self.parts for job in part.known_jobs()]

    def outcome(self, job: Job) -> Outcome | None:
        return self.known.get(job.key)

    def done(self) -> list[tuple[Job, Outcome]]:
        """Every job that has an outcome."""
        return [(job, outcome) for job in self.jobs() if (outcome := self.outcome(job)) is not None]

    def n_planned(self) -> int:
        """How many trials the plan has, with those that came beyond it, but for those for which there is nothing to run."""
        return self.plan.n_trials + sum(part.n_more() - part.n_not_run() for part in self.parts)

    def close(self) -> int:
        """Ends the record of studies; how many tuning trials it still lacks (the next run of the sweep adds them)."""
        return self.record.close() if self.record else 0

    def _look(self, place: int) -> None:
        """Hands a part what is already known of its jobs; each answer may bring new jobs into view, which then wait."""
        part = self.parts[place]
        in_view = part.open_jobs()
        while answered := [job for job in in_view if job.key in self.known]:
            for job in answered:
                part.outcomes[job.key] = self.known[job.key]
                if self.record and job.phase is Phase.TUNE:
                    self.record.add(part, job, self.known[job.key])
            in_view = part.open_jobs()
        for job in in_view:
            places = self.places.setdefault(job.key, [])
            if place not in places:
                places.append(place)
                heapq.heappush(self.waiting, (job.phase is Phase.FINAL, job.number, place, job))
