"""The one door of the analysis: `python analysis/report.py [QUESTION]`.

With a question's name it makes that question's report from its sweep that ran last; without one, the reports of every question
that has been run, and one page over them. Exit codes: 0 made; 2 bad input; 3 some of the reports could not be made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not analysis/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import experiments
from core import environment, tracking
from core.errors import BadInput, message, nearest

# `--help` and a misspelt option answer at once: what imports pandas and matplotlib is imported in the functions that need it.


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python analysis/report.py", description=__doc__, formatter_class=form, allow_abbrev=False
    )
    parser.add_argument("question", nargs="?", help="one question (default: every one that has been run, and the page over all)")
    parser.add_argument("--sweep", action="append", default=[], help="a sweep's id or its beginning, instead of the last one")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="the sweeps' directory (default: runs)")
    parser.add_argument("--tracking-uri", help="where the trials were logged (default: MLFLOW_TRACKING_URI, OUTPUT/mlflow.db)")
    parser.add_argument("--report", type=Path, help="where it goes (default: OUTPUT/<question>-<sweep>/report, or OUTPUT/report)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    chosen = parse(arguments)
    from analysis import load

    uri = load.store(chosen.output, chosen.tracking_uri)
    try:
        return one(chosen.question, uri, chosen) if chosen.question else everything(uri, chosen)
    except BadInput as error:
        print(f"error: {message(error)}", file=sys.stderr)
        return 2


def everything(uri: str, chosen: argparse.Namespace) -> int:
    """The reports of all that was run, and the page over them."""
    from analysis.reports import book

    return book.book(uri, chosen.report or chosen.output / "report", chosen.sweep)


def one(name: str, uri: str, chosen: argparse.Namespace) -> int:
    """The report of one question, on disk, in the store and on the terminal."""
    from analysis.reports.question import analysed

    if name not in experiments.names():
        raise BadInput(f"question {name!r}: {nearest(name, experiments.names())}")
    if len(chosen.sweep) > 1:
        raise BadInput(f"--sweep {chosen.sweep[1]}: one sweep of one question at a time")
    sweep = tracking.latest_sweep(uri, name, "".join(chosen.sweep))
    directory = chosen.report or chosen.output / f"{name}-{sweep[:8]}" / "report"
    made = analysed(name, uri, sweep, directory)
    tracking.write_arms(uri, sweep, json.loads(made.arm_rows.to_json(orient="records")))
    tracking.write_analysis(uri, sweep, made.files, made.note)
    print(made.terminal)
    print(f"report: {directory / 'report.md'}")
    return 0


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
