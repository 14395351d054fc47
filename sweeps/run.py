"""Run a sweep: `python sweeps/run.py rank_vs_quality`.

The same command again goes on where it stopped and runs only what is missing. Exit codes: 0 all done; 2 bad input, nothing
was started; 3 the sweep ended but something is missing (a failed trial, an unreachable store, no report); 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not sweeps/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import experiments
from core import preflight, tracking
from core.data.rows import is_lab
from core.errors import BadInput, message, nearest, one_line, redacted
from core.experiment import Experiment
from core.fields import flatten
from sweeps import ledger, overrides, plan
from sweeps.progress import silence
from sweeps.resources import Resources, cautions, check_cluster, share_out

INPUTS = {"model": "model.name", "data": "data.source", "eval_data": "data.eval_source", "base_text": "evaluation.base_text"}
EXIT_BAD_INPUT, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 2, 3, 130
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)  # full, gone or not ours
ROOT = Path(__file__).resolve().parents[1]


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "--list": ("every experiment with its question", {"action": "store_true"}),
    "--all": ("every experiment, one after the other, then analysis/report.py", {"action": "store_true"}),
    "--dry-run": ("arms, trials, tokens, estimated time and memory; nothing is started", {"action": "store_true"}),
    "--status": ("what is done, what failed and why; nothing is started", {"action": "store_true"}),
    "--smoke": ("the same road in about a minute: the ends of each axis, one seed, few examples", {"action": "store_true"}),
    "--set": (
        "any dotted field; a varied one takes levels 8,32; a tuned one takes a range 1e-4..1e-1",
        {"action": "append", "metavar": "FIELD=VALUE"},
    ),
    "--without": ('leave out an arm: full, or "lora r=64"; it can be added later', {"action": "append", "metavar": "LABEL"}),
    "--seeds": ("final seeds in each arm", {"type": int, "metavar": "N"}),
    "--model": ("base model: lab:base-0, a directory or a hub id", {"metavar": "DIR_OR_ID"}),
    "--data": ("training rows: lab:curated, lab:synthetic, a file or a hub id", {"metavar": "FILE_OR_ID"}),
    "--eval-data": ("rows that quality is measured on (default: a share of --data)", {"metavar": "FILE_OR_ID"}),
    "--base-text": ("plain text whose likelihood measures forgetting", {"metavar": "FILE"}),
    "--concurrency": ("trials at a time (default: as many as cores or GPUs allow)", {"type": int, "metavar": "N"}),
    "--gpus-per-trial": (
        "GPUs or a fraction of one for each trial (default: 1 where there is one; laboratory: 0)",
        {"type": float, "metavar": "X"},
    ),
    "--trial-timeout": ("a trial that runs longer is ended and recorded (21600)", {"type": float, "metavar": "SECONDS"}),
    "--retry": ("run failed trials again", {"choices": ["failed"]}),
    "--tracking-uri": (
        "MLflow server or database (default: MLFLOW_TRACKING_URI, else SQLite in the output directory)",
        {"metavar": "URI"},
    ),
    "--output": ("where trials, reports and the embedded store go (default: runs)", {"type": Path, "metavar": "DIR"}),
    "--ray-address": ("a running Ray cluster that shares the output directory", {"metavar": "HOST:PORT"}),
}
DEFAULTS = {"set": [], "without": [], "output": Path("runs"), "trial_timeout": 6 * 3600.0}


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python sweeps/run.py", description=__doc__, formatter_class=form, allow_abbrev=False)
    parser.add_argument("experiment", nargs="?", help="the question to ask (see --list)")
    for option, (text, settings) in OPTIONS.items():
        parser.add_argument(option, help=text, **settings)
    parser.set_defaults(**DEFAULTS)
    chosen, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = nearest(unknown[0].partition("=")[0], list(OPTIONS)) if unknown[0].startswith("-") else "one experiment at a time"
        parser.error(f"{unknown[0]}: unknown; {hint}")
    if len(shown := [name for name in ("list", "dry_run", "status") if getattr(chosen, name)]) > 1:
        parser.error(f"--{shown[0].replace('_', '-')} and --{shown[1].replace('_', '-')}: one at a time")
    if chosen.all and chosen.experiment is not None:
        parser.error(f"--all runs every experiment: leave out {chosen.experiment}")
    if not (chosen.list or chosen.all) and chosen.experiment is None:
        parser.error("name an experiment, --all or --list: " + ", ".join(experiments.names()))
    return chosen


def configured(chosen: argparse.Namespace) -> Experiment:
    """The experiment as the command line changes it."""
    experiment = experiments.load(chosen.experiment)
    if chosen.smoke:
        experiment = overrides.smoke(experiment)
    for option, field in INPUTS.items():
        value = getattr(chosen, option)
        if value is not None:
            if not value:
                raise BadInput(f"--{option.replace('_', '-')}: must not be empty")
            if field in experiment.vary:
                instead = f"--set {field}=A,B replaces {', '.join(map(str, experiment.vary[field]))}"
                raise BadInput(f"--{option.replace('_', '-')} {value}: {experiment.name} compares several; {instead}")
            path = Path(value).expanduser()  # absolute, so that the sweep is the same from every directory
            experiment = overrides.replace_in_base(experiment, field, str(path.resolve()) if path.exists() else value)
    experiment = overrides.without(overrides.apply_settings(experiment, chosen.set), chosen.without)
    _check_laboratory(experiment)
    return overrides.with_seeds(experiment, chosen.seeds) if chosen.seeds is not None else experiment


def _check_laboratory(experiment: Experiment) -> None:
    """A question about the laboratory's own world can't be asked of other models or data."""
    for name in ("model.name", "data.source") if experiment.laboratory_only else ():
        if not is_lab(value := str(flatten(experiment.base)[name])):
            why = f"{experiment.name} asks about the laboratory's own corpus, facts or questions"
            raise BadInput(f"{name}={value}: {why}; leave this option out")


def prepare_output(output: Path) -> Path:
    """The output directory, made and tried.

    Raises:
        BadInput: it can't be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(f"--output {output}: cannot be written to ({error.strerror})") from None
    return output.resolve()


def main(arguments: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _interrupt)  # ends as tidily as Ctrl-C
    try:
        chosen = parse(arguments)
        if chosen.list:
            from sweeps import describe

            print(describe.experiments_table([experiments.load(name) for name in experiments.names()]))
            return 0
        return command_all(chosen) if chosen.all else command(chosen)
    except BadInput as error:
        print(f"error: {message(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # the reader of our output left (`| head`): there is nobody to tell
        silence(sys.stdout)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in DISK:  # a defect, which its traceback shows
            raise
        print(f"error: {one_line(error)}; what is finished is kept, the same command goes on", file=sys.stderr)
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def command(chosen: argparse.Namespace) -> int:
    """Checks everything that can be checked beforehand, then describes or runs the sweep."""
    from sweeps import describe

    experiment = configured(chosen)
    if chosen.retry and experiment.search:
        raise BadInput(
            f"--retry {chosen.retry}: {experiment.name} proposed from its trials as they came out; start anew with --output DIR"
        )
    lab, remote = is_lab(experiment.base.model.name), chosen.ray_address is not None
    share = share_out(chosen.gpus_per_trial, chosen.concurrency, chosen.trial_timeout, remote, lab)
    check(experiment)
    sweep = plan.sweep_id(experiment, preflight.provenance)
    directory = ledger.directory(chosen.output.resolve(), experiment.name, sweep)
    notes = describe.tuning(experiment) + describe.cautions(experiment) + ([] if remote else cautions(share))
    if chosen.dry_run:
        print(describe.dry_run(experiment, sweep, directory, share, notes))
    elif chosen.status:
        print(describe.status(experiment, sweep, directory))
    else:
        return start(chosen, experiment, sweep, share, notes)
    return 0


def command_all(chosen: argparse.Namespace) -> int:
    """Every experiment after the other, then one page over all of them; the worst exit code. An experiment that the
    options or the data don't fit is named and left out."""
    codes = []
    for name in experiments.names():
        one = argparse.Namespace(**{**vars(chosen), "experiment": name})
        try:
            codes.append(command(one))
        except BadInput as error:
            print(f"left out: {name}: {message(error)}", file=sys.stderr)
            codes.append(EXIT_INCOMPLETE)
    if not (chosen.dry_run or chosen.status):
        uri, _ = tracking.chosen_uri(chosen.tracking_uri, chosen.output.resolve())
        codes.append(0 if analyse(uri, ["--output", str(chosen.output)]) else EXIT_INCOMPLETE)
    return max(codes)


def check(experiment: Experiment) -> None:
    """Every arm with every input of its seeds.

    Raises:
        BadInput: one of them cannot run; where others can, it says how to leave out those that cannot.
    """
    plan.check_quantization(experiment)
    probes = plan.probes(experiment)
    refused: dict[str, str] = {}
    for probe, label in probes.items():
        try:
            preflight.inspect(probe)
        except BadInput as error:
            refused.setdefault(label, message(error))
    if refused:
        first = next(iter(refused.values()))
        field = first.partition("=")[0]  # arms that another field keeps from running are another message
        alike = [label for label, why in refused.items() if why.startswith(f"{field}=")]
        some = len(alike) < len(set(probes.values())) and not experiment.search
        raise BadInput(first + (f"; leave out: {_without(alike)}" if some else ""))
    for arm in plan.arms(experiment):
        plan.tuning_grid(arm, experiment.tune_trials)


def _without(labels: Iterable[str]) -> str:
    """The options that leave these arms out."""
    return " ".join(f"--without {shlex.quote(label)}" for label in labels)


def start(chosen: argparse.Namespace, experiment: Experiment, sweep: str, share: Resources, notes: Sequence[str]) -> int:
    """Runs what is missing of the sweep, then its report; the exit code."""
    if chosen.ray_address is not None:
        check_cluster(chosen.ray_address)
    output = prepare_output(chosen.output)
    uri, origin = tracking.chosen_uri(chosen.tracking_uri, output)

    from sweeps.sweep import Sweep

    directory = ledger.directory(output, experiment.name, sweep)
    directory.mkdir(parents=True, exist_ok=True)
    with ledger.locked(directory):
        run = Sweep(experiment, sweep, directory, uri, output)
        if chosen.retry:
            print(run.forget_failed())
        print(run.opening(share, notes, origin), flush=True)
        complete = run.run(share, chosen.ray_address, _command_line(chosen))
        reported = report(experiment, sweep, uri, directory)
    print("\n".join(["", *run.closing()]))
    return 0 if complete and reported else EXIT_INCOMPLETE


def report(experiment: Experiment, sweep: str, uri: str, directory: Path) -> bool:
    """Runs the experiment's analysis; whether it could."""
    return analyse(uri, [experiment.name, "--sweep", sweep, "--report", str(directory / "report")])


def analyse(uri: str, arguments: list[str]) -> bool:
    """Runs analysis/report.py in a process of its own; whether it could."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    environment[tracking.URI_VARIABLE] = uri  # not an argument, which every user of the machine could read
    return subprocess.run([sys.executable, "-m", "analysis.report", *arguments], env=environment).returncode == 0


def _command_line(chosen: argparse.Namespace) -> str:
    """The command as it was typed, for the record; a tracking URI may hold a password."""
    words = [redacted(word) for word in sys.argv[1:]]
    return "python sweeps/run.py " + shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
