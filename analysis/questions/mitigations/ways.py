"""The ways of training that are compared, each a curve through the plane: along its learning rates, or, of one training that is
scaled back, along the share of its way from the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.arms import Arm, Panel
from analysis.claims import curves, scaled
from analysis.claims.tables import Tables
from core.adapters import METHODS
from core.fields import flatten
from core.settings import PROMPTS, REPLAYED, RESPONSE, Full, Trial

PLAIN, REPLAY, L2, EPOCHS, SCALED = "plain", "replay", "decay to the base", "fewer epochs", "scaled back"
KL = {RESPONSE: "KL on responses", PROMPTS: "KL on prompts", REPLAYED: "KL on replayed text"}
KINDS = (PLAIN, SCALED, EPOCHS, REPLAY, *KL.values(), L2)
_DEFAULTS = flatten(Trial()) | flatten(Trial(adapter=Full()))
Fields = Mapping[str, object]


def _field(fields: Fields, name: str) -> Any:
    value = fields.get(name)
    return _DEFAULTS.get(name) if value is None or (not isinstance(value, str) and pd.isna(value)) else value


def usual_epochs(arms: Sequence[Arm]) -> float:
    """Of the longest trainings: whatever a sweep sets, the shorter ones are those with fewer."""
    return max((float(_field(arm.fields, "train.epochs")) for arm in arms), default=0.0)


def kind(fields: Fields, usual: float) -> str:
    """What a training does against forgetting, by its settings, among trainings of the `usual` number of epochs."""
    if float(_field(fields, "train.kl_to_base")):
        return KL[str(_field(fields, "train.kl_on"))]
    if float(_field(fields, "data.replay_share")):
        return REPLAY
    if float(_field(fields, "train.l2_to_base")):
        return L2
    return EPOCHS if float(_field(fields, "train.epochs")) < usual else PLAIN


def with_way(trials: pd.DataFrame) -> pd.DataFrame:
    """Adds what makes a curve: the method with what it does against forgetting."""
    rows, usual = trials.to_dict("records"), float(trials["train.epochs"].max())
    kinds = [kind({str(key): value for key, value in row.items()}, usual) for row in rows]
    return trials.assign(way=[name(str(row["adapter.method"]), one) for row, one in zip(rows, kinds, strict=True)])


def name(method: str, of: str) -> str:
    """Of a way, in tables and legends."""
    label = METHODS[method].label
    return label if of == PLAIN else f"{label}, {of}"


@dataclass(frozen=True)
class Way:
    """A curve of K points: arms along the learning rate, or one arm at shares of its way (`panels`, by share and measure), the
    last of which is the arm as it was trained."""

    method: str
    kind: str
    arms: Sequence[Arm]
    shares: Sequence[float] = ()
    panels: Mapping[tuple[float, str], Panel] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name(self.method, self.kind)

    @property
    def places_K(self) -> np.ndarray:
        return np.array([*self.shares, 1.0] if self.shares else [arm.rate for arm in self.arms])

    def scores(self, t: Tables[Any], seeds: Sequence[int], measure: str) -> np.ndarray:
        """Item scores (K, seeds, items)."""
        whole = curves.scores(t, self.arms, seeds, measure)
        if not self.shares:
            return whole
        names = [self.arms[0].final[seed] for seed in seeds]
        return np.concatenate([np.stack([self.panels[share, measure].of(names) for share in self.shares]), whole])


def ways(t: Tables[Any], measures: Sequence[str]) -> list[Way]:
    """All of them, plain ones first; those of one method together. `measures`: that scaled ones need."""
    found, usual = list[Way](), usual_epochs(t.arms)
    for method in dict.fromkeys(arm.method for arm in t.arms):
        arms = [arm for arm in t.where({}) if arm.method == method]
        for one in KINDS:
            own = sorted((arm for arm in arms if kind(arm.fields, usual) == one), key=lambda arm: arm.rate)
            found += [Way(method, one, own)] if len(own) > 1 else []
            if one == PLAIN:  # of several that were scaled the one at the highest rate, which has most to give back
                found += [back for arm in own if (back := _scaled_back(t, arm, measures)) is not None][-1:]
    return found


def _scaled_back(t: Tables[Any], arm: Arm, measures: Sequence[str]) -> Way | None:
    """An arm along the shares that it was measured at; None where it was at none."""
    shares = [share for share in scaled.shares(t, arm) if share < 1 and len(scaled.items_at(t, arm, share))]
    panels = {(share, one): scaled.panel_at(t, arm, share, one) for share in shares for one in measures}
    return Way(arm.method, SCALED, [arm], shares, panels) if shares else None
