"""What does a base of 4 or 8 bits cost, in quality, in forgetting and in memory?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import arms as a
from analysis import formatting
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, costs_at_most, difference, relative
from analysis.claims.tables import Fields, Tables, View
from analysis.stats import ABOVE_ZERO, Form, Region
from core.measures import measure

if TYPE_CHECKING:
    import pandas as pd

EQUAL = Region(-0.04, 0.04, form=Form.PERCENT)


def kind(trials: pd.DataFrame) -> pd.DataFrame:
    """How an arm's base is held; full fine-tuning beside the rest."""
    held = trials["model.quantization"].astype(str)
    if "model.double_quantization" in trials:
        whole = trials["model.double_quantization"].astype(str).eq("False") & held.isin(["nf4", "fp4"])
        held = held.where(~whole, held + ", whole scales")
    return trials.assign(base=np.where(trials["adapter.method"] == "full", "full", held))


VIEW = View(
    x="base",
    x_label="how the base is held, and full fine-tuning",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    scale="even",
    order=("none", "int8", "nf4", "nf4, whole scales", "fp4", "fp4, whole scales", "full"),
    derive=kind,
)


def arm(held: str) -> Fields:
    return {"base": held}


def memory(t: Tables[None]) -> list[str]:
    """Of each arm: what its base's weights take, the estimate of a trial's peak, and what was measured."""
    final = t.trials[t.trials["fingerprint"].isin([name for arm in t.arms for name in arm.final.values()])]
    columns = ["memory_base_gib", "memory_estimate_gib", "peak_memory_gib"]
    known = [column for column in columns if column in final and final[column].notna().any()]
    if not known:
        return []
    means = final.groupby("arm", sort=False)[known].mean()
    head = {"memory_base_gib": "base's weights (GiB)", "memory_estimate_gib": "trial, estimated", "peak_memory_gib": "measured"}
    rows = [[label, *(formatting.number(float(means.loc[label, name])) for name in known)] for label in means.index]
    return [
        "## Memory\n",
        "The peak of a trial; on a CPU of the whole process with its libraries, where a small base hardly shows.\n",
        formatting.markdown(["arm", *(head[name] for name in known)], rows),
    ]


def rounding(t: Tables[None]) -> list[str]:
    """What the quantized bases lose before any tuning, which forgetting, a change from them, leaves out."""
    arms = [one for one in t.where({}) if one.final and one.method != "full"]
    whole, final = t.arm(WHOLE), [name for one in arms for name in one.final.values()]
    read = t.items[t.items["fingerprint"].isin(final) & (t.items["axis"] == "forgetting")]
    texts = all(measure(str(name)).text for name in read["measure"].unique())  # a divergence from itself is 0
    if whole is None or whole not in arms or read.empty or read["before"].isna().any() or not texts:
        return []
    panel = a.panel(read.assign(before=0.0, after=read["before"]), final, "forgetting", t.trials)
    lost = [(one, a.difference(one, whole, panel) if one is not whole and a.seeds_of(one, whole) else None) for one in arms]
    rows = [[one.label, formatting.estimate(a.mean(one, panel)), formatting.estimate(e, signed=True) if e else formatting.NONE]
            for one, e in lost]  # fmt: skip
    return [
        "## What rounding costs before tuning\n",
        "The untuned bases' loss on the old text of which forgetting is the rise; forgetting begins at each arm's own base.\n",
        formatting.markdown(["arm", f"loss of its base ({t.units['forgetting']})", "above the whole base"], rows),
    ]


def sections(t: Tables[None]) -> list[str]:
    return [*rounding(t), *memory(t)]


NF4, WHOLE = arm("nf4"), arm("none")
RULES: dict[str, Rule] = {
    "nf4_equals_whole_base": lambda t: relative(
        t, NF4, WHOLE, Ask("quality", EQUAL, "NF4 against the whole base, quality, relative")
    ),
    "nf4_beats_fp4": lambda t: difference(t, NF4, arm("fp4"), Ask("quality", ABOVE_ZERO, "NF4 − FP4, quality")),
    "quantized_scales_cost_nothing": lambda t: difference(
        t,
        NF4,
        arm("nf4, whole scales"),
        Ask("quality", costs_at_most(3), "quality, quantized − whole scales", in_points=True),
    ),
    "int8_costs_nothing": lambda t: difference(
        t, arm("int8"), WHOLE, Ask("quality", costs_at_most(3), "int8 − whole base, quality", in_points=True)
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES, sections=sections)
