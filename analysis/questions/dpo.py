"""What does DPO after instruction tuning add, and what does it cost in forgetting?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import formatting
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference
from analysis.claims.tables import Fields, Tables, View
from analysis.stats import ABOVE_ZERO, BELOW_ZERO
from core.preference_settings import CHOSEN, NONE

if TYPE_CHECKING:
    import pandas as pd

LEFT = "nll_after_relearning/documents"
ALONE, MORE = "none", "chosen"


def stages(trials: pd.DataFrame) -> pd.DataFrame:
    """What an arm's second stage is; and the learning rate that its arm was tuned to: the second stage's."""
    method = trials["prefer.method"].fillna(NONE).astype(str)
    beta = trials["prefer.beta"].astype(float).map(lambda value: f"DPO {value:g}")
    second = np.where(method == NONE, ALONE, np.where(method == CHOSEN, MORE, beta))
    ratio = trials["prefer.rate_ratio"].astype(float).where(method != NONE, 1.0)
    rate = trials["train.learning_rate"].astype(float) * ratio
    return trials.assign(**{"stage": second, "train.learning_rate": rate})


VIEW = View(
    x="stage",
    x_label="second stage (DPO: its β)",
    measures=("quality", "exact_match/held_out", "forgetting", LEFT, "raw_accuracy/skills"),
    curves="adapter.method",
    curves_label="method",
    scale="even",
    order=(ALONE, MORE, "DPO 0.03", "DPO 0.1", "DPO 0.3"),
    derive=stages,
)
COLUMNS = {
    "prefer/reward_margin": "margin of the rewards",
    "prefer/reward_accuracy": "pairs told apart",
    "prefer/chosen_reward": "reward of the chosen",
    "prefer/steps": "steps",
    "prefer/tokens": "tokens",
}


def arm(stage: str, method: str = "lora") -> Fields:
    return {"stage": stage, "adapter.method": method}


def rewards(t: Tables[None]) -> list[str]:
    """How far the second stage got on its own pairs."""
    final = t.trials[t.trials["fingerprint"].isin([name for arm in t.arms for name in arm.final.values()])]
    known = [column for column in COLUMNS if column in final and final[column].notna().any()]
    if not known:
        return []
    means = final.groupby("arm", sort=False)[known].mean().dropna(how="all")
    rows = [[label, *(formatting.number(float(value)) for value in means.loc[label])] for label in means.index]
    return [
        "## The second stage on its own pairs\n",
        "Means over the arm's final trials, of the last tenth of the steps. A reward is β times the logarithm of how much more "
        "likely an answer is than under the reference: below 0, the chosen answers have become less likely.\n",
        formatting.markdown(["arm", *(COLUMNS[name] for name in known)], rows),
    ]


DPO = "DPO 0.1"
RULES: dict[str, Rule] = {
    "dpo_raises_quality": lambda t: difference(
        t, arm(DPO), arm(ALONE), Ask("quality", ABOVE_ZERO, "quality, DPO − first stage alone")
    ),
    "dpo_beats_more_tuning_on_chosen": lambda t: difference(
        t, arm(DPO), arm(MORE), Ask("quality", ABOVE_ZERO, "quality, DPO − more tuning on the chosen answers")
    ),
    "dpo_costs_forgetting": lambda t: difference(
        t, arm(DPO), arm(ALONE), Ask("forgetting", ABOVE_ZERO, "forgetting, DPO − first stage alone")
    ),
    "dpo_forgets_less_than_more_tuning": lambda t: difference(
        t, arm(DPO), arm(MORE), Ask("forgetting", BELOW_ZERO, "forgetting, DPO − more tuning on the chosen answers")
    ),
    "higher_beta_forgets_less": lambda t: difference(
        t, arm("DPO 0.3"), arm("DPO 0.03"), Ask("forgetting", BELOW_ZERO, "forgetting, β = 0.3 − 0.03")
    ),
    "lora_dpo_forgets_less_than_full": lambda t: difference(
        t, arm(DPO), arm(DPO, "full"), Ask("forgetting", BELOW_ZERO, "forgetting, LoRA − full, both with DPO")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES, sections=rewards)
