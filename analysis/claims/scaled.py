"""Runs that were measured at shares of their way from the base too (`evaluation.scales`): the scores there, as of arms. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import arms as a
from analysis.arms import Arm, Panel
from analysis.claims.tables import Tables
from core.measures import SCALED, at_scale

FIELD = "evaluation.scales"


def shares(t: Tables[Any], arm: Arm) -> tuple[float, ...]:
    """At which shares every final trial of the arm was measured, rising; the whole way is not among them."""
    asked = arm.fields.get(FIELD)
    return tuple(sorted(float(one) for one in asked.split("+"))) if isinstance(asked, str) else ()


def items_at(t: Tables[Any], arm: Arm, share: float) -> pd.DataFrame:
    """The items that the arm's final trials were asked at the share, under the measures' own names and on their axes."""
    own = t.items[t.items["fingerprint"].isin(arm.final.values()) & t.items["measure"].astype(str).str.startswith(SCALED)]
    at = [at_scale(name) for name in own["measure"].astype(str)]
    chosen = [one is not None and one[0] == share for one in at]
    names = [one[1] for one in at if one is not None and one[0] == share]
    axis_of = {name: axis for axis, own_names in t.of_axis.items() for name in own_names}
    axes = [axis_of.get(name, "other") for name in names]
    return own[chosen].assign(measure=names, axis=axes)


def panel_at(t: Tables[Any], arm: Arm, share: float, measure: str) -> Panel:
    """The arm's scores there: "quality", "forgetting" or a measure's name."""
    return a.panel(items_at(t, arm, share), list(arm.final.values()), measure, t.trials)
