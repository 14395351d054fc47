"""The tuning trials as Optuna studies on disk (optuna.db, one study for each arm).

A record for people and Optuna's own tools; it never holds a trial that is running, and the search does not read it. So
nothing that is wrong with the file stops a sweep.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import one_line
from core.tracking import sqlite_uri
from sweeps.ledger import Outcome
from sweeps.parts import Part
from sweeps.plan import Job

if TYPE_CHECKING:
    import optuna

BUSY_SECONDS = 1  # Optuna waits for a locked file several times over: 6 s in all, measured
REST_SECONDS = 60  # after which a busy file is tried again


class StudyRecord:
    """The arms' tuning trials as Optuna studies in one SQLite file (SQLite leaves no stale lock after kill -9)."""

    def __init__(self, path: Path, sweep: str) -> None:
        self.path, self.sweep = path, sweep
        self.waiting: deque[tuple[Part, Job, Outcome]] = deque()
        self.storage: Any = None
        self.rests_until = 0.0
        self.reason = ""  # why the last write failed
        self.studies: dict[str, tuple[optuna.Study, set[str]]] = {}

    def add(self, part: Part, job: Job, outcome: Outcome) -> None:
        """Adds a finished tuning trial; while the file is busy (a dashboard reads it), trials wait for a later one."""
        self.waiting.append((part, job, outcome))
        if time.monotonic() >= self.rests_until:
            self._flush()

    def close(self) -> int:
        """Writes what waits, if that is possible now; how many trials the record still lacks."""
        self._flush()
        if self.storage is not None:
            with suppress(Exception):
                self.storage.remove_session()
                self.storage.engine.dispose()
        return len(self.waiting)

    def _flush(self) -> None:
        if not self.waiting:
            return
        try:
            while self.waiting:
                self._write(*self.waiting[0])
                self.waiting.popleft()
        except Exception as error:  # busy, full, read-only, of another Optuna, or no database: it is only a record
            self.reason = one_line(error)
            self.rests_until = time.monotonic() + REST_SECONDS
            self.studies.clear()

    def _write(self, part: Part, job: Job, outcome: Outcome) -> None:
        study, present = self._study(part)
        label = f"{job.key} {outcome.state}"
        if label not in present:
            study.add_trial(_frozen(part, job, outcome, label))
            present.add(label)

    def _study(self, part: Part) -> tuple[optuna.Study, set[str]]:
        """The part's study, and the labels of the trials that it holds."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self.storage is None:
            waits = {"connect_args": {"timeout": BUSY_SECONDS}}
            self.storage = optuna.storages.RDBStorage(sqlite_uri(self.path), engine_kwargs=waits)
        if part.arm.label not in self.studies:
            name, directions = f"{self.sweep} {part.arm.label}", list(part.directions)
            study = optuna.create_study(storage=self.storage, study_name=name, directions=directions, load_if_exists=True)
            self.studies[part.arm.label] = (study, {trial.user_attrs.get("label", "") for trial in study.trials})
        return self.studies[part.arm.label]


def _frozen(part: Part, job: Job, outcome: Outcome, label: str) -> optuna.trial.FrozenTrial:
    """A tuning trial as Optuna keeps it."""
    import optuna

    values = part.objectives(outcome)
    state = optuna.trial.TrialState.FAIL if values is None else optuna.trial.TrialState.COMPLETE
    params, space = dict(part.setting(job.number)), part.distributions()
    attributes = {"fingerprint": job.fingerprint, "number": job.number, "state": str(outcome.state), "reason": outcome.reason}
    return optuna.trial.create_trial(
        state=state, params=params, distributions=space, values=values, user_attrs={**attributes, "label": label}
    )
