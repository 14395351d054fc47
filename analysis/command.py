"""The command of every question's analysis: load a sweep's trials, have the report made, log it, say where it is."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core import tracking
from core.definitions import BadInput, Experiment, message

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Report:
    """What a question's analysis gives: its files on disk, a row for each cell, and its texts."""

    files: list[Path]
    cells: pd.DataFrame
    verdicts: list[dict[str, object]]  # the ledger: one row a claim (analysis/verdicts.py)
    about: str  # sweep, models and data, in a few words
    origin: str  # commit and cost
    note: str  # Markdown, for the parent run's description
    terminal: str


Make = Callable[["pd.DataFrame", "pd.DataFrame", Experiment, Path], Report]  # trials, items, experiment, directory


def options(description: str) -> argparse.ArgumentParser:
    """The options that say where trials are."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("runs"), help="the sweeps' directory (default: runs)")
    parser.add_argument("--tracking-uri", help="where the trials were logged (default: MLFLOW_TRACKING_URI, OUTPUT/mlflow.db)")
    return parser


def store(chosen: argparse.Namespace) -> str:
    """The tracking URI of the command line."""
    return str(chosen.tracking_uri or os.environ.get(tracking.URI_VARIABLE) or tracking.default_uri(chosen.output))


def main(name: str, make: Make, arguments: Sequence[str] | None = None) -> int:
    """Runs the analysis `make` of the experiment `name`; the exit code."""
    parser = options(f"Tables, figure and verdicts of a {name} sweep.")
    parser.add_argument("--sweep", help="sweep id or its beginning (default: the one that ran last)")
    parser.add_argument("--report", type=Path, help="where the report goes (default: OUTPUT/<experiment>-<sweep>/report)")
    chosen = parser.parse_args(arguments)
    try:
        return _run(name, make, store(chosen), chosen.sweep, chosen.output, chosen.report)
    except BadInput as error:
        print(f"error: {message(error)}", file=sys.stderr)
        return 2


def analysed(name: str, make: Make, uri: str, sweep: str, directory: Path) -> Report:
    """The report of one sweep, written to `directory`."""
    from analysis import load
    from experiments import load as load_experiment

    trials = load.trials(uri, name, sweep)
    return make(trials, load.items(uri, trials), load_experiment(name), directory)


def _run(name: str, make: Make, uri: str, sweep: str | None, output: Path, report: Path | None) -> int:
    sweep = tracking.latest_sweep(uri, name, sweep or "")
    directory = report or output / f"{name}-{sweep[:8]}" / "report"
    made = analysed(name, make, uri, sweep, directory)
    tracking.write_cells(uri, sweep, json.loads(made.cells.to_json(orient="records")))
    tracking.write_analysis(uri, sweep, made.files, made.note)
    print(made.terminal)
    print(f"report: {directory / 'report.md'}")
    return 0
