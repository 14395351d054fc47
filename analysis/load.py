"""MLflow → tidy frames. One row a trial, failed ones included, with columns of the types they were defined with; and the
items of each trial, one row an item and measure."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import typing
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from core import tracking
from core.adapters import METHODS
from core.errors import BadInput, one_line, redacted
from core.fields import ADDED_LATER, flatten
from core.settings import Part, Trial, parts
from core.states import Phase, State

if typing.TYPE_CHECKING:
    import pyarrow

N_WORDS = 4  # columns of items that are words: measure, axis, group, item
ITEM_COLUMNS = ("fingerprint", "measure", "axis", "group", "item", "weight", "before", "after")
SAME_RUNS = "same_runs"  # a column of trials: as JSON, the arms that are these runs too
_TAGS = {name: f"tunelab.{name}" for name in ("fingerprint", "arm", "phase", "state", "reason", "sweep")}


def field_types() -> dict[str, type]:
    """Dotted field of a trial → its type (None aside)."""
    hints: dict[str, type] = {}
    owners: list[tuple[type[Part] | type[Trial], str]] = [*((part, part.PREFIX) for part in parts()), (Trial, "")]
    for owner, prefix in owners:
        resolved = typing.get_type_hints(owner)
        for field in dataclasses.fields(owner):
            options = [
                kind for kind in typing.get_args(resolved[field.name]) or (resolved[field.name],) if kind is not type(None)
            ]
            if options[0] in (str, int, float, bool):
                hints[prefix + field.name] = options[0]
    return hints


def typed(name: str, text: str | None, types: dict[str, type]) -> object:
    """A parameter as MLflow keeps it (text) as a value; "None" is None."""
    kind = types.get(name, str)
    if text is None or text in ("None", "") or (kind is not str and text.lower() in ("none", "null")):
        return None
    if kind is bool:
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name}={text!r:.60} is no {kind.__name__}") from None


def frame(runs: Iterable[dict[str, typing.Any]], uri: str = "") -> pd.DataFrame:
    """What `tracking.read_trials` returns as one row a trial: fields, provenance and facts, metrics, tags, run id. Trials of a
    method that is no more are left out, which is said.

    Raises:
        BadInput: a run is none of a trial, or damaged.
    """
    types = field_types()
    defaults = flatten(Trial())
    later = {name: defaults[name] for name in ADDED_LATER}  # a trial from before has the default and does not say so
    rows, gone = [], Counter[str]()
    for run in runs:
        if (method := run["params"].get("adapter.method")) and method not in METHODS:
            gone[method] += 1
            continue
        row: dict[str, object] = {name: run[name] for name in ("run_id", "artifacts", "status")}
        try:
            row |= later | {name: typed(name, text, types) for name, text in run["params"].items()}
        except ValueError as error:
            raise tracking.damaged(uri, run["run_id"], str(error)) from None
        row |= {name: run["tags"].get(tag) for name, tag in _TAGS.items()}
        row |= run["metrics"]
        row["state"] = row["state"] or str(run["status"]).lower()
        _check(uri, row)
        rows.append(row)
    for method, n in gone.items():
        print(f"caution: {n} trials of adapter.method={method} are left out: this version has no such method", file=sys.stderr)
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    rest = [name for name in table.columns if name not in ("arm", "phase", "seed", "state", "reason")]
    return table[["arm", "phase", "seed", "state", "reason", *rest]].sort_values(["arm", "phase", "seed"], kind="stable")


def _check(uri: str, row: Mapping[str, object]) -> None:
    """A trial has a seed, a state and a phase, and its quality where it has finished.

    Raises:
        BadInput: this one has not.
    """
    needed = {"seed": int, "state": str, "phase": str} | ({"quality": float} if row["state"] == State.FINISHED else {})
    for name, kind in needed.items():
        value = row.get(name)
        if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
            raise tracking.damaged(uri, str(row["run_id"]), f"{name} is {value!r:.60}")
    if row["state"] not in list(State):
        raise tracking.damaged(uri, str(row["run_id"]), f"state is {row['state']!r:.60}")


def told(trials: pd.DataFrame, same: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The trials with what the store says of repeated arms, each a mapping of "arm", "of" and "fields"."""
    if not same:
        return trials
    by_arm = {str(one["of"]): [other for other in same if other["of"] == one["of"]] for one in same}
    return trials.assign(**{SAME_RUNS: [json.dumps(by_arm[arm]) if arm in by_arm else "" for arm in trials["arm"]]})


def sweep(
    name: str, output: str | Path = "runs", sweep: str = "", tracking_uri: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(trials, items) of a question's sweep, which `questions.answer` takes: the last one that has results, or the one whose
    id begins with `sweep`; from the store beside the runs in `output`, or the one at `tracking_uri`.

    Raises:
        BadInput: there is no such sweep, or it has no trial yet.
    """
    uri = store(output, tracking_uri)
    table = trials(uri, name, tracking.last_with_results(uri, name, sweep)[0])
    return table, items(uri, table)


def store(output: str | Path, tracking_uri: str | None = None) -> str:
    """The URI of the store: as asked, as MLflow's own variable says, or the embedded one beside the runs in `output`."""
    return tracking_uri or os.environ.get(tracking.URI_VARIABLE) or tracking.default_uri(Path(output))


def trials(uri: str, experiment: str, sweep: str | None = None) -> pd.DataFrame:
    """The trials of one sweep (the latest if None), failed ones included.

    Raises:
        BadInput: there is no such sweep, or it has no trial yet.
    """
    wanted = sweep or tracking.latest_sweep(uri, experiment)
    table = frame(tracking.read_trials(uri, experiment, wanted), uri)
    if table.empty:
        where = f"sweep {sweep or '(latest)'} in {redacted(uri)}"
        raise BadInput(f"{experiment}: no trial of {where}; run `python sweeps/run.py {experiment}` first")
    return told(table, tracking.read_repeated(uri, experiment, wanted))


def generations(uri: str, table: pd.DataFrame) -> dict[str, list[dict[str, str]]]:
    """What was written to a few prompts, by the arm: its first final seed's "prompt", "right answer", "base" and "tuned"."""
    final = table[(table["state"] == State.FINISHED) & (table["phase"] == Phase.FINAL)].sort_values("seed", kind="stable")
    first = final.drop_duplicates("arm")
    found = {
        str(trial.arm): tracking.read_generations(uri, str(trial.run_id), str(trial.artifacts)) for trial in first.itertuples()
    }
    return {arm: rows for arm, rows in found.items() if rows}


def along(uri: str, table: pd.DataFrame) -> pd.DataFrame:
    """What was measured on validation along the training of final trials: a row a trial and step, with arm, seed, base, step,
    epoch, quality and forgetting. Empty where nothing was."""
    if "evaluation.every" not in table:
        return pd.DataFrame()
    done = table[(table["state"] == State.FINISHED) & (table["phase"] == Phase.FINAL) & table["evaluation.every"].notna()]
    rows = [
        {"arm": str(trial.arm), "seed": int(str(trial.seed)), "base": str(base), **point}
        for trial, base in zip(done.itertuples(), done["model.name"], strict=True)
        for point in tracking.read_history(uri, str(trial.run_id), str(trial.artifacts))
        if "quality" in point
    ]
    return pd.DataFrame(rows)


def items(uri: str, table: pd.DataFrame) -> pd.DataFrame:
    """Item scores of the finished trials of `table`, long; words are categories. The same trials in the same order give the same
    frame.

    Raises:
        BadInput: a finished trial has no items in the store, or they are damaged.
    """
    import pyarrow

    done = table[table["state"] == State.FINISHED]
    parts = [
        _items_of(tracking.read_items(uri, str(trial.run_id), str(trial.artifacts)), str(trial.arm), str(trial.run_id))
        for trial in done.itertuples()
    ]
    if not parts:
        return pd.DataFrame(columns=list(ITEM_COLUMNS))
    whole = pyarrow.concat_tables(parts).unify_dictionaries().to_pandas()
    names = list(map(str, done["fingerprint"]))
    codes, categories = pd.factorize(np.array(names, dtype=object))
    lengths = [part.num_rows for part in parts]
    whole.insert(0, "fingerprint", pd.Categorical.from_codes(np.repeat(codes, lengths), categories))
    return whole[list(ITEM_COLUMNS)]


def _items_of(text: str, arm: str, run_id: str) -> pyarrow.Table:
    """A trial's items. A name is text, also one that looks like a missing value."""
    import pyarrow
    import pyarrow.csv as arrow

    words, numbers = pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), pyarrow.float64()
    types = {name: words if i < N_WORDS else numbers for i, name in enumerate(ITEM_COLUMNS[1:])}
    convert = arrow.ConvertOptions(column_types=types, null_values=[""], include_columns=list(types))
    try:
        data = pyarrow.py_buffer(text.encode())
        return arrow.read_csv(data, arrow.ReadOptions(use_threads=False), arrow.ParseOptions(newlines_in_values=True), convert)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError) as error:
        what = one_line(error) if text else "it has none in the store"
        raise BadInput(f"{arm}: the items of trial {run_id} cannot be read: {what}") from None
