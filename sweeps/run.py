"""Run a sweep: `python sweeps/run.py rank_vs_quality`.

The same command again goes on where it stopped and runs only what is missing. Exit codes: 0 all done; 2 bad input, nothing
was started; 3 the sweep ended but something is missing (a failed trial, an unreachable store, no report), or was stopped by an
input that changed; 130 interrupted.

From Python: `run_question("rank_vs_quality", output="runs", overrides=["adapter.rank=4,16"], seeds=2)`.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not sweeps/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import experiments
from core import base, environment, preflight, remembered, tracking
from core.command import EXIT_INTERRUPTED, refused
from core.data.rows import is_lab
from core.errors import DISK, EXIT_INCOMPLETE, GOES_ON, BadInput, Lost, Problems, message, nearest, one_line, redacted
from core.experiment import Experiment
from core.preflight import Inputs
from core.rates import RATE
from core.result import sweep_folder
from core.settings import Trial
from sweeps import alike, describe, disk, fits, kept, ledger, looks, moved, priors, scored, times
from sweeps.budget import Kept
from sweeps.configured import check, configured
from sweeps.fitted import fitted
from sweeps.kept import prepare_output
from sweeps.looks import PlannedLooks
from sweeps.options import Action, Options, Request, from_python, parse
from sweeps.plan import Plan
from sweeps.priors import Prior
from sweeps.progress import silence
from sweeps.reporting import analyse, power, record, report
from sweeps.resources import Resources, cautions, check_address, check_cluster, share_out
from sweeps.sweep import Sweep


@dataclass(frozen=True)
class Prepared:
    """A sweep that was checked and can run."""

    plan: Plan
    directory: Path
    share: Resources
    notes: tuple[str, ...]  # what is worth a note before it starts
    inputs: Mapping[Trial, Inputs]  # of the plan's probes
    priors: Mapping[str, Prior | None]  # of its arms, kept when it starts
    choice: Kept | None = None  # what --budget lowered, kept when it starts
    looks: PlannedLooks | None = None  # of --until-decided

    @functools.cached_property
    def rows(self) -> list[times.Row]:
        """Its arms with what they cost; `--status` asks for nothing of it."""
        return times.rows(self.plan, self.share, self.inputs)

    @property
    def counts(self) -> tuple[int, ...]:
        """Seeds of an arm at each look at the claims."""
        return self.looks.counts if self.looks else (len(self.plan.experiment.seeds),)

    def disk(self) -> disk.Disk | None:
        """What keeps its weights below --disk-budget, where that is given."""
        limit = self.share.disk_bytes
        return None if limit is None else disk.Disk(limit, kept.sizes(self.plan, self.inputs, self.share))


@dataclass(frozen=True)
class Ran:
    """A sweep that came to its end."""

    sweep: str  # its id, by which analysis/report.py and the store know it
    directory: Path  # of its trials and its report
    complete: bool  # nothing failed, everything is logged, and the report was made


def run_question(question: str | Experiment, output: Path | str = "runs", overrides: Sequence[str] = (), **options: Any) -> Ran:
    """Runs what is missing of a question's sweep, as the command line does, and returns when it has ended.

    Args:
        question: the name of a file in experiments/, or an experiment of your own (which has no report).
        output: the directory of trials, reports and the embedded store.
        overrides: FIELD=VALUE, as for --set.
        options: any other field of `sweeps.options.Options`, such as smoke=True, seeds=2, budget="2h", without=["full"].

    Raises:
        BadInput: the question or an option cannot be used; nothing was started.
        Lost: it was stopped; what is finished is kept.
    """
    known = [field.name for field in dataclasses.fields(Options) if field.name not in ("output", "set")]
    for name in options:
        if name not in known:
            raise BadInput(f"{name}: {nearest(name, known)}", field=name)
    chosen = from_python({"output": output, "set": overrides, **options})
    asked = experiments.load(question) if isinstance(question, str) else question
    words = ", ".join(f"{name}={value!r}" for name, value in {"overrides": [*overrides], **options}.items() if value)
    return start(prepare(asked, chosen), chosen, redacted(f"run_question({asked.name!r}, {words})"))


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    signal.signal(signal.SIGTERM, _interrupt)  # ends as tidily as Ctrl-C
    try:
        return answer(parse(arguments, __doc__ or ""))
    except BadInput as error:
        return refused(error)
    except BrokenPipeError:  # the reader of our output left (`| head`): there is nobody to tell
        silence(sys.stdout)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in DISK:  # a defect, which its traceback shows
            raise
        print(f"error: {one_line(error)}; {GOES_ON}", file=sys.stderr)
        return EXIT_INCOMPLETE
    except Lost as error:
        print(f"error: {message(error)}; {GOES_ON}", file=sys.stderr)
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        print(f"\ninterrupted; {GOES_ON}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def answer(request: Request) -> int:
    """Does what was asked for; the exit code."""
    if request.action is Action.LIST:
        plans = [Plan.of(experiments.load(name), preflight.provenance) for name in request.questions]
        print(describe.experiments_table(plans))
        return 0
    if request.every:
        return answer_all(request)
    return command(request.questions[0], request)


def command(name: str, request: Request) -> int:
    """Checks everything that can be checked beforehand, then describes or runs the sweep of one question."""
    prepared = prepare(experiments.load(name), request.options)
    if request.action is Action.DRY_RUN:
        _check_time_limit(prepared)
        shown = [] if request.every else power(prepared.plan, prepared.counts, request.options.output)  # seconds for each
        notes = [*prepared.notes, *shown]
        print(describe.dry_run(prepared.plan, prepared.directory, prepared.share, notes, prepared.rows))
    elif request.action is Action.STATUS:
        print(describe.status(prepared.plan, prepared.directory))
    else:
        return 0 if start(prepared, request.options, _command_line()).complete else EXIT_INCOMPLETE
    return 0


def answer_all(request: Request) -> int:
    """One experiment after the other, then one page over all of them; the worst exit code. An experiment that the options
    or the data don't fit is named and left out, and one that was stopped is named."""
    codes = []
    for name in request.questions:
        try:
            codes.append(command(name, request))
        except BadInput as error:
            print(f"left out: {name}: {message(error)}", file=sys.stderr)
            codes.append(EXIT_INCOMPLETE)
        except Lost as error:
            print(f"stopped: {name}: {message(error)}; {GOES_ON}", file=sys.stderr)
            codes.append(EXIT_INCOMPLETE)
    if request.action is Action.RUN:
        output = request.options.output
        uri, _ = tracking.chosen_uri(request.options.tracking_uri, output.resolve())
        codes.append(0 if analyse(uri, ["--output", str(output)]) else EXIT_INCOMPLETE)
    return max(codes)


@base.held()
def prepare(asked: Experiment, options: Options) -> Prepared:
    """The sweep that the options make of the experiment, checked with every input of its arms and seeds.

    Raises:
        BadInput: it cannot run.
    """
    remote, lab = options.ray_address is not None, is_lab(options.model or asked.base.model.name)
    problems = Problems()
    with problems.taken():
        experiment = configured(asked, options)
        lab = is_lab(experiment.base.model.name)
    with problems.taken():
        share = share_out(options.gpus_per_trial, options.concurrency, options.trial_timeout, remote, lab)
    _check_places(options, problems)
    problems.raise_all()
    if options.probe:
        times.probe(Plan.of(experiment, preflight.provenance), share)
    experiment, lowered, choice = fitted(experiment, options, share)
    plan = Plan.of(experiment, preflight.provenance)
    inputs, directory = check(plan), sweep_folder(options.output.resolve(), experiment.name, plan.sweep)
    scored.check(plan, inputs)
    plan = plan.once(alike.same_runs(plan, inputs))  # by the seeds of the first look, also where the sweep goes on
    if planned := looks.of(plan, directory, options):
        plan = planned.extended(plan)
        inputs |= check(plan)  # seeds of later looks may draw other bases
    notes = lowered + describe.tuning(plan, asked) + moved.told(experiment, asked, RATE in options.fields_set)
    notes += [str(one) for one in plan.repeated]
    fits.check(plan, inputs, share)
    notes += describe.cautions(plan, inputs) + ([] if remote else cautions(share))
    share = dataclasses.replace(share, keep_weights=options.keep_weights, checkpoint_seconds=options.checkpoint_every)
    share = dataclasses.replace(share, disk_bytes=disk.limit_bytes(options.disk_budget))
    notes += kept.notes(plan, inputs, share, options.output)
    notes += filter(None, [remembered.trouble()])
    before = priors.of(plan, directory, options.output.resolve(), not options.no_prior)
    plan = dataclasses.replace(plan, priors={label: one.rate for label, one in before.items() if one})
    notes += priors.told(plan, before, not options.no_prior)
    notes += planned.told(plan, share) if planned else []
    return Prepared(plan, directory, share, describe.in_order(notes), inputs, before, choice, planned)


def _check_places(options: Options, problems: Problems) -> None:
    """What can be said of the store, the cluster and the output directory without asking or writing anything."""
    with problems.taken():
        tracking.check_form(options.tracking_uri)
    with problems.taken():
        check_address(options.ray_address)
    with problems.taken():
        nearest_there = kept.nearest_there(options.output)
        if not nearest_there.is_dir() or not os.access(nearest_there, os.W_OK | os.X_OK):
            what = "cannot be written to" if nearest_there.is_dir() else "is no directory"
            raise BadInput(f"--output {options.output}: {nearest_there} {what}; give another one", field="--output")


def _check_time_limit(prepared: Prepared) -> None:
    """Raises BadInput where trials of an arm that are still to be run have no time to end."""
    trouble = times.timeout_trouble(prepared.share, prepared.rows)
    if trouble and not describe.replayed(prepared.plan, prepared.directory).done():
        raise BadInput(trouble, field="--trial-timeout")


def start(prepared: Prepared, options: Options, how: str) -> Ran:
    """Runs what is missing of the sweep, then its report. `how` it was started is recorded."""
    plan, directory = prepared.plan, prepared.directory
    _check_time_limit(prepared)
    if options.ray_address is not None:
        check_cluster(options.ray_address)
        from sweeps import nodes  # asks a cluster

        prepared = dataclasses.replace(prepared, notes=(*prepared.notes, *nodes.check(options.ray_address, prepared.share)))
    uri, origin = tracking.chosen_uri(options.tracking_uri, options.output.resolve())
    output = prepare_output(options.output)
    directory.mkdir(parents=True, exist_ok=True)
    with ledger.locked(directory):
        if prepared.choice:
            prepared.choice.write()
        if prepared.looks:
            prepared.looks.keep(directory)
        plan = dataclasses.replace(plan, priors=priors.keep(directory, prepared.priors))
        run = Sweep(plan, directory, uri, output)
        if options.retry:
            print(run.forget_failed())
        notes = (*prepared.notes, *record(plan, prepared.counts, directory))
        print(run.opening(prepared.share, notes, origin), flush=True)
        further = prepared.looks
        while True:
            complete = run.run(prepared.share, options.ray_address, how, prepared.disk())
            reported = report(plan, uri, directory)
            further = further.next(plan, directory) if further and reported else None
            if not further:
                break
            plan = further.extended(plan)
            run = Sweep(plan, directory, uri, output)
    print("\n".join(["", *run.closing()]))
    return Ran(plan.sweep, directory, complete and reported)


def _command_line() -> str:
    """The command as it was typed, for the record; a tracking URI may hold a password."""
    words = [redacted(word) for word in sys.argv[1:]]
    return "python sweeps/run.py " + shlex.join(words)


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
