"""Training and measurements → the metrics and facts of a result, and the items table."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.curve import IN_TRAINING
from core.data import mixture
from core.result import Result, write_whole
from core.states import State
from core.tasks.measurement import Measurement, axes

if TYPE_CHECKING:
    from core.training import Trained

ITEM_COLUMNS = ("measure", "axis", "group", "item", "weight", "before", "after")
LAST_SHARE = 0.1  # of the steps recorded: one batch's loss says little (0.03 to 0.3 from one to the next at the end)


def add_training(result: Result, trained: Trained) -> None:
    """Training's metrics and history; a loss that was not finite makes the state "diverged"."""
    losses = [point["loss"] for point in trained.history if "loss" in point]
    n_last = max(1, round(LAST_SHARE * len(losses)))
    result.metrics |= {
        "train/loss_final": losses[-1],
        "train/loss_last_tenth": sum(losses[-n_last:]) / n_last,
        "train/tokens": trained.tokens,
        "train/steps": trained.steps,
        "train/seconds": trained.seconds,
    }
    if trained.kept_step is not None:
        result.metrics["train/kept_step"] = trained.kept_step
    _add_end(result, trained, "")


def add_preference(result: Result, trained: Trained, first: Trained) -> None:
    """The second stage's metrics, and the history of both; a loss that was not finite makes the state "diverged"."""
    own = trained.history[len(first.history) :]
    last = own[-max(1, round(LAST_SHARE * len(own))) :]
    result.metrics |= {
        "prefer/tokens": trained.tokens,
        "prefer/steps": trained.steps,
        "prefer/seconds": trained.seconds,
        **{
            f"prefer/{name}": sum(point[name] for point in last) / len(last)
            for name in IN_TRAINING
            if name in own[-1] and name != "learning_rate"
        },
    }
    _add_end(result, trained, " of the second stage")


def _add_end(result: Result, trained: Trained, stage: str) -> None:
    """Where a stage went on from and how it ended, and the history up to then."""
    if trained.resumed_at:
        result.facts["resumed"] = f"at step {trained.resumed_at} of {trained.planned_steps}{stage}"
    result.history = trained.history
    if trained.diverged_at is not None:
        result.state = State.DIVERGED
        result.reason = f"the loss is not finite at step {trained.diverged_at} of {trained.planned_steps}{stage}"


def add_measurements(result: Result, before: Sequence[Measurement], after: Sequence[Measurement]) -> None:
    """Means before and after, and the two axes: quality as it is after, forgetting as the mean change of its measures."""
    metrics = result.metrics
    for old, new in zip(before, after, strict=True):
        metrics |= {f"before/{new.name}": old.mean, f"after/{new.name}": new.mean, f"delta/{new.name}": new.mean - old.mean}
        metrics |= {f"after_se/{new.name}": new.standard_error}
        if new.axis == "quality":
            metrics["quality_before"] = old.mean
            result.facts |= _by_source(result, old, new)
            result.facts |= {"quality_measure": new.name, "quality_unit": new.unit}
    metrics |= axes(before, after)
    forgetting = [one for one in after if one.axis == "forgetting"]
    result.facts |= {
        "forgetting_measures": ", ".join(one.name for one in forgetting),
        "forgetting_unit": ", ".join(sorted({one.unit for one in forgetting})),
    }


def _by_source(result: Result, old: Measurement, new: Measurement) -> dict[str, str]:
    """Of rows of several sources: the quality on those of each, before and after."""
    source = str(result.trial.get("data.eval_source") or result.trial["data.source"])
    found = []
    for name, _ in mixture.labels(mixture.parse("data.source", source)) if mixture.recognises(source) else ():
        own = np.array([group == name or group.startswith(f"{name}: ") for group in new.groups])
        if own.any():
            was, now = (float(np.average(one.scores[own], weights=one.weights[own])) for one in (old, new))
            found.append(f"{name}: {was:.4g} before, {now:.4g} after ({own.sum()} rows)")
    return {"quality_by_source": "; ".join(found)} if found else {}


def write_items(output: Path, before: Sequence[Measurement], after: Sequence[Measurement]) -> None:
    """items.csv.gz: one line per measure and item, for statistics that pair and resample items."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(ITEM_COLUMNS)
    for old, new in zip(before, after, strict=True):
        for group, item, weight, was, now in zip(new.groups, new.items, new.weights, old.scores, new.scores, strict=True):
            table.writerow([new.name, new.axis, group, item, f"{weight:g}", repr(float(was)), repr(float(now))])
    write_whole(output / "items.csv.gz", gzip.compress(text.getvalue().encode(), mtime=0))
