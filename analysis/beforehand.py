"""What is known of a question's claims before a run, for `sweeps/run.py`: `python -m analysis.beforehand QUESTION`.

Prints one JSON object: "record", what the claims say now (claims.json, see analysis/claims/frozen.py), and "power", lines on what
the planned seeds can show. Exit codes: 0; 2 bad input.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import experiments
from analysis import questions
from analysis.claims import frozen, power, unanswered, verdicts
from analysis.claims.verdicts import Verdict
from analysis.stats.looks import levels
from core import environment
from core.command import Parser, refused
from core.errors import BadInput

KEPT = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("python -m analysis.beforehand", __doc__)
    parser.add_argument("question")
    parser.add_argument("--seeds", required=True, help="planned in each arm, with commas between: 4, or the looks at 4,6,8")
    parser.add_argument("--bases", type=int, default=1, help="over which seeds take turns")
    parser.add_argument("--output", default="runs", help="where earlier sweeps may lie")
    parser.add_argument("--kept", action="store_true", help="the results that the project keeps are of the same kind")
    parser.add_argument("--late", action="store_true", help="final seeds have run already")
    try:
        found, problems = parser.read(arguments, "one question")
        problems.raise_all()
        drawn = tuple(map(int, found.seeds.split(","))), found.bases
        print(json.dumps(known(found.question, drawn, (Path(found.output), found.kept), found.late), ensure_ascii=False))
    except BadInput as error:
        return refused(error)
    return 0


def known(name: str, drawn: tuple[tuple[int, ...], int], where: tuple[Path, bool], late: bool = False) -> dict[str, object]:
    """What the program prints. `drawn`: the seeds at each look, and the bases over which they take turns; `where`: the output
    directory, and whether kept results may be read."""
    question, experiment = questions.load(name), experiments.load(name)
    seeds, n_bases = drawn
    asked = dataclasses.replace(experiment, seeds=tuple(range(seeds[0])))
    record = frozen.today(question, asked, late)
    planned = power.Planned(seeds[-1], len(experiment.claims), levels(seeds, seeds[-1])[-1], n_bases)
    earlier, source = spread(name, *where, planned)
    lines = power.lines(unanswered.asked(question, experiment), earlier, source, planned) if experiment.claims else []
    return {"record": record.to_json(), "power": lines}


def spread(name: str, output: Path, kept: bool, planned: power.Planned) -> tuple[Mapping[str, Verdict], str]:
    """The verdicts that say how much seeds vary, and where they were found: the kept results, where they may be read, else of the
    question's reports in the output directory the one with the most items and seeds; none where there are neither. Seeds of a
    sweep that drew bases vary more than those of one that did not, so the one says nothing of the other."""
    reports = sorted(output.glob(f"{name}-*/report/verdicts.json"))
    found = [(_read(path), path.parent.parent.name) for path in reports]
    found.sort(key=lambda one: max(((v.n_items, v.n_seeds) for v in one[0]), default=(0, 0)), reverse=True)
    found = [*([(_read(KEPT / name / "verdicts.json"), f"analysis/results/{name}")] if kept else []), *found]
    for rows, source in found:
        alike = any(one.n_bases for one in rows) == bool(planned.n_drawn)
        if alike and any(power.estimate_of(one) for one in rows):
            return {one.id: one for one in rows}, source
    return {}, ""


def _read(path: Path) -> list[Verdict]:
    """The verdicts of a report; none where it is not there, or another version wrote it."""
    try:
        return verdicts.read(path)
    except (OSError, ValueError, TypeError):
        return []


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
