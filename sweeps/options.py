"""What a sweep can be told beside its question, and the command line that tells it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import experiments
from core.errors import BadInput, nearest


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a sweep, named as on the command line; `OPTIONS` says what each is for."""

    smoke: bool = False
    set: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: int | None = None
    model: str | None = None
    data: str | None = None
    eval_data: str | None = None
    base_text: str | None = None
    skip_bad_rows: bool = False
    concurrency: int | None = None
    gpus_per_trial: float | None = None
    trial_timeout: float = 6 * 3600.0
    retry: str | None = None
    tracking_uri: str | None = None
    output: Path = Path("runs")
    ray_address: str | None = None


class Action(StrEnum):
    """What to do with the question: the option that says so, or to run it."""

    LIST = "--list"
    DRY_RUN = "--dry-run"
    STATUS = "--status"
    RUN = "run"


@dataclass(frozen=True)
class Request:
    """A command line that was understood."""

    action: Action
    questions: tuple[str, ...]  # by name
    every: bool  # --all
    options: Options


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
    "--skip-bad-rows": ("leave malformed rows of --data and --eval-data out and count them", {"action": "store_true"}),
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
    "--output": (
        "where trials, reports and the embedded store go (default: runs, below the folder you stand in)",
        {"type": Path, "metavar": "DIR"},
    ),
    "--ray-address": ("a running Ray cluster that shares the output directory", {"metavar": "HOST:PORT"}),
}


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def parse(arguments: Sequence[str] | None, description: str) -> Request:
    """The request that a command line makes.

    Raises:
        BadInput: it makes none.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python sweeps/run.py", description=description, formatter_class=form, allow_abbrev=False)
    parser.add_argument("experiment", nargs="?", help="the question to ask (see --list)")
    for option, (text, settings) in OPTIONS.items():
        parser.add_argument(option, help=text, **settings)
    parser.set_defaults(**{field.name: field.default for field in dataclasses.fields(Options)} | {"set": [], "without": []})
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = nearest(unknown[0].partition("=")[0], list(OPTIONS)) if unknown[0].startswith("-") else "one experiment at a time"
        raise BadInput(f"{unknown[0]}: unknown; {hint}")
    named = [action for action in Action if action is not Action.RUN and getattr(found, action.strip("-").replace("-", "_"))]
    if len(named) > 1:
        raise BadInput(f"{named[0]} and {named[1]}: one at a time")
    if found.all and found.experiment is not None:
        raise BadInput(f"--all runs every experiment: leave out {found.experiment}")
    action, every = next(iter(named), Action.RUN), bool(found.all or Action.LIST in named)
    if not every and found.experiment is None:
        raise BadInput("name an experiment, --all or --list: " + ", ".join(experiments.names()))
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(Options)}
    options = Options(**values | {"set": tuple(found.set), "without": tuple(found.without)})
    return Request(action, tuple(experiments.names()) if every else (found.experiment,), found.all, options)
