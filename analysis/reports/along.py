"""The section of a question's page on what was measured along trainings: each arm's mean at its steps, and where it is best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.stats import mean_interval
from core.measures import ACCURACY

SHOWN = ("quality", "forgetting")
NOTE = (
    "Measured on validation items while the models were trained (`evaluation.every`). The learning rate decays towards the end: "
    "a shorter training may end elsewhere than an earlier step. Intervals: 95 %, over seeds, or over the bases "
    "that these take turns over.\n"
)


def means(found: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    """One row an arm and step: epoch, seeds, and of each measure its mean with the ends of its interval over seeds (nan with
    one). Steps that not every seed of the arm was measured at are left out."""
    rows = []
    for (arm, step), group in found.groupby(["arm", "step"], sort=False):
        n = len(group)
        if n < found.loc[found["arm"] == arm, "seed"].nunique():
            continue
        row: dict[str, object] = {"arm": arm, "step": int(step), "epoch": float(group["epoch"].mean()), "seeds": n}
        for name in SHOWN:
            e = mean_interval(group[name].to_numpy(dtype=float)[:, None], bases_S=group["base"].to_numpy())
            low, high = (0.0, 1.0) if units.get(name) == ACCURACY and name == "quality" else (-np.inf, np.inf)
            ends = (max(e.low, low), min(e.high, high)) if e.known else (np.nan, np.nan)
            row |= {name: e.value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def section(found: pd.DataFrame, units: Mapping[str, str]) -> tuple[str, ...]:
    """Heading, figure and table; nothing where nothing was measured along the way."""
    if found.empty:
        return ()
    table, body = means(found, units), []
    for _, group in table.groupby("arm", sort=False):
        best = group["quality"].idxmax()
        for at, row in group.iterrows():
            texts = [_interval(row, name) for name in SHOWN]
            first = [row["arm"], f"{row['step']:,}", f"{row['epoch']:.3g}"]
            body.append([*first, *texts, str(row["seeds"]), "highest quality" if at == best else ""])
    header = ["arm", "step", "epochs", *(f"{name} ({units.get(name, '')})" for name in SHOWN), "seeds", ""]
    return ("## Along training\n", "![along training](along.png)\n", formatting.markdown(header, body), NOTE)


def _interval(row: pd.Series, name: str) -> str:
    mean = formatting.number(row[name])
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return mean if pd.isna(low) else f"{mean} [{formatting.number(low)}, {formatting.number(high)}]"
