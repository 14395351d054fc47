"""Which trial runs next: tuning inside each arm (sweeps/tuning.py), then the arm's best setting with fresh seeds. An open search
has other parts (sweeps/halving.py), handed out in the same way.

Results do not depend on timing or on interruption: what runs next follows from outcomes alone, so replaying the finished trials
of an interrupted sweep gives the same search.
"""

from __future__ import annotations

from pathlib import Path

from core.experiment import Experiment
from sweeps.ledger import Outcome
from sweeps.plan import Inspect, Job, arms
from sweeps.proposals import Proposals
from sweeps.studies import StudyRecord
from sweeps.tuning import ArmSearch


def parts(experiment: Experiment, inspect: Inspect, proposals: Proposals) -> list[ArmSearch]:
    """What a search consists of: a part for each arm; of an open search one for each rung and one for each arm."""
    if experiment.search:
        from sweeps import halving

        return halving.parts(experiment, experiment.search, inspect, proposals)
    return [ArmSearch(experiment, arm, inspect, proposals) for arm in arms(experiment)]


class Search:
    """All arms of a sweep: hands out jobs in a fair order and takes their outcomes."""

    def __init__(
        self,
        experiment: Experiment,
        inspect: Inspect,
        sweep: str,
        known: dict[str, Outcome],
        studies: Path | None,
        proposals: Proposals | None = None,
    ) -> None:
        self.parts = parts(experiment, inspect, proposals or Proposals())
        self.known, self.running = dict(known), set[str]()
        self.record = StudyRecord(studies, sweep) if studies and (experiment.tune or experiment.search) else None
        for part in self.parts:
            self._replay(part)

    def next(self) -> Job | None:
        """The next job that may start now: lowest number first, arms in turn."""
        open_jobs = [
            (job.phase == "final", job.number, place, job)
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

    def close(self) -> int:
        """Ends the record of studies; how many tuning trials it still lacks (the next run of the sweep adds them)."""
        return self.record.close() if self.record else 0

    def _replay(self, part: ArmSearch) -> None:
        """Hands an arm what is already known of its jobs; each answer may bring new jobs into view."""
        while answered := [job for job in part.open_jobs() if job.key in self.known]:
            for job in answered:
                part.outcomes[job.key] = self.known[job.key]
                if self.record and job.phase == "tune":
                    self.record.add(part, job, self.known[job.key])
