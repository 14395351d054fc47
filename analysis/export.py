"""Take the winner of a sweep home: `python analysis/export.py QUESTION`, or the beginning of a sweep's id.

Writes the adapter of the arm that the report says to use (PEFT, safetensors), or with --merged whole weights, with tokenizer,
chat template, generation settings and a model card, into a directory that does not exist yet. Exit codes: 0 written; 2 bad
input; 3 not written; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not analysis/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import experiments
from analysis.report import check_makes, tell_newer
from core import environment, tracking
from core.command import EXIT_INTERRUPTED, Parser, refused
from core.errors import EXIT_INCOMPLETE, BadInput, nearest, one_line
from core.naming import expanded
from core.result import sweep_folder

# `--help` and a misspelt option answer at once: what imports pandas or torch is imported in the functions that need it.

FOLDER = re.compile(r"(?P<name>[a-z_]+)-(?P<sweep>[0-9a-f]{8})")  # of a sweep


@dataclass(frozen=True)
class Sweep:
    question: str
    id: str
    n_others: int  # sweeps of the question that ran before

    def folder(self, output: Path) -> Path:
        return sweep_folder(output, self.question, self.id)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python analysis/export.py", __doc__)
    parser.add_argument("sweep", nargs="?", help="a question (its last sweep that has results) or the beginning of a sweep's id")
    parser.add_argument("--arm", help="instead of the one that the report says to use")
    parser.add_argument("--merged", action="store_true", help="whole weights, for programs that know no adapters")
    parser.add_argument("--to", help="a directory that does not exist yet (default: OUTPUT/<question>-<sweep>/<arm>)")
    parser.add_argument("--output", default="runs", help="the sweeps' directory (default: runs)")
    parser.add_argument("--tracking-uri", help="where the trials were logged (default: MLFLOW_TRACKING_URI, OUTPUT/mlflow.db)")
    parser.add_argument("--base", help="where the base is now, if it was moved")
    parser.add_argument("--base-name", help="what others call the base: its hub id")
    found, problems = parser.read(arguments, "one sweep at a time")
    if found.sweep is None and not problems.found:
        problems.add("name a question, or the beginning of a sweep's id")
    for option in ("sweep", *parser.options):
        value = getattr(found, option.strip("-").replace("-", "_"))
        if isinstance(value, str) and not (value.strip() and value.isprintable()):
            problems.add(f"{option} {value!r}: must be text without control characters, and not empty", option)
    problems.raise_all()
    for option in ("output", "to"):
        if (text := getattr(found, option)) is not None:
            with problems.taken():
                setattr(found, option, expanded(f"--{option}", text))
    problems.raise_all()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    try:
        print(export(parse(arguments)))
    except BadInput as error:
        return refused(error)
    except OSError as error:  # a full disk
        print(f"error: nothing was written: {one_line(error)}", file=sys.stderr)
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def find(uri: str, text: str) -> Sweep:
    """The sweep that is meant.

    Raises:
        BadInput: there is none, or it may be one of several questions.
    """
    named = FOLDER.fullmatch(Path(text).name)
    if text in experiments.names():
        last, newer = tracking.last_with_results(uri, text)
        tell_newer(last, newer)
        return Sweep(text, last, len(tracking.sweeps(uri, text)) - len(newer) - 1)
    if named and named["name"] in experiments.names():
        return _latest(uri, named["name"], named["sweep"])
    found: list[Sweep] = []
    for name in experiments.names() if re.fullmatch(r"[0-9a-f]+", text) else ():
        try:
            found.append(_latest(uri, name, text))
        except tracking.Absent:  # not one of this question's
            continue
    if not found:
        near = nearest(text, experiments.names())
        raise BadInput(f"{text!r}: neither a question nor the beginning of the id of a sweep in the store; {near}")
    if len({one.id for one in found}) > 1 or found[0].n_others:
        raise BadInput(f"{text!r}: more than one sweep's id begins so; give more of it")
    return found[0]


def _latest(uri: str, name: str, beginning: str) -> Sweep:
    ids = tracking.sweeps(uri, name, beginning)
    return Sweep(name, ids[0], len(ids) - 1)


def export(chosen: argparse.Namespace) -> str:
    """Writes the model; what is said of it.

    Raises:
        BadInput: no such sweep or arm, no weights, or the directory is there already.
    """
    from analysis import load, questions

    uri = load.store(chosen.output, chosen.tracking_uri)
    sweep = find(uri, chosen.sweep)
    if chosen.to is not None:
        check_new(chosen.to)  # at once: what follows takes seconds
        check_makes("--to", chosen.to)
    trials = load.trials(uri, sweep.question, sweep.id)
    answer = questions.answer(sweep.question, trials, load.items(uri, trials))
    picked = pick(answer.tables, sweep.folder(chosen.output) / "trials", chosen.arm)
    target = chosen.to or sweep.folder(chosen.output) / _slug(picked, chosen.merged)
    check_new(target)
    lines = _write(chosen, sweep, answer.tables, picked, target)
    others = f" (the last of {sweep.n_others + 1} sweeps; name another by its id)" if sweep.n_others else ""
    return "\n".join([f"{sweep.question} {sweep.id[:8]}{others}", *lines])


def check_new(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target}: is there already; give another directory with --to", field="--to")


def _slug(picked: Picked, merged: bool) -> str:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"export {picked.label}").strip("-.")
    return words[:100] + "-merged" * merged


@dataclass(frozen=True)
class Picked:
    """The arm and the trial that leave, and why these: a sentence each."""

    label: str
    source: Any  # core.leaving.Source
    why: tuple[str, ...]


def pick(tables: Any, folder: Path, asked: str | None) -> Picked:
    """The arm that was asked for, or that the report says to use; of it the seed nearest to the median that kept its weights.

    Raises:
        BadInput: there is no such arm, nothing to use, or none of its weights were kept.
    """
    from core import leaving

    final = {arm.label: arm for arm in tables.arms if arm.final}
    if asked is not None and asked not in final:
        raise BadInput(f"--arm {asked!r}: {nearest(asked, list(final))}", field="--arm")
    label, why, others = (asked, "as it was asked for", ()) if asked is not None else _to_use(tables)
    arm, kept, reasons = final[label], [], []
    quality = dict(zip(tables.trials["fingerprint"], tables.trials["quality"], strict=True))
    for seed, fingerprint in sorted(arm.final.items()):
        try:
            kept.append((seed, float(quality[fingerprint]), leaving.source(folder / f"{fingerprint}-final")))
        except BadInput as error:
            reasons.append(error.text)
    if not kept:
        instead = f"; or --arm with one of {', '.join(others)}" if others else ""
        raise BadInput(f"--arm {label!r}: {reasons[0]}{instead}", field="--arm")
    median = statistics.median(float(quality[one]) for one in arm.final.values())
    seed, own, source = min(kept, key=lambda one: (abs(one[1] - median), one[0]))
    return Picked(label, source, (f"Arm {label}: {why}.", _why_seed(arm, seed, own, median, kept)))


def _to_use(tables: Any) -> tuple[str, str, tuple[str, ...]]:
    """The arm that the report says to use, why, and what else cannot be told from the best.

    Raises:
        BadInput: it says to keep the base, or nothing; with what could be asked for.
    """
    from analysis.claims.choice import choose
    from analysis.reports.use import headline

    choice = choose(tables)
    if not choice.chosen or choice.base:
        labels = [arm.label for arm in tables.arms if arm.final]
        best = max(labels, key=lambda label: tables.means[label]["quality"].value)
        which = f"--arm {choice.instead!r}" if choice.instead else f"--arm; the highest mean quality has {best!r}"
        raise BadInput(f"the report says: {headline(choice)}; to take an arm all the same, name it with {which}", field="--arm")
    others = tuple(label for label in choice.told if label != choice.chosen)
    rest = f"; {len(others)} more cannot be told from the best by their scores" if others else ""
    return choice.chosen, f'the report\'s choice of {choice.n_arms} arms ("Use this"){rest}', others


def _why_seed(arm: Any, seed: int, own: float, median: float, kept: Sequence[object]) -> str:
    n = len(arm.final)
    of = f"{n} seeds" if len(kept) == n else f"the {len(kept)} of {n} seeds that kept weights"
    return f"Seed {seed}, of {of} the nearest to the arm's median quality ({own:.3f}; median {median:.3f})."


def _write(chosen: argparse.Namespace, sweep: Sweep, tables: Any, picked: Picked, target: Path) -> list[str]:
    """Writes beside the target and renames: the directory is whole or not there."""
    from analysis.reports import card
    from core import leaving

    base = leaving.base_of(picked.source, chosen.base, chosen.base_name)
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    beside.mkdir(parents=True)
    try:
        left = leaving.write(picked.source, base, beside, chosen.merged)
        arm = tables.named(picked.label)
        assert arm is not None
        made = card.Card(experiments.load(sweep.question), sweep.id, tables, arm, picked.source, base, left, picked.why)
        (beside / "README.md").write_text(card.text(made), encoding="utf-8")
        check_new(target)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    megabytes = sum(file.stat().st_size for file in target.iterdir()) / 1e6
    lines = [*picked.why, *left.notes, f"{left.kind}, {megabytes:.1f} MB: {target}"]
    if left.agreement is not None:
        one = left.agreement
        tokens = "the same" if one.same_tokens else "NOT everywhere the same"
        lines.insert(-1, f"against the adapter in place: logits within {one.largest_difference:.1e}, next tokens {tokens}")
    return lines


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
