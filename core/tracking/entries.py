"""What MLflow keeps of a trial, made from the trial's folder."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.curve import IN_TRAINING
from core.data import mixture
from core.data.files import hash_of
from core.rates import RATE
from core.result import FILE, GENERATIONS, Result
from core.tracking.connection import DIGEST, FILE_DIGEST, FINGERPRINT, NOTE, REASON, STATE, TAG_CHARACTERS

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

AXES = ("quality", "forgetting")  # the two metrics that every trial is compared by
ITEMS = "items.csv.gz"
FILES = (FILE, ITEMS, GENERATIONS, "traceback.txt")  # those of a trial's folder that the store gets


@dataclass(frozen=True)
class TrialRecord:
    """What the store is told of a trial beside its result.json."""

    key: str  # fingerprint-phase
    name: str
    arm: str
    phase: str
    axes: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Digest:
    """Hashes of a trial's result: of its file, and of what it found: its items and scores, or where it failed, the whole file.
    The same trial on the same machine finds the same items in other seconds."""

    file: str
    content: str

    @classmethod
    def of(cls, folder: Path) -> Digest:
        result, whole = Result.read(folder / FILE), (folder / FILE).read_bytes()
        content = whole
        if not result.state.failed:
            try:
                scores = [result.fingerprint, *(result.metrics.get(name) for name in AXES)]
                content = json.dumps(scores).encode() + gzip.decompress((folder / ITEMS).read_bytes())
            except (OSError, EOFError, zlib.error):  # none, or damaged: then only the very same file is the same result
                pass
        return cls(hash_of(whole), hash_of(content))


def end_ms(folder: Path) -> int:
    """When the trial ended, in milliseconds: a time that logging twice gives twice."""
    return (folder / FILE).stat().st_mtime_ns // 1_000_000


def summary(result: Result) -> str:
    """One line of Markdown: how the trial ended."""
    if result.state.failed:
        return f"**{result.state}**: {result.reason or 'no reason recorded'}"
    shown = [f"{name} {result.metrics[name]:.4g}" for name in AXES if result.metrics.get(name) is not None]
    return f"**{result.state}** on the {result.trial.get('evaluation.split')} split: " + ", ".join(shown)


def axis_names(axes: Sequence[str]) -> dict[str, str]:
    """The parameter under which a trial's run has each axis: by its last part where that is enough."""
    tails = [name.rpartition(".")[2] for name in axes]
    return {name: f"axis.{tail if tails.count(tail) == 1 else name}" for name, tail in zip(axes, tails, strict=True)}


def log_name(field: str) -> str:
    """The parameter with the decimal logarithm of a field: the UI's charts of parameters have no logarithmic axes."""
    return f"log10.{field}"


def ended_tags(result: Result, digest: Digest) -> dict[str, str]:
    """What a trial's run says of how it ended."""
    return {
        FINGERPRINT: result.fingerprint,
        STATE: str(result.state),
        REASON: result.reason[:TAG_CHARACTERS],
        DIGEST: digest.content,
        FILE_DIGEST: digest.file,
        NOTE: summary(result),
    }


def params(result: Result, record: TrialRecord) -> dict[str, object]:
    trial = result.trial
    axes = {short: trial[name] for name, short in axis_names(record.axes).items() if name in trial}
    numbers = {name: trial.get(name) for name in (*record.axes, RATE)}
    logs = {
        log_name(name): round(math.log10(value), 4)
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    }
    return {**axes, **logs, **trial, **result.provenance, **result.facts}


def metrics(result: Result, end_ms: int) -> list[tuple[str, float, int, int]]:
    """(name, value, timestamp, step): timestamps come from the result file, so that logging twice gives the same rows."""
    # the UI shows metrics in the order in which they were logged: the two axes first, then totals, then details
    ordered = sorted(result.metrics.items(), key=lambda metric: (metric[0] not in AXES, "/" in metric[0]))
    found = [(name, float(value), end_ms, 0) for name, value in ordered]
    start_ms, total = end_ms - int(1_000 * result.seconds), max(len(result.history), 1)
    for index, point in enumerate(result.history):
        at = start_ms + int((end_ms - start_ms) * (index + 1) / total)
        found += [(name, value, at, int(point["step"])) for name, value in curves(point).items()]
    return found


def curves(point: Mapping[str, float]) -> dict[str, float]:
    """The metrics of one point of a trial's history: of its training, or of what was measured along it."""
    return {
        f"{'train' if name in IN_TRAINING else 'along'}/{name}": float(value)
        for name, value in point.items()
        if name not in ("step", "epoch", "tokens")
    }


def datasets(result: Result) -> list[DatasetInput]:
    """What the trial read, as MLflow's datasets: training rows, evaluation rows, text for forgetting."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    trial, provenance = result.trial, result.provenance
    wanted = [("data", "data.source", "training"), ("eval_data", "data.eval_source", "evaluation")]
    wanted.append(("base_text", "evaluation.base_text", "forgetting"))
    wanted.append(("pairs", "prefer.source", "preferences"))
    inputs = []
    for kind, field, context in wanted:
        if provenance.get(kind) and trial.get(field):
            n_examples = trial.get("data.n_examples") if kind == "data" else None
            source = json.dumps({"source": trial[field], "n_examples": n_examples})
            name = mixture.label(str(trial[field]))
            dataset = Dataset(name=name, digest=provenance[kind][:36], source_type="tunelab", source=source)
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return inputs
