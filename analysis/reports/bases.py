"""Where seeds take turns over several bases: what every claim's effect is on each of them alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import formatting
from analysis.arms import Arm
from analysis.claims.question import Finding, Question, findings, tables_of
from analysis.escaping import escaped
from analysis.stats import Why
from core.experiment import Experiment
from core.states import Phase, State


def by_base(
    question: Question[Any], experiment: Experiment, frames: tuple[pd.DataFrame, pd.DataFrame], arms: Sequence[Arm]
) -> list[str]:
    """Where seeds take turns over several bases, the section with every claim's effect on each base alone: from the arms' final
    trials on it, and from tuning trials only where these were run on it."""
    trials, items = frames
    found: dict[str, dict[str, str]] = {}
    counting = (trials["phase"] != Phase.FINAL) | trials["fingerprint"].isin(
        {name for arm in arms for name in arm.final.values()}
    )
    for base in dict.fromkeys(map(str, experiment.with_seed.get("model.name", ()))):
        own = trials[counting & (trials["model.name"] == base)]
        if ((own["phase"] == Phase.FINAL) & (own["state"] == State.FINISHED)).any():
            t = tables_of(question.for_rules, own, items, experiment)
            effects = findings(question, t, experiment).items()
            found[base] = {name: _shown(f) for name, f in effects}
    if len(found) < 2:
        return []
    body = [[claim.id, *(texts[claim.id] for texts in found.values())] for claim in experiment.claims]
    note = (
        "Each from its own trials alone; without an interval where too few seeds were run on it. The verdicts take all seeds "
        "together: of two bases each is a block, from three on they are what was drawn.\n"
    )
    tuned = trials.loc[trials["phase"] == Phase.TUNE, "model.name"].unique()
    if 0 < len(tuned) < len(found):
        where = escaped(" and ".join(map(str, tuned)))
        note += f"Tuning trials were run on {where}: an effect that needs them stands under no other base.\n"
    return ["## Each base alone\n", formatting.markdown(["claim", *found], body), note]


def _shown(found: Finding) -> str:
    """The effect; that seeds are too few for its interval is said once, below the table."""
    e = found.estimate
    few = e is not None and e.missing is not None and e.missing.kind is Why.TOO_FEW and math.isfinite(e.value)
    return formatting.value(e, True, found.percent) if e and few else formatting.estimate(e, True, found.percent)
