"""Does the optimizer matter at its own best learning rate, and does LoRA pay for large batches?"""

from __future__ import annotations

import pandas as pd

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, combination, difference
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import RATIO, Finding, untested
from analysis.questions.quantization import memory
from analysis.questions.rank_vs_quality import retuning
from analysis.stats import BELOW_ZERO, Form, Region
from analysis.stats.good_rates import ratio_of_best
from core.optimizers import ADAMW, OPTIMIZERS

LEFT = "nll_after_relearning/documents"
EQUAL = Region(-0.04, 0.04)  # points of accuracy
LOWER = Region(0, 1, form=Form.FACTOR)
SMALL, LARGE = 4, 64  # batches
LEAST_RATES = 3  # of which a best one can be told


def recipe(trials: pd.DataFrame) -> pd.DataFrame:
    """The optimizer by its label, and the batch of arms that have one of their own, which is then part of their names."""
    names = trials["train.optimizer"].map({name: one.label for name, one in OPTIMIZERS.items()})
    own = trials["arm"].astype(str).str.contains("batch_size=")
    return trials.assign(recipe=names.where(~own, trials["train.batch_size"].astype(int).map("batch {}".format)))


VIEW = View(
    x="recipe",
    x_label="optimizer; batch of AdamW",
    measures=("quality", "exact_match/held_out", "forgetting", LEFT, "raw_accuracy/skills"),
    curves="adapter.method",
    scale="even",
    order=(*(one.label for one in OPTIMIZERS.values()), *(f"batch {size}" for size in (SMALL, LARGE))),
    derive=recipe,
)


def arm(method: str, optimizer: str = ADAMW, batch: int | None = None) -> Fields:
    """By optimizer with the usual batch, or of AdamW by another one."""
    return {"adapter.method": method, "recipe": OPTIMIZERS[optimizer].label if batch is None else f"batch {batch}"}


def against_adamw(optimizer: str, region: Region, name: str = "quality", in_points: bool = False) -> Rule:
    """An optimizer less AdamW, in full fine-tuning."""
    ask = Ask(name, region, f"{OPTIMIZERS[optimizer].label} − AdamW, full fine-tuning, {name}", in_points=in_points)
    return lambda t: difference(t, arm("full", optimizer), arm("full"), ask)


def penalty_of_batches(t: Tables[None]) -> Finding:
    """What LoRA loses from small to large batches, less what full fine-tuning loses."""
    ask = Ask("quality", BELOW_ZERO, f"LoRA − full, batches of {LARGE}, less the same at {SMALL}, quality")
    signs = {("lora", LARGE): 1.0, ("full", LARGE): -1.0, ("lora", SMALL): -1.0, ("full", SMALL): 1.0}
    return combination(t, [(arm(method, batch=batch), sign) for (method, batch), sign in signs.items()], ask)


def rate_of_lion(t: Tables[None]) -> Finding:
    """Between which rates the curves of the tuning trials have their tops."""
    effect = "best learning rate of Lion ÷ AdamW's, full fine-tuning"
    arms = [t.arm(arm("full", name)) for name in ("lion", ADAMW)]
    tuning = retuning.tuning_trials(t)
    panels = retuning.panels_of(t, retuning.scored(tuning))
    curves = retuning.rated(t, tuning, panels)
    found = [curves[one.label] for one in arms if one is not None]
    if len(found) < len(arms) or min(len(one.rates_K) for one in found) < LEAST_RATES:
        return untested(LOWER, effect, f"needs {LEAST_RATES} learning rates of each optimizer")
    ratio = ratio_of_best(found[0], found[1], panels["quality"].n_items)
    return Finding(ratio, LOWER, effect, RATIO, "from the tuning trials, one a rate, on one base")


RULES: dict[str, Rule] = {
    "adamw_8bit_equals_adamw": against_adamw("adamw-8bit", EQUAL, in_points=True),
    "adafactor_equals_adamw": against_adamw("adafactor", EQUAL, in_points=True),
    "lion_equals_adamw": against_adamw("lion", EQUAL, in_points=True),
    "lion_takes_a_lower_rate": rate_of_lion,
    "sgd_falls_behind_adamw": against_adamw("sgd", BELOW_ZERO),
    "muon_forgets_less_than_adamw": against_adamw("muon", BELOW_ZERO, "forgetting"),
    "lora_pays_for_large_batches": penalty_of_batches,
}
QUESTION: Question[None] = Question(VIEW, RULES, sections=memory)
