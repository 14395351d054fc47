"""The tables of the response surfaces: which kind, with which error on mixtures left out, and the best mixture on each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.mixture.surfaces import Fitted, Mixtures
from analysis.stats.mixtures import grid

NOTE = (
    "Error: root mean square over mixtures, each left out of the fit to the others; the kind with the least is taken (the least "
    "of several is a little too small). Noise: the standard error of one mixture's mean, below which no surface gets. Best "
    "mixture: the top of the surface (of forgetting the bottom) with the share of each source there; its 95 % interval says "
    "where the tops of surfaces over redrawn seeds lie, and knows nothing of what the surface's form leaves out.\n"
)
PARTS = {2: 50, 3: 20, 4: 10}  # number of sources → steps of the surface in its CSV


def sections(t: Tables[Mixtures]) -> list[str]:
    """Markdown: a row a measure and amount."""
    if not t.own.surfaces:
        return []
    header = [
        "measure",
        "amount",
        "error on mixtures left out, by surface",
        "noise",
        *_heads(t),
        "there",
        "better than equal shares",
    ]
    body = [_row(t, name, amount, found) for (name, amount), found in t.own.surfaces.items()]
    return ["## Response surfaces\n", formatting.markdown(header, body), NOTE]


def _heads(t: Tables[Mixtures]) -> list[str]:
    return [f"best share of {name}" for name in t.own.names]


def _row(t: Tables[Mixtures], name: str, amount: str, found: Fitted) -> list[str]:
    made, best = found.surface, found.surface.best
    errors = ", ".join(
        f"{kind} {formatting.number(error)}{' (taken)' * (kind == made.kind)}" for kind, error in made.errors.items()
    )
    where = [formatting.estimate(e, percent=True) for e in best.shares]
    unit = t.units[name]
    return [
        f"{formatting.heading(name)} ({unit})", f"equal {amount}", errors, formatting.number(made.noise), *where,
        formatting.estimate(best.value), formatting.estimate(best.over_equal, signed=True),
    ]  # fmt: skip


def frames(t: Tables[Mixtures]) -> Mapping[str, pd.DataFrame]:
    """The surfaces as a table of mixtures with what each predicts and its limits."""
    parts = []
    for (name, amount), found in t.own.surfaces.items():
        n_sources = len(found.points[0].shares)
        fine = grid(n_sources, PARTS[n_sources])
        low, high = found.surface.band(fine)
        columns = dict(zip(t.own.names, np.round(fine, 6).T, strict=True))
        told = {"value": found.surface.predict(fine), "low": low, "high": high}
        parts.append(pd.DataFrame({"measure": name, "amount": amount, "surface": found.surface.kind, **columns, **told}))
    return {"surface": pd.concat(parts, ignore_index=True)} if parts else {}
