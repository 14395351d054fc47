"""What a sweep can be told beside its question, and the command line that tells it."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import experiments
from core import command
from core.errors import BadInput, Problems, nearest
from sweeps import disk


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a sweep, named as on the command line; `OPTIONS` says what each is for."""

    smoke: bool = False
    set: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: int | None = None
    until_decided: bool = False
    max_seeds: int | None = None
    tune_trials: int | None = None
    eval_rows: int | None = None
    budget: float | None = None  # seconds
    probe: bool = False
    model: str | None = None
    data: str | None = None
    eval_data: str | None = None
    base_text: str | None = None
    field: tuple[str, ...] = ()
    skip_bad_rows: bool = False
    concurrency: int | None = None
    gpus_per_trial: float | None = None
    trial_timeout: float = 6 * 3600.0
    retry: str | None = None
    no_prior: bool = False
    keep_weights: bool = False
    disk_budget: int | str | None = None  # bytes, or as on the command line
    checkpoint_every: float = 300.0  # seconds of training
    tracking_uri: str | None = None
    output: Path = Path("runs")
    ray_address: str | None = None

    @property
    def fields_set(self) -> list[str]:
        """The fields that --set FIELD=VALUE names."""
        return [setting.partition("=")[0].strip() for setting in self.set]


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
    "--smoke": ("the same road in minutes: the ends of each axis, one seed, few examples", {"action": "store_true"}),
    "--set": (
        "any dotted field; a varied one takes levels 8,32; a tuned one takes a range 1e-4..1e-1",
        {"metavar": "FIELD=VALUE"},
    ),
    "--without": ('leave out an arm: full, or "lora r=64"; it can be added later', {"metavar": "LABEL"}),
    "--seeds": ("final seeds in each arm", {"metavar": "N"}),
    "--until-decided": ("add seeds to undecided comparisons at planned looks, which share 5 %%", {"action": "store_true"}),
    "--max-seeds": ("with --until-decided: seeds in an arm at most (default: three times the planned)", {"metavar": "N"}),
    "--tune-trials": ("tuning trials in each arm, at least 3 a tuned field", {"metavar": "N"}),
    "--eval-rows": ("rows, or questions of each task, that quality is measured on, at most", {"metavar": "N"}),
    "--budget": ("make the sweep fit into a time: 90m, 2h, 1.5h, 1d; it says what it lowers", {"metavar": "TIME"}),
    "--probe": ("measure this machine's speed with the model first, for estimates (a minute)", {"action": "store_true"}),
    "--model": ("base model: lab:base-0, a directory or a hub id", {"metavar": "DIR_OR_ID"}),
    "--data": ("training rows: lab:curated, a file, a hub id; several in shares: A=0.7,B=0.3", {"metavar": "FILE_OR_ID"}),
    "--eval-data": ("rows that quality is measured on (default: a share of --data)", {"metavar": "FILE_OR_ID"}),
    "--base-text": ("plain text whose likelihood measures forgetting", {"metavar": "FILE"}),
    "--field": ("take a column of the rows for one that is used: cluster=category, prompt=ask", {"metavar": "OURS=COLUMN"}),
    "--skip-bad-rows": ("leave malformed rows of --data and --eval-data out and count them", {"action": "store_true"}),
    "--no-prior": ("do not propose the learning rates that like sweeps in --output found first", {"action": "store_true"}),
    "--concurrency": ("trials at a time (default: as many as cores or GPUs allow)", {"metavar": "N"}),
    "--gpus-per-trial": (
        "GPUs or a fraction of one for each trial (default: 1 where there is one; laboratory: 0)",
        {"metavar": "X"},
    ),
    "--trial-timeout": ("a trial that runs longer is ended and recorded (21600)", {"metavar": "SECONDS"}),
    "--retry": ("run failed trials again", {"metavar": "failed"}),
    "--keep-weights": (
        "keep fully tuned weights of final trials, however large, so that they can be exported",
        {"action": "store_true"},
    ),
    "--disk-budget": ("what a sweep's weights may take together: 20GB; those go that can win least", {"metavar": "SIZE"}),
    "--checkpoint-every": (
        "time of training between the states from which a trial that was killed goes on (5m)",
        {"metavar": "TIME"},
    ),
    "--tracking-uri": (
        "MLflow server or database (default: MLFLOW_TRACKING_URI, else SQLite in the output directory)",
        {"metavar": "URI"},
    ),
    "--output": (
        "where trials, reports and the embedded store go (default: runs, below the folder you stand in)",
        {"metavar": "DIR"},
    ),
    "--ray-address": ("a running Ray cluster", {"metavar": "HOST:PORT"}),
}


# Of the options that do not take any text: what a value must be, and how it is read.
READ: dict[str, tuple[str, Callable[[str], object]]] = {
    "--seeds": ("a whole number", lambda text: _number(text, int)),
    "--max-seeds": ("a whole number", lambda text: _number(text, int)),
    "--tune-trials": ("a whole number", lambda text: _number(text, int)),
    "--eval-rows": ("a whole number", lambda text: _number(text, int)),
    "--budget": ("a time like 90m, 2h, 1.5h or 1d", lambda text: _duration(text)),
    "--concurrency": ("a whole number", lambda text: _number(text, int)),
    "--gpus-per-trial": ("a number between 0 and 1", lambda text: _number(text, float)),
    "--trial-timeout": ("a number of seconds", lambda text: _number(text, float)),
    "--disk-budget": (disk.LIKE, lambda text: disk.size(text)),
    "--checkpoint-every": ("a time like 5m, 90s or 1h", lambda text: _duration(text)),
    "--retry": ("failed", lambda text: {"failed": text}[text]),
    "--output": ("a directory", lambda text: _directory(text)),
}
QUOTES = "'\""
IDLE = (("--retry", Action.DRY_RUN), ("--retry", Action.STATUS), ("--probe", Action.STATUS))  # what does nothing beside another
SEVERAL = ("--set", "--without", "--field")  # may be given more than once


class Parser(command.Parser):
    """Also says what a value looks like, or that there is none."""

    def error(self, message: str) -> NoReturn:
        option, _, why = message.removeprefix("argument ").partition(": ")
        if "expected one argument" in why:
            raise BadInput(f"{option}: needs a value: {option} {OPTIONS[option][1].get('metavar', '')}", field=option)
        if found := re.search(r"ignored explicit argument (.*)", why):
            raise BadInput(f"{option}={found[1].strip(QUOTES)}: this option takes no value; give {option} alone", field=option)
        super().error(message)


def parse(arguments: Sequence[str] | None, description: str) -> Request:
    """The request that a command line makes.

    Raises:
        BadInput: it makes none; every independent reason is told.
    """
    parser = Parser("python sweeps/run.py", description)
    parser.add_argument("experiment", nargs="?", help="the question to ask (see --list)")
    for option, (text, settings) in OPTIONS.items():
        parser.add_argument(option, help=text, **({"action": "append"} | settings))
    found, problems = parser.read(_joined(sys.argv[1:] if arguments is None else arguments), "one experiment at a time")
    given = {option: texts for option in OPTIONS if (texts := getattr(found, _attribute(option)))}
    with problems.taken():
        request = _request(found.experiment, given)
    values = {_attribute(option): _value(option, texts, problems) for option, texts in given.items() if isinstance(texts, list)}
    if given.get("--list") and (beside := [option for option in given if option != "--list"]):
        problems.add(f"--list shows every experiment, whatever else is asked for: leave out {', '.join(beside)}", "--list")
    for option, instead in IDLE:
        if option in given and instead in given:
            problems.add(f"{option}: does nothing with {instead}; leave one out", option)
    problems.raise_all()
    action, questions, every = request
    flags = {_attribute(option) for option in given} & {field.name for field in dataclasses.fields(Options)} - values.keys()
    return Request(action, questions, every, Options(**dict.fromkeys(flags, True) | values))


def from_python(values: Mapping[str, Any]) -> Options:
    """The options with these values, by their names; texts are read as on the command line.

    Raises:
        BadInput: a text or a type that an option does not take; of several every one is told.
    """
    problems, found, kinds = Problems(), dict(values), get_type_hints(Options)
    for name, value in values.items():
        option, kind = f"--{name.replace('_', '-')}", kinds[name]
        several = option in SEVERAL
        if isinstance(value, str) and kind is not bool and not several:
            found[name] = _value(option, [value], problems)
        elif several and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            found[name] = tuple(value)
        elif several or not _is_a(value, kind):
            must = "True or False" if kind is bool else "a list of texts" if several else READ.get(option, ("text",))[0]
            problems.add(f"{option} {value!r}: must be {must}", option)
    problems.raise_all()
    return Options(**found)


def _is_a(value: object, kind: Any) -> bool:
    """Whether it is of this type, a whole number also where there may be another; True and False are no numbers."""
    kinds = get_args(kind) or (kind,)
    return isinstance(value, (*kinds, int) if float in kinds else kinds) and isinstance(value, bool) is (kind is bool)


def _joined(words: Sequence[str]) -> list[str]:
    """The words with values that begin like a negative number joined to their options: argparse takes -1h for an option."""
    found: list[str] = []
    for word in words:
        if found and found[-1] in OPTIONS and "metavar" in OPTIONS[found[-1]][1] and re.match(r"-[0-9.]", word):
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def _attribute(option: str) -> str:
    return option.strip("-").replace("-", "_")


def _request(named: str | None, given: Mapping[str, object]) -> tuple[Action, tuple[str, ...], bool]:
    """What to do, of which questions, and whether of all."""
    actions = [action for action in Action if action in given]
    if len(actions) > 1:
        raise BadInput(f"{actions[0]} and {actions[1]}: one at a time", field=actions[0])
    action = next(iter(actions), Action.RUN)
    for option, runs in (("--all", "runs"), ("--list", "shows")):
        if option in given and named is not None:
            raise BadInput(f"{option} {runs} every experiment: leave out {named}", field=option)
    if "--all" in given or action is Action.LIST:
        return action, tuple(experiments.names()), "--all" in given
    if named is None:
        raise BadInput("name an experiment, --all or --list: " + ", ".join(experiments.names()))
    if named not in experiments.names():
        raise BadInput(f"experiment {named!r} is unknown: {nearest(named, experiments.names())}")
    return action, (named,), False


def _value(option: str, texts: list[str], problems: Problems) -> Any:
    """The value of an option; what is wrong with it goes to the problems."""
    if option in SEVERAL:
        return tuple(texts)
    if len(texts) > 1:
        problems.add(f"{option}: given {len(texts)} times ({', '.join(texts)}); give it once", option)
    text = texts[-1]
    must, read = READ.get(option, ("readable text", str))
    if not text.strip():
        problems.add(f"{option}: must not be empty; give {option} {OPTIONS[option][1]['metavar']} or leave it out", option)
    elif not text.isprintable():
        problems.add(f"{option} {text!r}: must be text without control characters", option)
    else:
        try:
            return read(text)
        except (ValueError, KeyError, RuntimeError, OSError):  # a home of nobody is a RuntimeError, a name too long an OSError
            problems.add(f"{option} {text!r}: must be {must}", option)
    return None


def _directory(text: str) -> Path:
    path = Path(text).expanduser()
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # told where it is made
        path.stat()
    return path


UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _duration(text: str) -> float:
    """Seconds of "2h", "90m", "1.5h", "1d", "1h30m"."""
    found = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(text)
    total = sum(float(number) * UNITS[unit] for number, unit in found)
    if not 0 < total < math.inf:
        raise ValueError(text)
    return total


def _number(text: str, kind: Callable[[str], Any]) -> Any:
    if not text.isascii() or math.isnan(float(text)):
        raise ValueError(text)
    return kind(text)
