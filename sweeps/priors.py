"""Learning rates that were tuned before, as the first proposals of a sweep of a like model.

A sweep keeps what its arms were tuned to (tuned.json in its directory). A new sweep in the same output directory looks for arms
of the same architecture, width, method and kind of data, and of nearly the same rank, batch and steps, and proposes the nearest
one's rate first. A rate that was best at an end of those that were tried says only where to look further, and a smoke sweep
has too few rows and trials: neither is kept. What a sweep took is written into its own record when it starts (prior.json) and
never asked for again, so that what lies beside it later changes nothing. Rates were chosen on validation rows; nothing of a test
split is read here.

The laboratory's sweeps neither take nor need priors: they stay the same whatever was run before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import base as bases
from core import preflight
from core.data.kinds import kind_of
from core.data.rows import is_lab
from core.errors import BadInput, one_line
from core.fields import flatten
from core.memory import Shape
from core.rates import RATE, text
from core.result import write_whole
from core.settings import LEAST_RATE, MOST_RATE, Lora, Trial
from sweeps.parts import Part
from sweeps.plan import Arm, Plan
from sweeps.tuning import TunedArm

TUNED, PRIOR = "tuned.json", "prior.json"
# How many times more or less is nearly the same; beyond it a best rate moves by more than a step of a grid.
NEAR = {"rank": 4.0, "batch_size": 2.0, "steps": 4.0}


@dataclass(frozen=True)
class Like:
    """What a best learning rate depends on."""

    architecture: str
    width: int
    layers: int
    method: str
    data: str  # the kind of source
    scale: float  # of the update
    schedule: str
    optimizer: str
    rank: int
    batch_size: int
    steps: int

    @classmethod
    def of(cls, trial: Trial) -> Like:
        base, values = bases.read(trial.model), flatten(trial)
        shape = Shape.of(base.config)
        rank = int(str(values.get("adapter.rank", 1)))
        over_rank = float(str(values.get("adapter.alpha_over_rank", 1)))
        scale = trial.adapter.scale if isinstance(trial.adapter, Lora) else over_rank
        kind, train = kind_of(trial.data.source).default_task, trial.train
        exact = base.model_type, base.width, shape.layers, trial.adapter.method, kind, scale, train.schedule, train.optimizer
        return cls(*exact, rank, train.batch_size, preflight.inspect(trial).steps)

    def apart(self, other: Like) -> float:
        """How far apart two are, the sum of logarithms; infinite where they are not alike."""
        own, theirs = asdict(self), asdict(other)
        if any(own[name] != theirs[name] for name in own if name not in NEAR):
            return math.inf
        logs = {name: abs(math.log(own[name] / theirs[name])) for name in NEAR}
        return sum(logs.values()) if all(logs[name] <= math.log(most) * (1 + 1e-9) for name, most in NEAR.items()) else math.inf


@dataclass(frozen=True)
class Prior:
    """A rate and the sweep that found it."""

    rate: float
    source: str


def of(plan: Plan, directory: Path, output: Path, wanted: bool) -> dict[str, Prior | None]:
    """Each tuned arm's prior: that of its record, else what other sweeps of the output directory have found, if `wanted`.

    Raises:
        BadInput: the record is damaged: without it the arms' proposals would be others.
    """
    arms = [arm for arm in plan.arms if set(arm.tune) == {RATE}]
    if not arms or is_lab(plan.experiment.base.model.name):
        return {}
    known = _read(directory / PRIOR)
    begun = known is None and any(directory.glob("trials/*"))  # before priors, or without them
    recorded = known or {}
    found: dict[str, Prior | None] = {}
    others = _others(output, directory) if wanted and not begun and any(arm.label not in recorded for arm in arms) else []
    for arm in arms:
        found[arm.label] = recorded[arm.label] if arm.label in recorded else _nearest(plan, arm, others)
    return found


def keep(directory: Path, priors: Mapping[str, Prior | None]) -> dict[str, float]:
    """Writes what the sweep took into its record, beside what earlier starts took; the rates of its arms by the record, where
    another process may have begun the sweep since `priors` were looked for. To be called by the holder of the sweep's lock."""
    known = _read(directory / PRIOR) or {}
    new = {**priors, **known}
    if priors and new != known:
        write_whole(directory / PRIOR, json.dumps({label: one and asdict(one) for label, one in new.items()}, indent=1).encode())
    return {label: one.rate for label in priors if (one := new[label])}


def keep_tuned(directory: Path, plan: Plan, parts: Sequence[Part]) -> None:
    """Keeps what the arms were tuned to, for later sweeps, beside what earlier calls with other arms have kept; of an arm whose
    best rate is an end of those tried, nothing, and nothing of a smoke sweep."""
    if plan.experiment.smoke:
        return
    tuned, found = list[dict[str, Any]](), list[dict[str, Any]]()
    for part in parts:
        if not isinstance(part, TunedArm) or set(part.arm.tune) != {RATE} or not part.tuned():
            continue
        if best := part.best():
            with suppress(BadInput):  # an input that changed meanwhile, which trials refuse
                tuned.append(asdict(Like.of(plan.trial(0, {**part.arm.overrides, **best}))))
                found += [{"rate": best[RATE], **tuned[-1]}] if _is_between(part) else []
    earlier = _rows(directory / TUNED)
    rows = [row for row in earlier if {name: value for name, value in row.items() if name != "rate"} not in tuned] + found
    if rows != earlier:
        with suppress(OSError):  # a full disk is told where results are written
            write_whole(directory / TUNED, json.dumps(rows, indent=1).encode())


def _is_between(part: TunedArm) -> bool:
    """Whether every rate of the best quality lies between two worse ones; one that failed has no quality and shows nothing."""
    tried = sorted((point[RATE], quality) for point, quality in part.finished())
    top = max(quality for _, quality in tried)
    return len(tried) > 2 and tried[0][1] < top > tried[-1][1]


def told(plan: Plan, priors: Mapping[str, Prior | None], wanted: bool) -> list[str]:
    """What is proposed first, in a line for each sweep that it comes from."""
    found: dict[str, dict[str, list[str]]] = {}  # source → rate → arms
    for arm in plan.arms:
        if (one := priors.get(arm.label)) and plan.prior_of(arm) is not None:
            found.setdefault(one.source, {}).setdefault(text(one.rate), []).append(arm.label)
    how = "--no-prior leaves it out" if wanted else "this sweep began with it, so --no-prior changes nothing"
    lines = []
    for source, rates in found.items():
        each = "; ".join(f"{rate} in {', '.join(labels)}" for rate, labels in rates.items())
        lines.append(f"proposed first: {each} (tuned in {source}; {how})")
    return lines


def _read(path: Path) -> dict[str, Prior | None] | None:
    """The record of a sweep; None where there is none."""
    try:
        return {str(label): Prior(**one) if one else None for label, one in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        text = "bring it back; without the file the sweep goes on as one that took no rates of others"
        raise BadInput(f"{path}: cannot be read ({one_line(error)}); {text}", field="--output") from None


def _rows(path: Path) -> list[dict[str, Any]]:
    """What a sweep has kept of its arms; of a damaged record, nothing."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return [row for row in json.loads(path.read_text()) if _entry(row, path.parent.name)]
    return []


def _others(output: Path, directory: Path) -> list[tuple[Like, Prior]]:
    """What the other sweeps in the output directory were tuned to; a damaged record says nothing."""
    found = []
    for path in sorted(output.glob(f"*/{TUNED}")):
        if path.parent != directory:
            found += [_entry(row, path.parent.name) for row in _rows(path)]
    return found


def _entry(row: Mapping[str, Any], source: str) -> tuple[Like, Prior]:
    rate, like = float(row["rate"]), Like(**{name: value for name, value in row.items() if name != "rate"})
    if not LEAST_RATE <= rate < MOST_RATE or like.apart(like):
        raise ValueError(row)
    return like, Prior(rate, source)


def _nearest(plan: Plan, arm: Arm, others: Sequence[tuple[Like, Prior]]) -> Prior | None:
    """The rate of the arm most like this one."""
    if not others:
        return None
    try:
        own = Like.of(plan.trial(0, arm.overrides))
    except BadInput:
        return None
    distance, _, prior = min(((own.apart(like), at, prior) for at, (like, prior) in enumerate(others)), key=lambda one: one[:2])
    return prior if distance < math.inf else None
