"""What does a base of 4 or 8 bits cost, in quality, in forgetting and in memory?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import formatting
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, costs_at_most, difference, relative
from analysis.claims.tables import Fields, Tables, View
from analysis.stats import ABOVE_ZERO, Form, Region

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
QUESTION: Question[None] = Question(VIEW, RULES, sections=memory)
