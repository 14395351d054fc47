"""An arm as something to copy: its settings as YAML, and the command that runs it alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.arms import Arm
from analysis.claims.tables import Tables
from analysis.load import field_types
from core.experiment import Experiment
from core.fields import flatten
from core.settings import Trial

RATE = "train.learning_rate"
OPTIONS = {
    "model.name": "--model",
    "data.source": "--data",
    "data.eval_source": "--eval-data",
    "evaluation.base_text": "--base-text",
}
OF_THE_SWEEP = ("seed", "evaluation.split")  # set by the phase of a trial
WHOLE = ("adapter.", "train.")  # parts that a recipe gives in full
NAMED = ("model.name", "data.source", "data.n_examples")
MOST_OTHERS = 40  # arms that a command leaves out by name

Value = object
Settings = Mapping[str, Value]


def settings(t: Tables[Any], arm: Arm) -> dict[str, Value]:
    """The dotted fields of the arm's final trials: adapter and training in full, of the rest the model, the data and what is
    not the default. A field that changes with the seed has the list of its values."""
    own = t.as_run[t.as_run["fingerprint"].isin(arm.final.values())]
    defaults = flatten(Trial())
    found: dict[str, Value] = {}
    for name in field_types():
        values = [_plain(value) for value in own[name].unique()] if name in own else []
        if name in OF_THE_SWEEP or not values or values == [None]:
            continue
        if name.startswith(WHOLE) or name in NAMED or values != [defaults.get(name)]:
            found[name] = values[0] if len(values) == 1 else values
    return found


def _plain(value: Any) -> Value:
    """A value of a frame as JSON has it; whole numbers without a point, as a column with gaps makes floats of them."""
    if value is None or pd.isna(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) >= 1 else value


def yaml(flat: Settings) -> str:
    """The fields as YAML, a block for each part. Texts and lists are written as JSON, which YAML reads."""
    lines: list[str] = []
    parts: dict[str, list[str]] = {}
    for name, value in flat.items():
        head, _, tail = name.partition(".")
        parts.setdefault(head, []).append(f"  {tail or head}: {number(value)}")
    for head, rows in parts.items():
        lines += [f"{head}:", *rows]
    return "\n".join(lines) + "\n"


def number(value: Value) -> str:
    """A value as YAML and JSON read it. A rate keeps its digits and has a point, without which YAML takes it for text."""
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return json.dumps(value, ensure_ascii=False)


def command(t: Tables[Any], arm: Arm, experiment: Experiment) -> str:
    """The command that runs this arm alone, with its rate; "" for an arm that an open search found, or one of very many."""
    others = [one.label for one in t.arms if one.label != arm.label] + [one.label for one in t.repeated]
    if experiment.search or len(others) > MOST_OTHERS:
        return ""
    varied = {name for fields in (experiment.vary, experiment.with_seed, *experiment.also) for name in fields}
    asked, flat = flatten(experiment.base), settings(t, arm)
    words = ["python", "sweeps/run.py", experiment.name]
    for name, value in flat.items():
        same = name in asked and asked[name] == value
        if name in varied or same or isinstance(value, list) or name.startswith("adapter.method"):
            continue
        if name in asked or name == RATE:
            text = number(value) if not isinstance(value, str) else value
            words += [OPTIONS[name], text] if name in OPTIONS else ["--set", f"{name}={text}"]
    for other in others:
        words += ["--without", other]
    return shlex.join(words)
