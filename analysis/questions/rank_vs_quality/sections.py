"""What the report of rank_vs_quality has beyond that of every question: the arms beside full fine-tuning, and its own frames."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.rank_vs_quality.against_full import AgainstFull
from analysis.stats.good_rates import GoodRates
from core.measures import rise

CAPTION = (
    "**a, b** thin: 95 % interval of the mean; thick and pale: 95 % interval of the "
    "paired difference from full fine-tuning, drawn around the arm's mean; where it misses the dashed line, the arm differs "
    "from full. An arrow: cut by the axis. Grey: published, normalised. **c** 95 % intervals of the means; dotted: Pareto "
    "front. **d** one tuning run a point, 95 % interval over items; ring: the rate that was chosen; bars on top: where the "
    "best rate lies, at 95 % whatever the shape of the curve, an arrow where that goes on beyond the rates tried; triangle: "
    "below the untuned base."
)
NOTE = (
    "Differences are paired by seed and item. Best rate: the best tried, and between which others the best of all lies with "
    "95 % if quality rises to one top and falls again, whatever the shape. Good: the rates tried within 2 points of it. "
    "IQM: interquartile mean over seeds and tasks. "
    "At equal quality: forgetting of full fine-tuning less the arm's, where their curves over the tuning trials reach the same "
    "validation quality. On the front: how often no other arm is better in both, when seeds and items are resampled.\n"
)


def sections(t: Tables[AgainstFull]) -> list[str]:
    """The table of arms beside full fine-tuning."""
    return ["## Against full fine-tuning\n", formatting.markdown(*table(t)), NOTE]


def table(t: Tables[AgainstFull]) -> tuple[list[str], list[list[str]]]:
    """Header and one row an arm."""
    header = [
        "arm", "best rate", "good rates",
        f"quality − full ({t.units['quality']})", "IQM", f"forgetting − full ({t.units['forgetting']})",
        "full − arm at equal quality", "on front",
    ]  # fmt: skip
    own, body = t.own, []
    for row in own.rows.to_dict("records"):
        label, share = str(row["arm"]), float(row["front_probability"])
        quality, forgetting = (own.differences[axis].get(label) for axis in ("quality", "forgetting"))
        body.append([
            label, formatting.best_rate(own.optima[label]), _good(own.good[label]), formatting.estimate(quality, signed=True),
            formatting.number(float(row["quality_iqm"])), formatting.estimate(forgetting, signed=True),
            formatting.estimate(own.at_equal_quality.get(label), signed=True),
            formatting.NONE if math.isnan(share) else f"{share:.0%}".replace("%", " %"),
        ])  # fmt: skip
    return header, body


def _good(found: GoodRates) -> str:
    """From where to where the rates tried are good."""
    ends = [formatting.rate_text(rate) for rate in (found.low, found.high) if not math.isnan(rate)]
    return " to ".join(dict.fromkeys(ends)) or formatting.NONE


def extra_frames(t: Tables[AgainstFull]) -> Mapping[str, pd.DataFrame]:
    """The tuning trials, and the comparisons with full fine-tuning with their limits."""
    return {"learning_rate": t.own.tuning, "against_full": t.own.rows}


def cautions(t: Tables[AgainstFull]) -> list[str]:
    """Whether the base text measures no forgetting: its NLL falls."""
    below = t.arm_rows.loc[t.arm_rows["forgetting_high"] < 0, "arm"]
    if below.empty:
        return []
    return [
        f"{', '.join(below)}: {rise(t.of_axis['forgetting'])} is below 0. The tuned model predicts this text better than the "
        "base does, so the text is unlike what the base was pretrained on and does not measure forgetting"
    ]
