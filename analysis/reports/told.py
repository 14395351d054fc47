"""The part of the page over all questions that asks whether the KL divergence on the tuning task tells forgetting alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis import formatting
from analysis.claims import told
from analysis.claims.told import Cloud
from analysis.figures import style
from analysis.figures.told import draw
from analysis.stats import Estimate
from core.measures import rise

STEM = "forgetting_by_kl"  # of the figure's files
NOTE = (
    "Final trials of every question that were told KL(base || tuned) on right answers to the task's held-out prompts. R² is "
    "that of a quadratic over trainings, each counted once; its interval is over arms, and over bases where there are three. "
    "Shenfeld 2025 (RL's Razor): if forgetting follows from this divergence alone, all runs lie on one curve, whatever "
    "the method or what was done against forgetting. It speaks of one task: where questions ask other tasks, as "
    "`reasoning_traces` does, their right answers lie on another scale of KL, so look at each row by itself.\n"
)


def section(trials_of: Mapping[str, pd.DataFrame], output: Path) -> str:
    """Markdown with a table and a figure, which is drawn into `output`; "" where no trial was told the divergence."""
    found = {name: told.measured(trials) for name, trials in trials_of.items()}
    found = {name: one for name, one in found.items() if len(one)}
    kinds = sorted({str(measures) for one in found.values() for measures in one["forgetting_measures"]})
    rows, clouds, explained = [], dict[str, dict[str, Cloud]](), dict[str, Estimate]()
    for measures in kinds:
        own = {name: one[one["forgetting_measures"].astype(str) == measures] for name, one in found.items()}
        own = {name: one for name, one in own.items() if len(one)}
        words = rise(measures.split(", "))
        whole = told.cloud(list(own.values()))
        assert whole is not None
        clouds[words], explained[words] = _by_method(own), whole.r_squared
        rows += [_row(words, "all", whole), *(_row(words, name, one) for name in own if (one := told.cloud([own[name]])))]
    if not rows:
        return ""
    style.save(draw(clouds, explained), output / STEM)
    header = ["forgetting", "question", "trials", "arms", "R²"]
    return "\n".join([
        "## Is forgetting told by the KL divergence on the task?\n", f"![forgetting against KL]({STEM}.png)\n",
        formatting.markdown(header, rows), NOTE,
    ])  # fmt: skip


def _by_method(own: Mapping[str, pd.DataFrame]) -> dict[str, Cloud]:
    methods = sorted({str(method) for one in own.values() for method in one["adapter.method"]})
    parts = {method: told.cloud([one[one["adapter.method"] == method] for one in own.values()]) for method in methods}
    return {method: one for method, one in parts.items() if one is not None}


def _row(words: str, question: str, of: Cloud) -> list[str]:
    return [words, question, f"{len(of.kl_N)}", f"{len(set(of.origin.arms_N))}", formatting.estimate(of.r_squared)]
