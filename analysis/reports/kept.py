"""Reports that lie on disk, as the page over all of them is made from: of sweeps in the store, and of those that are in none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import experiments
from analysis import formatting
from analysis.claims import verdicts
from analysis.claims.verdicts import Verdict
from analysis.reports import parts
from core.adapters import METHODS
from core.errors import BadInput, message

FILES = ("report.md", "figure.png", "trials.csv", "verdicts.json")
SMOKE = re.compile(rf"^\*\*({parts.SMOKE}.*)\.\*\*$", re.MULTILINE)  # in report.md
# Columns of trials.csv that are text even where all of it looks like numbers.
TEXTS = dict.fromkeys(("arm", "sweep", "git_commit", "model.name", "data.source", "device", "adapter.method"), str)


@dataclass(frozen=True)
class Kept:
    """A question's report on disk."""

    verdicts: list[Verdict]
    about: str  # sweep, models and data, in a few words
    origin: str  # commit and cost
    trials: pd.DataFrame
    text: str  # report.md


def read(folder: Path) -> Kept:
    """The report in a folder.

    Raises:
        BadInput: a file of it is damaged.
    """
    try:
        text = (folder / "report.md").read_text(encoding="utf-8")
        trials = pd.read_csv(folder / "trials.csv", dtype=TEXTS, low_memory=False)
        trials = trials[trials["adapter.method"].isin(METHODS)]  # of methods that are no more nothing is drawn
        small = "".join(SMOKE.findall(text)[:1])
        about, origin = formatting.joined(parts.about(trials), small), parts.origin(trials)
        return Kept(verdicts.read(folder / "verdicts.json"), about, origin, trials, text)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"the report in {folder} is damaged ({message(error)}); remove it or make it again") from None


def every(directory: Path) -> tuple[dict[str, Kept], dict[str, str]]:
    """Of each question that has a report in `directory`, what it says; and why some can't be read."""
    found, damaged = {}, {}
    for name in experiments.names():
        if all((directory / name / file).is_file() for file in FILES):
            try:
                found[name] = read(directory / name)
            except BadInput as error:
                damaged[name] = message(error)
    return found, damaged
