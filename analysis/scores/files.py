"""Files of scores: plain JSONL or CSV, sample logs of lm-evaluation-harness, logs of Inspect. Each becomes a list of scores.

An item is known by its id, as text: 7 in one file is "7" in another. A score is a finite number; true and false are 1 and 0.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data import files
from core.errors import BadInput, nearest
from core.once import FieldTwice, once

# The harness names a file of samples after its task and the time, Inspect's letters are those of its own value_to_float.
SAMPLES = re.compile(r"samples_(?P<task>.+?)(_\d{4}-\d\d-\d\dT[\d.:-]+)?\.jsonl(\.gz)?")
BEYOND = 1e60  # scores, whose fourth powers would be no finite numbers
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
HARNESS = ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics")


@dataclass(frozen=True)
class Score:
    """One score. `group`: a task that stays the same, of which items are a sample. `cluster`: items drawn together. `question`: a
    hash of what was asked, where the file has one."""

    id: str
    value: float
    seed: str = ""
    weight: float = 1.0
    group: str = ""
    cluster: str = ""
    question: str = ""


@dataclass(frozen=True)
class Choice:
    """Which of several scores of an item is meant: its name (`--metric`), and of the harness the filter before it."""

    metric: str = ""
    filter: str = ""


@dataclass(frozen=True)
class Scores:
    """A file's scores; `n_unscored` items of it have none, as their sample ended in an error."""

    path: str
    rows: tuple[Score, ...]
    what: str  # the kind of file, and which of its scores
    n_unscored: int = 0
    has_filters: bool = False  # the harness's, of which one was taken


def read(source: str, choice: Choice) -> Scores:
    """The scores of a file, or of a directory with samples of several tasks, each of which is a group.

    Raises:
        BadInput: it cannot be read, has no scores, or has several and none is chosen.
    """
    if files.exists(source) and Path(source).expanduser().is_dir():
        return _directory(Path(source).expanduser(), choice)
    path = files.existing("scores", source)
    if zipfile.is_zipfile(path):
        inspect = f"a zip archive; if it is Inspect's, first `inspect log convert {path.name} --to json --output-dir .`"
        raise BadInput(f"{path}: {inspect}", field=str(path))
    data, _ = files.read_bytes(path)
    text = files.decoded(path, data)
    found = _of_text(path, text, choice)
    if not found.rows:
        raise BadInput(f"{path}: has no scores; give JSONL with id and score a line", field=str(path))
    return found


def _directory(path: Path, choice: Choice) -> Scores:
    try:
        samples = sorted(file for file in path.iterdir() if SAMPLES.fullmatch(file.name))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})", field=str(path)) from None
    if not samples:
        raise BadInput(f"{path}: a directory without samples_*.jsonl; give a file of scores", field=str(path))
    tasks = [SAMPLES.sub(r"\g<task>", file.name) for file in samples]
    if twice := next((task for task in tasks if tasks.count(task) > 1), ""):
        raise BadInput(f"{path}: has several samples of {twice}; leave those of one run there, or give files", field=str(path))
    rows, has_filters = list[Score](), False
    for task, file in zip(tasks, samples, strict=True):
        found = read(str(file), choice)
        has_filters |= found.has_filters
        rows += [
            Score(f"{task}/{one.id}", one.value, one.seed, one.weight, task, one.cluster, one.question) for one in found.rows
        ]
    what = f"lm-evaluation-harness, {len(samples)} tasks, {found.what.split(', ', 1)[-1]}"
    return Scores(str(path), tuple(rows), what, has_filters=has_filters)


def _of_text(path: Path, text: str, choice: Choice) -> Scores:
    name = path.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        return _table(path, text, "\t" if name.endswith(".tsv") else ",", choice)
    try:
        whole = json.loads(text, object_pairs_hook=once) if text.strip() else []
    except RecursionError:
        raise BadInput(f"{path}: JSON that is nested too deeply", field=str(path)) from None
    except FieldTwice as error:
        raise BadInput(f"{path}: {error}", field=str(path)) from None
    except ValueError:
        return _lines(path, _json_lines(path, text), choice)
    if isinstance(whole, dict) and isinstance(whole.get("samples"), list):
        return _inspect(path, whole["samples"], choice)
    if isinstance(whole, dict) and "eval" in whole:
        raise BadInput(f"{path}: Inspect's log without samples; export it with them", field=str(path))
    rows = whole if isinstance(whole, list) else [whole]
    return _lines(path, ((f"row {i}", row) for i, row in enumerate(rows, 1)), choice)


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for i, line in enumerate(text.split("\n"), 1):  # not splitlines: a string may hold other ends of lines
        if line.strip():
            try:
                yield f"line {i}", json.loads(line, object_pairs_hook=once)
            except FieldTwice as error:
                raise BadInput(f"{path}: line {i}: {error}", field=str(path)) from None
            except (ValueError, RecursionError):
                raise BadInput(f"{path}: line {i}: not JSON; give one object a line", field=str(path)) from None


def _table(path: Path, text: str, delimiter: str, choice: Choice) -> Scores:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows, names = list(reader), list(reader.fieldnames or ())
    except csv.Error as error:
        raise BadInput(f"{path}: not CSV ({error})", field=str(path)) from None
    if repeated := [name for name in names if name and names.count(name) > 1]:
        raise BadInput(f"{path}: two columns are called {repeated[0]!r}; rename or drop one", field=str(path))
    for i, row in enumerate(rows, 1):
        if None in row or None in row.values():
            text = f"{'more' if None in row else 'fewer'} fields than the header's {len(names)}"
            raise BadInput(f"{path}: row {i}: {text}; close or double its quotes", field=str(path))
    filled = [{key: value for key, value in row.items() if key and value not in (None, "")} for row in rows]
    found = _lines(path, ((f"row {i}", row) for i, row in enumerate(filled, 1)), choice, from_text=True)
    return Scores(found.path, found.rows, found.what.replace("plain", "table"))


def _lines(path: Path, rows: Iterable[tuple[str, Any]], choice: Choice, from_text: bool = False) -> Scores:
    """Objects with an id and a score, or samples of the harness."""
    listed = list(rows)
    for where, row in listed:
        if not isinstance(row, dict):
            raise BadInput(f"{path}: {where}: must be an object with id and score", field=str(path))
    if listed and "doc_id" in listed[0][1]:
        return _harness(path, listed, choice)
    name = choice.metric or "score"
    return Scores(str(path), tuple(_plain(path, where, row, name, from_text) for where, row in listed), f"plain, {name}")


def _plain(path: Path, where: str, row: Mapping[str, Any], name: str, from_text: bool) -> Score:
    at = f"{path}: {where}"
    value = _number(at, row, name, from_text)
    weight = _number(at, row, "weight", from_text) if "weight" in row else 1.0
    if weight <= 0:
        raise BadInput(f"{at}: weight={weight:g}: must be above 0; leave the row out", field=str(path))
    words = {key: _word(at, row, key) for key in ("group", "cluster", "seed") if row.get(key) is not None}
    return Score(_word(at, row, "id"), value, weight=weight, **words)


def _word(at: str, row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        given = f"{key}={value!r}: must be text or a whole number" if key in row else f"no {key}; it has {', '.join(row)}"
        raise BadInput(f"{at}: {given}")
    return str(value)


def _number(at: str, row: Mapping[str, Any], key: str, from_text: bool = False) -> float:
    value = row.get(key)
    if key not in row:
        hint = f"it has {', '.join(map(str, row))}" + ("; name the score's column with --metric" if key == "score" else "")
        raise BadInput(f"{at}: no {key}; {hint}")
    if from_text and isinstance(value, str):
        value = _read(value)
    if not isinstance(value, int | float) or not _is_finite(value):
        raise BadInput(f"{at}: {key}={_short(row[key])}: must be a finite number; leave the row out if there is none")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return abs(float(value)) < BEYOND
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _short(value: object) -> str:
    return repr(value) if not isinstance(value, int) or -(10**30) < value < 10**30 else "a whole number of many digits"


def _read(text: str) -> object:
    """A number that is written out, or in a word; the text itself if it is none."""
    try:
        return WORDS[text.strip().lower()] if text.strip().lower() in WORDS else float(text)
    except ValueError:
        return text


def _chosen(path: Path, names: list[str], wanted: str, option: str) -> str:
    """The one name, or the wanted one of several."""
    if wanted and wanted not in names:
        raise BadInput(f"{option} {wanted!r}: {path}: {nearest(wanted, names)}", field=option)
    if not wanted and len(names) > 1:
        raise BadInput(f"{path}: has {', '.join(names)}; choose one with {option}", field=option)
    return wanted or next(iter(names), "")


def _harness(path: Path, rows: list[tuple[str, dict[str, Any]]], choice: Choice) -> Scores:
    """Samples of lm-evaluation-harness: a line for each document and filter; its metrics stand beside what was asked."""
    for where, row in rows:
        if not isinstance(row.get("filter", ""), str):
            raise BadInput(f"{path}: {where}: filter={row['filter']!r:.60}: must be a filter's name", field=str(path))
    filters = list(dict.fromkeys(row["filter"] for _, row in rows if "filter" in row))
    chosen = _chosen(path, filters, choice.filter, "--filter")
    kept = [(where, row) for where, row in rows if not filters or row.get("filter") == chosen]
    first = kept[0][1]
    listed = first.get("metrics")
    names = list(map(str, listed)) if isinstance(listed, list) and listed else [
        key for key, value in first.items() if key not in HARNESS and isinstance(value, int | float)
    ]  # fmt: skip
    if not names:
        raise BadInput(f"{path}: samples without a metric; log them with --log_samples", field=str(path))
    metric = _chosen(path, names, choice.metric, "--metric")
    scores = tuple(
        Score(
            _word(f"{path}: {where}", row, "doc_id"),
            _number(f"{path}: {where}", row, metric),
            question=str(row.get("doc_hash", "")),
        )
        for where, row in kept
    )
    what = f"lm-evaluation-harness, {metric}" + (f" after {chosen}" if len(filters) > 1 else "")
    return Scores(str(path), scores, what, has_filters=bool(filters))


def _inspect(path: Path, samples: list[Any], choice: Choice) -> Scores:
    """Inspect's samples: an id, an epoch (the same question asked again), and values by scorer."""
    scored = [one for one in samples if isinstance(one, dict) and isinstance(one.get("scores"), dict) and one["scores"]]
    flat = [_flat(one["scores"]) for one in scored]
    names = list(dict.fromkeys(name for one in flat for name in one))
    metric = _chosen(path, names, choice.metric, "--metric")
    rows = [
        Score(_word(f"{path}: sample {one.get('id')!r}", one, "id"), _value(path, one, values[metric]))
        for one, values in zip(scored, flat, strict=True)
        if metric in values
    ]
    return Scores(str(path), tuple(rows), f"Inspect, {metric}", len(samples) - len(rows))


def _flat(scores: Mapping[str, Any]) -> dict[str, object]:
    """Values by scorer, and by scorer/key where a scorer gives several."""
    found: dict[str, object] = {}
    for name, one in scores.items():
        value = one.get("value") if isinstance(one, dict) else one
        found |= {f"{name}/{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _value(path: Path, sample: Mapping[str, Any], value: object) -> float:
    read = LETTERS.get(value, _read(value)) if isinstance(value, str) else value
    return _number(f"{path}: sample {sample.get('id')!r}", {"value": read}, "value")
