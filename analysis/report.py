"""The one door of the analysis: `python analysis/report.py [QUESTION]`.

With a question's name it makes that question's report from its last sweep that has results; without one, the reports of every
question that has been run, and one page over them. Exit codes: 0 made; 2 bad input; 3 some of the reports could not be made.

`--accept 'quality>=base+0.02,forgetting<=0.05'` judges the arm that the report says to use (or `arm=LABEL`), a line for each
condition. Exit codes: 0 all accepted (the whole 95 % interval satisfies each); 1 one is rejected (no part of its interval does);
3 undecided; 2 bad input. `--json` prints the decision instead of the text.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not analysis/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import experiments
from core import environment, tracking
from core.command import Parser, refused
from core.errors import DISK, EXIT_INCOMPLETE, PLACES, BadInput, Problems, nearest, one_line
from core.naming import expanded
from core.result import sweep_folder

if TYPE_CHECKING:
    from analysis.claims.accept import Judged
    from analysis.reports.question import Report

# `--help` and a misspelt option answer at once: what imports pandas and matplotlib is imported in the functions that need it.

LONGEST_NAME = 255  # of a file, in bytes


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python analysis/report.py", __doc__)
    parser.add_argument("question", nargs="?", help="one question (default: every one that has been run, and the page over all)")
    parser.add_argument("--sweep", action="append", default=[], help="a sweep's id or its beginning, instead of the last one")
    parser.add_argument("--output", default="runs", help="the sweeps' directory (default: runs)")
    parser.add_argument("--tracking-uri", help="where the trials were logged (default: MLFLOW_TRACKING_URI, OUTPUT/mlflow.db)")
    parser.add_argument("--report", help="where it goes (default: OUTPUT/<question>-<sweep>/report, or OUTPUT/report)")
    parser.add_argument(
        "--accept", metavar="CONDITIONS", help="of one question: MEASURE>=NUMBER, MEASURE<=base+NUMBER, arm=LABEL"
    )
    parser.add_argument(
        "--cost", metavar="NAME=PRICE,…", help="of one question: the price of an example of each source; quality against it"
    )
    parser.add_argument(
        "--json", action="store_true", help="of one question: print its decision.json, with the outcome of --accept"
    )
    found, problems = parser.read(arguments, "one question at a time")
    check(found, problems)
    for option in ("output", "report"):
        with problems.taken():
            text = getattr(found, option)
            setattr(found, option, expanded(f"--{option}", text) if text else None)
    problems.raise_all()
    return found


def check(found: argparse.Namespace, problems: Problems) -> None:
    """Whether the options can be used, which may have `problems` already.

    Raises:
        BadInput: some cannot; all of them are told.
    """
    if found.question is not None and found.question not in experiments.names():
        problems.add(f"question {found.question!r}: {nearest(found.question, experiments.names())}")
    if found.question is not None and len(found.sweep) > 1:
        problems.add(f"--sweep {found.sweep[1]}: one sweep of one question at a time; leave out --sweep {found.sweep[0]}")
    for option, value in (("--accept", found.accept is not None), ("--cost", found.cost is not None), ("--json", found.json)):
        if value and found.question is None:
            problems.add(f"{option}: is about one question; name it: python analysis/report.py QUESTION {option}", option)
    given = {"--output": found.output, "--report": found.report, "--tracking-uri": found.tracking_uri}
    for option, value in [*given.items(), *(("--sweep", sweep) for sweep in found.sweep)]:
        text = "" if value is None else str(value)
        if value is not None and not text.strip():
            problems.add(f"{option}: must not be empty; give a value or leave it out", option)
        elif not text.isprintable() or max(map(len, text.split("/"))) > LONGEST_NAME:
            problems.add(f"{option} {text!r}: must be text without control characters, {LONGEST_NAME} between slashes", option)
    problems.raise_all()


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    try:
        chosen = parse(arguments)
        from analysis import load

        uri = load.store(chosen.output, chosen.tracking_uri)
        return one(chosen.question, uri, chosen) if chosen.question else everything(uri, chosen)
    except BadInput as error:
        return refused(error)
    except OSError as error:
        if error.errno not in (*DISK, *PLACES):  # a defect, which its traceback shows
            raise
        print(f"error: {one_line(error)}; the report before stays as it was", file=sys.stderr)
        return EXIT_INCOMPLETE


def everything(uri: str, chosen: argparse.Namespace) -> int:
    """The reports of all that was run, and the page over them."""
    from analysis.reports import book

    if chosen.report:
        check_makes("--report", chosen.report)
    return book.book(uri, chosen.report or chosen.output / "report", chosen.sweep)


def check_makes(option: str, directory: Path) -> None:
    """Whether an option's directory can be made and written to, before anything is computed; what was not there is not left.

    Raises:
        BadInput: it can't be made or written to.
    """
    there = directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if not there:
            directory.rmdir()
    except OSError as error:
        text = f"cannot be written to ({error.strerror}); give another directory"
        raise BadInput(f"{option} {directory}: {text}", field=option) from None


def one(name: str, uri: str, chosen: argparse.Namespace) -> int:
    """The report of one question, on disk, in the store and on the terminal; the exit code."""
    from analysis.claims import accept, annotation
    from analysis.reports.question import analysed

    asked = accept.parse(chosen.accept) if chosen.accept is not None else None
    prices = annotation.parse(chosen.cost) if chosen.cost is not None else None
    sweep, newer = tracking.last_with_results(uri, name, "".join(chosen.sweep))
    tell_newer(sweep, newer)
    directory = chosen.report or sweep_folder(chosen.output, name, sweep) / "report"
    check_makes("--report", directory)
    made = analysed(name, uri, sweep, directory, prices)
    judged = accept.judge(made.tables, made.choice, asked) if asked else []
    tracking.write_arms(uri, sweep, json.loads(made.arm_rows.to_json(orient="records")))
    tracking.write_analysis(uri, sweep, made.files, made.note)
    tell(made, judged, directory / "report.md", chosen.json)
    return accept.EXIT[accept.overall(judged)] if judged else 0


def tell_newer(sweep: str, newer: Sequence[str]) -> None:
    """Says on stderr that another sweep than the last one is taken, as those after it have no results yet."""
    if newer:
        ids = ", ".join(one[:8] for one in newer)
        print(f"sweep {sweep[:8]}: newer, but without a finished final trial yet: {ids}", file=sys.stderr)


def tell(made: Report, judged: Sequence[Judged], page: Path, as_json: bool) -> None:
    """Prints what was found: the texts and a line for each condition, or all of it as one JSON object."""
    from analysis.claims import accept
    from analysis.reports import use

    if as_json:
        accepted = {"accept": use.outcomes(judged)} if judged else {}
        print(use.to_json({**made.decision, **accepted, "report": str(page)}), end="")
        return
    print(made.terminal)
    print(f"report: {page}")
    for condition in judged:
        print(accept.line(condition))


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
