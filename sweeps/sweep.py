"""One sweep from its ledger to its end: what is known is replayed, what is missing runs, everything is logged once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import experiments
from core import tracking
from core.errors import BadInput, Lost, message, redacted
from core.experiment import LogUniform
from core.fields import flatten
from core.result import Result
from core.settings import Scalar
from core.states import TUNING, Phase, State
from core.tracking import Store, TrialRecord
from sweeps import describe, identity, ledger, priors, proposals
from sweeps.ledger import Outcome
from sweeps.logbook import Logbook
from sweeps.plan import Job, Plan
from sweeps.progress import Progress
from sweeps.proposals import Proposals
from sweeps.resources import START_SECONDS
from sweeps.search import Search

if TYPE_CHECKING:
    from sweeps.disk import Disk
    from sweeps.parts import Part
    from sweeps.resources import Resources

# A learning rate so high that training diverges is an answer of the tuning, not a failure of the sweep.
ANSWERS = tuple((phase, State.DIVERGED) for phase in TUNING)


def asked(plan: Plan) -> tracking.Asked:
    """What the sweep's views in MLflow show."""
    spaces = {**plan.experiment.tune, **(plan.experiment.search.space if plan.experiment.search else {})}
    logs = [name for name, space in spaces.items() if isinstance(space, LogUniform)]
    for axis in plan.axes:
        levels = [arm.overrides.get(axis) for arm in plan.arms]
        numbers = [level for level in levels if isinstance(level, int | float) and not isinstance(level, bool) and level > 0]
        if numbers and max(numbers) >= 10 * min(numbers):
            logs.append(axis)
    labels = tuple(arm.label for arm in plan.arms)
    fields = labels, plan.axes, tuple(spaces), tuple(dict.fromkeys(logs))
    along = plan.experiment.base.evaluation.every is not None or "evaluation.every" in plan.axes
    return tracking.Asked(*fields, plan.n_final, plan.n_tuning, plan.experiment.name in experiments.names(), along)


def _edited(part: Part, params: Mapping[str, str]) -> bool:
    """Whether an input of a logged trial had another content than the arm's input of this name has now."""
    for name, kind in identity.PROVENANCE_OF.items():
        alike = [job for job in part.jobs.values() if str(attrgetter(name)(job.trial)) == params.get(name)]
        if alike and params.get(kind) not in [job.provenance.get(kind) for job in alike]:
            return True
    return False


class Sweep:
    """Runs an experiment inside its directory, which the caller has locked."""

    def __init__(self, plan: Plan, directory: Path, uri: str, output: Path) -> None:
        self.plan, self.directory, self.uri = plan, directory, uri
        self.title = f"{plan.experiment.name} {plan.sweep[:8]}"
        self.store = Store(uri, plan.experiment.name, plan.sweep, asked(plan), directory)
        self.search = self._search()
        self.unrecorded = 0  # tuning trials that Optuna's file lacks
        self.disk: Disk | None = None  # what keeps weights below a limit

    def _search(self) -> Search:
        kept = Proposals(self.directory / proposals.FILE, writes=True)
        return Search(self.plan, ledger.read(self.directory), kept, self.directory / "optuna.db")

    def opening(self, share: Resources, notes: Sequence[str] = (), origin: str = "") -> str:
        """What is asked, what is worth a note, how much is done, and where it goes (`origin`: who said so)."""
        source, n_done = f" ({origin})" if origin else "", len(self.search.done())
        return "\n".join([
            f"{self.title}: {self.plan.experiment.question}", *notes,
            f"{describe.counts(self.plan, n_done)}; {share}",
            f"in {self.directory}, logged to {redacted(self.uri)}{source}", "",
        ])  # fmt: skip

    def closing(self) -> list[str]:
        """Where to look now; the report has said where it is."""
        lines = [f"trials   {self.directory}"]
        if not self.uri.startswith("http"):
            lines.append(f"serve    mlflow ui --backend-store-uri {shlex.quote(redacted(self.uri))}")
        if self.store.parent_id:
            lines.append(f"compare  {tracking.page(self.uri, self.store.experiment_id, self.plan.sweep)}")
            if self.plan.n_tuning:
                lines.append(f"tuning   {tracking.page(self.uri, self.store.experiment_id, self.plan.sweep, 'tuning')}")
        return lines

    def forget_failed(self) -> str:
        """Sets the results of failed trials aside, so that they run again; how many there were. What diverged in tuning stays."""
        failed = dict.fromkeys(job.key for job, _ in self._broken())  # arms may share a trial
        for key in failed:
            ledger.forget(self.directory, key)
        self.search.close()
        self.search = self._search()
        return f"{len(failed)} failed trials run again" if failed else "nothing to retry: no trial failed"

    def run(self, share: Resources, ray_address: str | None, command: str, disk: Disk | None = None) -> bool:
        """Runs and logs what is missing; whether nothing failed or stayed unlogged in the end."""
        if disk:
            self.disk = disk
            disk.open(self.directory, self._known(), self.search.known)
        note = f"{self.plan.experiment.question}\n\n`{command}`"
        with Logbook(self.store, self._params(), note, self._ranges() | {tracking.REPEATED: self.repeated()}) as book:
            self._put_known(book)
            try:
                if not self.search.finished():
                    self._execute(book, share, ray_address)
                self._put_known(book)  # not where it was interrupted: it may ask Optuna, within whose import that may have been
            finally:
                self.unrecorded = self.search.close()
                priors.keep_tuned(self.directory, self.plan, self.search.parts)
                for line in disk.lines() if disk else ():
                    print(line)
            self._tuning_keys = {job.key for job in self.search.jobs()}
            book.finish(self._superseded)
        return self._account(book)

    def _put_known(self, book: Logbook) -> None:
        """Hands over every trial that has a result: those of the search, those that it sees only now (results that were there
        before the ones that they follow from), and those of earlier calls with other seeds or arms."""
        for record in self._known().values():
            book.put(record)

    def _known(self) -> dict[str, TrialRecord]:
        """The finished trials, also those of earlier calls, by their keys."""
        return ledger.names(self.directory) | {job.key: self._record(job) for job, _ in self.search.done()}

    def _execute(self, book: Logbook, share: Resources, ray_address: str | None) -> None:
        """Runs the trials that are missing.

        Raises:
            BadInput: the first that ran found something that the user must mend.
            Lost: a later one did, so that there is something to be kept.
        """
        from sweeps import cluster, executor  # ray takes seconds to import, and a finished sweep does not need it

        print(f"starting {share.slots} worker{'s' * (share.slots > 1)} (about {START_SECONDS:.0f} s)", flush=True)
        with cluster.cluster(share, ray_address):
            book.check()  # the store was opened beside Ray's start; nothing runs if it can't be used
            with Progress(self.search, share.slots, self.title, directory=self.directory) as progress:

                def started(job: Job) -> None:
                    ledger.name(record := self._record(job))
                    if self.disk:
                        self.disk.started(record)
                    book.watch(record, Result.begun(job.trial, job.provenance))
                    progress.started(job)

                def ended(job: Job, outcome: Outcome) -> None:
                    record = self._record(job)
                    if self.disk:
                        self.disk.finished(record, outcome)
                    book.put(record)
                    progress.ended(job, outcome)

                n_before = len(self.search.done())
                try:
                    executor.execute(self.search, self.directory, share, executor.Events(started, ended, progress.again))
                except BadInput as error:
                    if len(self.search.done()) == n_before:
                        raise
                    raise Lost(message(error)) from None

    def _record(self, job: Job) -> TrialRecord:
        folder = ledger.trial_directory(self.directory, job.key)
        return TrialRecord(key=job.key, name=job.name, arm=job.arm, phase=job.phase, axes=job.axes, folder=folder)

    def _superseded(self, arm: str, phase: str, key: str, params: Mapping[str, str]) -> bool:
        """Whether a logged trial follows from a tuning trial that was repeated with another outcome (a proposal that is made no
        more, or a final trial of a setting that is no longer its arm's best) or read what its inputs no longer hold."""
        found = next((known for known in self.search.parts if known.arm.label == arm), None)
        if found is None or not found.tuned():
            return False
        if phase != Phase.FINAL:
            return key not in self._tuning_keys
        return any(params.get(name) != str(value) for name, value in (found.best() or {}).items()) or _edited(found, params)

    def _params(self) -> dict[str, Scalar]:
        """The parent run's parameters: what all trials have in common (levels and seeds may grow: they stand on the children)."""
        experiment = self.plan.experiment
        own = {*self.plan.axes, *experiment.tune, *experiment.with_seed, "seed", "evaluation.split"}
        return {name: value for name, value in flatten(experiment.base).items() if name not in own}

    def repeated(self) -> str:
        """The arms that are not run, as they are the same runs as others, with the fields in which they were meant to differ: as
        JSON, as many as a tag holds."""
        by_label = {arm.label: flatten(self.plan.trial(0, arm.overrides)) for arm in self.plan.arms}
        found: list[dict[str, object]] = []
        for one in self.plan.repeated:
            ours, theirs = flatten(self.plan.trial(0, one.arm.overrides)), by_label[one.of]
            fields = {name: value for name, value in ours.items() if value != theirs.get(name)}
            entry: dict[str, object] = {"arm": one.arm.label, "of": one.of, "fields": fields}
            if len(json.dumps([*found, entry])) <= tracking.TAG_CHARACTERS:
                found.append(entry)
        return json.dumps(found)

    def _ranges(self) -> dict[str, str]:
        """The parent run's tags that say what was tuned, and where."""
        experiment = self.plan.experiment
        spaces = {name: describe.searched(experiment, name) for name in experiment.tune}
        for name, space in experiment.search.space.items() if experiment.search else ():
            spaces[name] = f"{space.low:g} to {space.high:g}" if isinstance(space, LogUniform) else str(space)
        first = dict(self.plan.priors)
        tags = {"tunelab.prior": json.dumps(first)} if first else {}
        tags |= {tracking.MOST_SEEDS: str(self.plan.most_seeds)} if self.plan.most_seeds else {}
        return tags | {f"tunelab.tune.{name}": text for name, text in spaces.items()}

    def _broken(self) -> list[tuple[Job, Outcome]]:
        """Jobs that failed, but for those that are answers of the tuning."""
        return [(job, found) for job, found in self.search.done() if found.failed and (job.phase, found.state) not in ANSWERS]

    def _account(self, book: Logbook) -> bool:
        """Says what failed and what could not be logged; whether there is nothing to say."""
        broken = self._broken()
        for job, found in broken:
            print(f"failed: {job.name}: {found.state}: {found.reason}")
        for part in self.search.parts:
            if part.has_no_setting():
                print(f"failed: {part.arm.label}: no tuning trial finished, so there is no setting to run with fresh seeds")
        if broken:
            print("`--retry failed` runs them again (after running out of memory, with --concurrency 1)")
        self._account_store()
        if book.missing:
            print(f"not logged: {len(book.missing)} trials; {redacted(self.uri)} refused them: {book.reason()}")
            print("they are kept in the trials' folders, and the same command logs them")
        if self.unrecorded:
            why = f" ({self.search.record.reason})" if self.search.record and self.search.record.reason else ""
            print(f"optuna.db: {self.unrecorded} tuning trials are missing there{why}; it is only a record, and the same command")
            print("adds them when it can; move the file away if it is damaged or of another version of Optuna")
        return not broken and not book.missing and not any(part.has_no_setting() for part in self.search.parts)

    def _account_store(self) -> None:
        """Says what the store had of this sweep that this directory did not log."""
        if self.store.restored:
            print(f"{self.plan.experiment.name} had been deleted in the store: it is restored")
        for place, count in self.store.kept.items():
            print(f"{count} trials are in the store from {place}, with the same scores: they are not logged again")
        for place, count in self.store.replaced.items():
            print(f"{count} trials in the store came from {place}, with other scores: those of this directory replace them")
