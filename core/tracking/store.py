"""What a running sweep writes: one parent run, one child for each trial.

Only the process that drives a sweep writes, through `Store`. A trial's run is found by its tags before it is created, so that a
sweep that was killed at any line and is repeated has every run once. The trial's folder on disk stays the record: a store
that is away loses nothing, and what was deleted there is written anew.

Under each key stands one run. A result with the same items and scores is not logged twice, whichever directory it comes from;
another result takes the older one's place.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadInput
from core.result import FILE, GENERATIONS, Result

if TYPE_CHECKING:
    from mlflow.entities import Run
from core.tracking import claims, entries, live, views
from core.tracking.connection import (
    ARM,
    DIGEST,
    FILE_DIGEST,
    FOLDER,
    KEY,
    KIND,
    LAST_RUN,
    NOTE,
    PARENT,
    PHASE,
    SUPERSEDED,
    SWEEP,
    arm_of,
    client,
    log_batch,
    search_runs,
)
from core.tracking.entries import TrialRecord
from core.tracking.live import LIVE, LiveRuns, Running
from core.tracking.sqlite import artifacts_of, opening
from core.tracking.uri import check_uri

Stale = Callable[[str, str, str, Mapping[str, str]], bool]  # arm, phase, key, parameters of a logged trial


@dataclass(frozen=True)
class _Logged:
    """A trial's run in the store."""

    run_id: str
    digest: str
    file_digest: str
    status: str
    phase: str
    folder: Path  # of the trial, when it was logged
    was_live: bool  # it has had points while the trial was running

    @classmethod
    def of(cls, run: Run) -> _Logged:
        tags = run.data.tags
        folder = Path(tags.get(FOLDER, ""))
        digests = tags.get(DIGEST, ""), tags.get(FILE_DIGEST, "")
        return cls(run.info.run_id, *digests, run.info.status, tags.get(PHASE, ""), folder, live.TAG in tags)

    def of_same(self, digest: entries.Digest) -> bool:
        """Whether it holds this result; one that was only begun must be of the very same file, as parameters can't be changed."""
        return self.file_digest == digest.file if self.status == "RUNNING" else self.digest == digest.content


class Store:
    """Writes one sweep's runs. Not thread-safe: one thread at a time."""

    def __init__(
        self, uri: str, experiment: str, sweep: str, asked: views.Asked | None = None, directory: Path | None = None
    ) -> None:
        """`asked`: what the sweep's views in MLflow's UI show; without it there are none. `directory`: of its trials."""
        self.uri, self.experiment, self.sweep, self.asked, self.directory = uri, experiment, sweep, asked, directory
        self.parent_id = self.experiment_id = ""  # until `open`
        self.restored = False  # the experiment had been deleted in the store
        self.runs: dict[str, list[_Logged]] = {}  # by key; several only after two processes logged at the same time
        self.kept, self.replaced = Counter[Path](), Counter[Path]()  # trials of other directories that run this sweep

    def open(self, params: Mapping[str, object], note: str, tags: Mapping[str, str] | None = None) -> None:
        """Makes schema, experiment and parent run where they are missing; the parent is RUNNING from here on. Trials whose
        parent was deleted get the new one.

        `params` and `note` are said once; `tags` may be other ones each time.

        Raises:
            BadInput: the store can't be used, or nothing answers there.
        """
        self.parent_id = ""
        check_uri(self.uri)  # answers within seconds; MLflow's client waits for minutes
        self.client = client(self.uri)
        with opening(self.uri):  # two sweeps of one experiment, or the same one in two directories, may start together
            self.experiment_id, shown = self._experiment()
            runs = search_runs(self.client, [self.experiment_id], {SWEEP: self.sweep})
            parent_id, started_ms = self._parent_run(runs, note)
        self.runs, self.live = {}, LiveRuns(self.client)
        for run in runs:
            if run.data.tags.get(KIND) != "sweep" and run.data.tags.get(PARENT) != parent_id:
                self.client.set_tag(run.info.run_id, PARENT, parent_id)
            if run.data.tags.get(KIND) == "trial":
                self.runs.setdefault(run.data.tags[KEY], []).append(_Logged.of(run))
            if run.data.tags.get(KIND) == LIVE and self._ours(run):
                self.live.found(run.data.tags[KEY], run.info.run_id)
        self.client.update_run(parent_id, status="RUNNING")
        now = {LAST_RUN: str(time.time_ns() // 1_000_000), **(tags or {})}
        # again after a kill between the two: the same values change nothing
        log_batch(self.client, parent_id, params=params, tags=now)
        claims.keep(self.client, parent_id, runs, self.directory)
        for name, view in views.tags(self.sweep, self.asked, started_ms) if self.asked else ():
            if shown.get(name) != view:
                self.client.set_experiment_tag(self.experiment_id, name, view)
        self.parent_id = parent_id

    def close(self, status: str) -> None:
        """Ends the parent run: FINISHED, or KILLED when the sweep was interrupted, and with it the runs of running trials."""
        self.live.close(status)
        self.client.set_terminated(self.parent_id, status=status)

    def log_trial(self, record: TrialRecord) -> None:
        """Writes one finished trial. A run that was begun for the same result is continued, another result replaces it.

        Raises:
            BadInput: the trial's result.json is damaged.
        """
        result, digest = Result.read(record.folder / FILE), entries.Digest.of(record.folder)
        found = self.runs.get(record.key) or self._found(record.key)
        same = sorted((run for run in found if run.of_same(digest)), key=lambda run: run.status == "RUNNING")
        others = [run for run in found if run not in same[:1]]
        shown = self.live.shown(record.key)
        if same:
            logged = self._continued(same[0], record)
        elif shown and (shown.is_of(result.history, whole=True) or not result.history):
            logged, shown = self._adopted(shown.run_id, record, result, digest), None
        else:
            logged = self._create(record, result, digest)
        if logged.status == "RUNNING":
            logged = self._filled(logged, record, result)
        for run in others:  # after the new one is whole: readers always find one
            self._count(self.replaced, run, record)
            self.client.delete_run(run.run_id)
        if shown:
            self.client.delete_run(shown.run_id)
        self.live.runs.pop(record.key, None)
        self.runs[record.key] = [logged]

    def log_live(self, record: TrialRecord, begun: Result, points: Sequence[Mapping[str, float]]) -> None:
        """Shows what a running trial's curve has got to. `begun`: its result as far as it is known."""
        shown = self.live.shown(record.key)
        if shown and not shown.is_of(points, whole=False):
            self.client.delete_run(shown.run_id)
            shown = None
        if shown is None:
            tags = self._tags(record) | {KIND: LIVE, live.TAG: "yes", NOTE: "running"}
            started = time.time_ns() // 1_000_000 - int(1_000 * begun.seconds)
            run = self.client.create_run(self.experiment_id, start_time=started, run_name=record.name, tags=tags)
            self.live.runs[record.key] = shown = Running(run.info.run_id, {})
            log_batch(self.client, shown.run_id, params=entries.params(begun, record))
        shown.log(self.client, points)

    def _adopted(self, run_id: str, record: TrialRecord, result: Result, digest: entries.Digest) -> _Logged:
        """The run of a trial that was running becomes that of the one that has ended."""
        log_batch(self.client, run_id, tags=self._tags(record) | entries.ended_tags(result, digest))
        return _Logged.of(self.client.get_run(run_id))

    def _ours(self, run: Run) -> bool:
        """Whether the run of a running trial is of this directory, or of a process that has ended: the same sweep may be running
        in another directory on this store."""
        there = Path(run.data.tags.get(FOLDER, "")).parent.parent
        return self.directory in (None, there) or run.info.status != "RUNNING"

    def holds(self, record: TrialRecord) -> bool:
        """Whether the trial's result stood in the store, whole and alone, when it was opened."""
        try:
            digest = entries.Digest.of(record.folder)
        except (BadInput, OSError):  # writing it says what is wrong
            return False
        found = self.runs.get(record.key, [])
        return len(found) == 1 and found[0].status != "RUNNING" and found[0].phase == record.phase and found[0].of_same(digest)

    def supersede(self, stale: Stale) -> None:
        """Marks the trials that no longer belong to the sweep (a repeated tuning trial changed what followed from it)."""
        for run in search_runs(self.client, [self.experiment_id], {SWEEP: self.sweep, KIND: "trial"}):
            phase = run.data.tags[PHASE]
            key = run.data.tags[KEY]
            if phase != SUPERSEDED and stale(arm_of(run), phase, key, run.data.params):
                self.client.set_tag(run.info.run_id, PHASE, SUPERSEDED)
                self.runs[key] = [replace(one, phase=SUPERSEDED) for one in self.runs.get(key, [])]

    def _found(self, key: str) -> list[_Logged]:
        """What another process logged of this sweep since `open`."""
        wanted = {SWEEP: self.sweep, KEY: key, KIND: "trial"}
        return [_Logged.of(run) for run in search_runs(self.client, [self.experiment_id], wanted)]

    def _continued(self, run: _Logged, record: TrialRecord) -> _Logged:
        """A run of the same result, with the tags that it has now."""
        if run.phase == SUPERSEDED:  # and yet it is the arm's best again
            self.client.set_tag(run.run_id, PHASE, record.phase)
        if run.folder != record.folder and not run.folder.exists():  # the output directory was moved
            self.client.set_tag(run.run_id, FOLDER, str(record.folder))
        else:
            self._count(self.kept, run, record)
        return replace(run, phase=record.phase)

    def _filled(self, run: _Logged, record: TrialRecord, result: Result) -> _Logged:
        """Writes what a run holds, and ends it."""
        end_ms = entries.end_ms(record.folder)
        known = live.logged(self.client, run.run_id) if run.was_live else {}
        metrics = entries.metrics(result, end_ms)
        if known:  # the rest of a curve comes after what was there while it ran
            metrics = [(name, value, end_ms, step) for name, value, _, step in metrics if (name, step) not in known]
        log_batch(self.client, run.run_id, params=entries.params(result, record), metrics=metrics)
        if inputs := entries.datasets(result):
            self.client.log_inputs(run.run_id, datasets=inputs)
        for name in entries.FILES:
            if (record.folder / name).exists():
                self.client.log_artifact(run.run_id, str(record.folder / name))
                if name == GENERATIONS:  # the UI compares over runs what this tag calls a table
                    table = json.dumps([{"path": name, "type": "table"}])
                    self.client.set_tag(run.run_id, "mlflow.loggedArtifacts", table)
        status = "FAILED" if result.state.failed else "FINISHED"
        self.client.set_terminated(run.run_id, status=status, end_time=end_ms)
        return replace(run, status=status)

    def _count(self, counter: Counter[Path], run: _Logged, record: TrialRecord) -> None:
        """Remembers a finished run that another directory's sweep logged."""
        theirs, ours = run.folder.parent.parent, record.folder.parent.parent
        if theirs != ours and run.status != "RUNNING":
            counter[theirs] += 1

    def _create(self, record: TrialRecord, result: Result, digest: entries.Digest) -> _Logged:
        tags = self._tags(record) | entries.ended_tags(result, digest)
        started = entries.end_ms(record.folder) - int(1_000 * result.seconds)
        run = self.client.create_run(self.experiment_id, start_time=started, run_name=record.name, tags=tags)
        return _Logged.of(run)

    def _tags(self, record: TrialRecord) -> dict[str, str]:
        """Of a trial, whether it has ended or not."""
        color = self.asked.color(record.arm) if self.asked else None
        return {
            KIND: "trial",
            SWEEP: self.sweep,
            KEY: record.key,
            ARM: record.arm,
            PHASE: record.phase,
            FOLDER: str(record.folder),
            PARENT: self.parent_id,
            "mlflow.source.name": "sweeps/run.py",
            **({views.COLOR: color} if color else {}),
        }

    def _parent_run(self, runs: list[Run], note: str) -> tuple[str, int]:
        """The sweep's own run and when it began (in ms), made where there is none. Of several (a deleted one was restored, or two
        processes made one at the same moment) the oldest stays."""
        parents = [run for run in runs if run.data.tags.get(KIND) == "sweep"]
        if not parents:
            name = f"{self.experiment} {self.sweep[:8]}"
            tags = {KIND: "sweep", SWEEP: self.sweep, NOTE: note, "mlflow.source.name": "sweeps/run.py"}
            self.client.create_run(self.experiment_id, run_name=name, tags=tags)
            parents = search_runs(self.client, [self.experiment_id], {SWEEP: self.sweep, KIND: "sweep"})
        first, *others = sorted(parents, key=lambda run: (run.info.start_time, run.info.run_id))
        for run in others:
            self.client.delete_run(run.info.run_id)
        return str(first.info.run_id), int(first.info.start_time)

    def _experiment(self) -> tuple[str, Mapping[str, str]]:
        """The experiment's id and tags."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is not None and found.lifecycle_stage != "active":  # its name can't be given to another one
            self.client.restore_experiment(found.experiment_id)
            self.restored = True
        if found is not None:
            return str(found.experiment_id), found.tags
        # the kind decides which page the UI opens on: this one opens the table of runs
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            place = artifacts_of(self.uri)
            return str(self.client.create_experiment(self.experiment, artifact_location=place, tags=tags)), tags
        except MlflowException:  # another process made it in the same moment
            made = self.client.get_experiment_by_name(self.experiment)
            if made is None:
                raise
            return str(made.experiment_id), made.tags
