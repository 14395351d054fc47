"""Are the scores in these files different? `python analysis/compare.py A.jsonl B.jsonl [C.jsonl …]`

Takes what other programs wrote: JSONL or CSV with id and score (also weight, group, cluster, seed), samples_*.jsonl of
lm-evaluation-harness (or a directory of them), and logs of Inspect as JSON. Scores are paired by id (and seed); every file is
compared with the first. Exit codes: 0 compared; 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not analysis/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import formatting
from analysis.scores import files, paired
from analysis.scores.paired import Compared, Comparison, Paired
from analysis.stats import Estimate
from core import environment
from core.command import EXIT_INTERRUPTED, Parser, refused
from core.errors import BadInput, shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python analysis/compare.py", __doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="two or more; the first is what the others are compared with")
    parser.add_argument("--metric", default="", help="which score, where items have several")
    parser.add_argument("--filter", default="", help="of the harness: which of its filters, where there are several")
    parser.add_argument("--lower-is-better", action="store_true", help="for losses and error rates")
    parser.add_argument("--equivalence", metavar="MARGIN", help="also: do they differ by less than MARGIN? 0.02, say")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    found, problems = parser.read(arguments, "unknown")
    if not problems.found and len(found.files) < 2:
        problems.add("give two files or more, of scores of the same items")
    if twice := next((name for name in found.files if found.files.count(name) > 1), None):
        problems.add(f"{twice}: given twice; give each file once")
    with problems.taken():
        found.equivalence = None if found.equivalence is None else _margin(found.equivalence)
    problems.raise_all()
    return found


def _margin(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadInput(f"--equivalence {text!r}: must be a number above 0", field="--equivalence")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    try:
        chosen = parse(arguments)
        choice = files.Choice(chosen.metric, chosen.filter)
        read = [files.read(name, choice) for name in chosen.files]
        if chosen.filter and not any(one.has_filters for one in read):
            text = "only samples of lm-evaluation-harness have filters; leave it out"
            raise BadInput(f"--filter {chosen.filter!r}: {text}", field="--filter")
        found = paired.pair(read)
        names = shown_names(chosen.files)
        compared = paired.compare(found, names, chosen.lower_is_better, chosen.equivalence)
    except BadInput as error:
        return refused(error, lambda one: shown(one.text))  # names of files are no URIs: nothing in them is a secret
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    make = as_json if chosen.json else as_text
    print(make(names, found, compared, chosen))
    return 0


def shown_names(paths: Sequence[str]) -> list[str]:
    """The files' own names, or where two are called the same their paths."""
    short = [Path(path).name for path in paths]
    return [shown(one) for one in (short if len(set(short)) == len(short) else paths)]


def as_text(names: Sequence[str], found: Paired, compared: Compared, chosen: argparse.Namespace) -> str:
    """The table, and below it what was paired and what follows."""
    over = "new items, for these models as they are" if found.n_seeds == 1 else "new seeds and new items"
    n_seeds = "" if found.n_seeds == 1 else f"{found.n_seeds} seeds × "
    lines = [f"paired: {n_seeds}{found.n_items:,} items; brackets are 95 % intervals, for {over}"]
    lines += [_counts(name, one) for name, one in zip(names, found.counted, strict=True)]
    if not found.crossed:
        lines.append("no item is in every seed: means of seeds are compared")
    head = ["", "score", f"difference from {names[0]}", "p (Holm)", "better?"] + ["equal?"] * (chosen.equivalence is not None)
    rows = [[names[0], formatting.estimate(compared.means[0])]]
    rows += [_row(one, mean) for one, mean in zip(compared.comparisons, compared.means[1:], strict=True)]
    widths = [max((len(row[i]) for row in [head, *rows] if i < len(row)), default=0) for i in range(len(head))]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in [head, *rows]]
    lines += ["", *table, "", *(_claim(one, names[0], chosen) for one in compared.comparisons)]
    best = f"best: {compared.best[0]}" if len(compared.best) == 1 else f"cannot be told from the best: {', '.join(compared.best)}"
    return "\n".join([*lines, best])


def _counts(name: str, one: paired.Counted) -> str:
    told = [f"{one.n_scores - one.n_left_out:,} paired", f"{one.n_left_out:,} left out"]
    told += [f"{one.n_repeated:,} repeated, averaged by id"] if one.n_repeated else []
    told += [f"{one.n_unscored:,} without a score"] if one.n_unscored else []
    return f"  {name}: {', '.join(told)} ({one.what})"


def _row(one: Comparison, mean: Estimate) -> list[str]:
    p = "–" if math.isnan(one.p_holm) else f"{one.p_holm:.2g}"
    cells = [one.path, formatting.estimate(mean), formatting.estimate(one.difference, signed=True), p, str(one.better)]
    return cells + ([str(one.equal)] if one.equal is not None else [])


def _claim(one: Comparison, first: str, chosen: argparse.Namespace) -> str:
    """One sentence for each comparison, with what it could have found."""
    text = f"{one.path} is better than {first}: {one.better}" + (f" ({one.note})" if one.note else "")
    if one.equal is not None:
        text += f"; they are equal within ±{chosen.equivalence:g}: {one.equal}"
    if not math.isnan(one.detectable):
        text += f"; a true difference of {formatting.number(one.detectable)} would be found with 80 % power"
    return text


def as_json(names: Sequence[str], found: Paired, compared: Compared, chosen: argparse.Namespace) -> str:
    """The same as JSON; what is no number is null."""
    row = {
        "n_items": found.n_items,
        "n_seeds": found.n_seeds,
        "crossed": found.crossed,
        "files": [
            {"name": name, **vars(one), "score": _numbers(mean)}
            for name, one, mean in zip(names, found.counted, compared.means, strict=True)
        ],
        "reference": names[0],
        "comparisons": [
            {
                "name": one.path,
                "difference": _numbers(one.difference),
                "p": _plain(one.p),
                "p_holm": _plain(one.p_holm),
                "better": one.better,
                "equal": one.equal,
                "minimum_detectable": _plain(one.detectable),
                "note": one.note,
            }
            for one in compared.comparisons
        ],
        "not_told_from_the_best": compared.best,
        "lower_is_better": chosen.lower_is_better,
        "equivalence": chosen.equivalence,
    }
    return json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False)


def _numbers(e: Estimate) -> dict[str, float | None]:
    return {"value": _plain(e.value), "low": _plain(e.low), "high": _plain(e.high)}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
