"""A rule for each claim of rank_vs_quality: what its arms say about rank and about full fine-tuning."""

from __future__ import annotations

import math
from dataclasses import replace

from analysis import arms as a
from analysis.arms import Arm
from analysis.claims import comparable
from analysis.claims.rules import Ask, Rule, difference, hindrance, labels, relative
from analysis.claims.tables import Tables
from analysis.claims.verdicts import Finding, direction, untested
from analysis.formatting import joined
from analysis.questions.rank_vs_quality.against_full import AgainstFull
from analysis.questions.rank_vs_quality.retuning import scored
from analysis.stats import ABOVE_ZERO, Form, Missing, Region, Why, no_interval
from analysis.stats.good_rates import ratio_of_best
from core.states import Phase

MARGIN = 0.03  # "within 2–3 % of full fine-tuning"
LOW_RANK, GOOD_RANK, HIGH_RANK = 1, 16, 64  # the ranks that the claims name
# The claim says 5–8×. A ratio is supported if it lies there and is known within a factor of 2 of that range.
FIVE_TO_EIGHT = Region(5, 8, known_low=2.5, known_high=16, form=Form.FACTOR)
ABOUT_TEN = Region(5, 20, form=Form.FACTOR)  # "about 10×": within a factor of 2 (published: 9.8, 15 in short runs)
EQUAL = Region(-MARGIN, MARGIN, form=Form.PERCENT)
NOT_BELOW = Region(-MARGIN, math.inf, form=Form.PERCENT)
BETTER_OR_WORSE = ("better than full", "worse than full")


def of_rank(t: Tables[AgainstFull], rank: int) -> Arm | None:
    """The LoRA arm of this rank, or the nearest within an octave."""

    def octaves(arm: Arm) -> float:
        return abs(math.log2((arm.rank or rank) / rank))

    near = [arm for arm in t.arms if arm.method == "lora" and arm.final and octaves(arm) <= 1]
    return min(near, key=octaves, default=None)


def measured_as(t: Tables[AgainstFull]) -> str:
    """The name of the measure that quality is here."""
    return t.of_axis["quality"][0]


def _no_arms(region: Region, effect: str, what: str) -> Finding:
    return untested(region, effect, f"the sweep has no {what}")


def _near_and_paired(rank: int) -> str:
    return f"arm within an octave of rank {rank} that shares a seed with full fine-tuning"


def _stands_for(*pairs: tuple[Arm, int]) -> str:
    """Names the rank that stands in, at most an octave away, where the sweep lacks the one that a claim names."""
    return "; ".join(f"rank {arm.rank} stands for rank {rank}" for arm, rank in pairs if arm.rank != rank)


def forgetting_ratio(t: Tables[AgainstFull]) -> Finding:
    """lora_forgets_5_to_8_times_less."""
    arm, full = of_rank(t, GOOD_RANK), t.own.full
    effect = f"forgetting of full ÷ LoRA rank {arm.rank if arm else GOOD_RANK}, each at its best learning rate"
    if arm is None or full is None or not a.seeds_of(arm, full):
        return _no_arms(FIVE_TO_EIGHT, effect, _near_and_paired(GOOD_RANK))
    e = a.ratio(full, arm, t.panels["forgetting"])
    note = joined(_stands_for((arm, GOOD_RANK)), direction(e, 1.0, "LoRA forgets less", "LoRA forgets more"))
    return Finding(e, FIVE_TO_EIGHT, effect, "ratio", note, hindrance(t, "forgetting", arm, full), labels([arm, full]))


def forgetting_at_equal_quality(t: Tables[AgainstFull]) -> Finding:
    """lora_forgets_less_at_equal_quality_tuning."""
    arm, full = of_rank(t, GOOD_RANK), t.own.full
    effect = f"forgetting of full − LoRA rank {arm.rank if arm else GOOD_RANK} at equal validation quality"
    if arm is None or arm.label not in t.own.at_equal_quality:
        what = f"learning-rate curves of full fine-tuning and of an arm within an octave of rank {GOOD_RANK}"
        return _no_arms(ABOVE_ZERO, effect, what)
    bases = " and ".join(sorted(map(str, t.trials.loc[t.trials["phase"] == Phase.TUNE, "model.name"].unique())))
    where = f"from the tuning trials, one a rate, on {bases}: forgetting_tradeoff asks it with seeds"
    note = joined(_stands_for((arm, GOOD_RANK)), where)
    e, sides = t.own.at_equal_quality[arm.label], [arm, *([full] if full else [])]
    return Finding(e, ABOVE_ZERO, effect, t.units["forgetting"], note, comparable.not_forgetting(t.arm_rows, sides))


def good_start(t: Tables[AgainstFull]) -> Finding:
    """rank_16_beats_rank_1."""
    good, low = of_rank(t, GOOD_RANK), of_rank(t, LOW_RANK)
    if good is None or low is None or good is low or not a.seeds_of(good, low):
        what = f"arms within an octave of ranks {GOOD_RANK} and {LOW_RANK} with a seed in common"
        return _no_arms(ABOVE_ZERO, f"rank {GOOD_RANK} − rank {LOW_RANK}, {measured_as(t)}", what)
    ask = Ask("quality", ABOVE_ZERO, f"rank {good.rank} − rank {low.rank}, {measured_as(t)}")
    found = difference(t, {"arm": good.label}, {"arm": low.label}, ask)
    return replace(found, note=joined(_stands_for((good, GOOD_RANK), (low, LOW_RANK)), found.note))


def _against_full(t: Tables[AgainstFull], arm: Arm, full: Arm, ask: Ask, note: str = "") -> Finding:
    """An arm's quality relative to full fine-tuning's, and in the note which way it differs."""
    found = relative(t, {"arm": arm.label}, {"arm": full.label}, ask)
    which_way = direction(found.estimate, 0.0, *BETTER_OR_WORSE) if found.estimate else ""
    return replace(found, note=joined(note, which_way, found.note))


def high_rank_equals_full(t: Tables[AgainstFull]) -> Finding:
    """rank_64_equals_full: equivalence, so a rank that is better by more than the margin contradicts it too."""
    arm, full = of_rank(t, HIGH_RANK), t.own.full
    effect = f"rank {arm.rank if arm else HIGH_RANK} against full, {measured_as(t)}, relative"
    if arm is None or full is None or not a.seeds_of(arm, full):
        return _no_arms(EQUAL, effect, _near_and_paired(HIGH_RANK))
    return _against_full(t, arm, full, Ask("quality", EQUAL, effect), _stands_for((arm, HIGH_RANK)))


def best_rank_near_full(t: Tables[AgainstFull]) -> Finding:
    """lora_within_3_percent_of_full: "comes within" has one side; being better than full fulfils it."""
    full, on_validation = t.own.full, scored(t.own.tuning).groupby("arm")["quality"].max()
    ready = [arm for arm in t.arms if arm.method == "lora" and arm.final and arm.label in on_validation.index]
    best = max(ready, key=lambda arm: float(on_validation[arm.label]), default=None)
    effect = f"LoRA rank {best.rank if best else '?'} (best on validation) against full, {measured_as(t)}, relative"
    if best is None or full is None or not a.seeds_of(best, full):
        return _no_arms(NOT_BELOW, effect, "LoRA and full fine-tuning with a seed in common")
    return _against_full(t, best, full, Ask("quality", NOT_BELOW, effect))


def learning_rate_ratio(t: Tables[AgainstFull]) -> Finding:
    """lora_rate_10_times_full_tuning."""
    arm, full = of_rank(t, GOOD_RANK), t.own.full
    effect = f"best learning rate of LoRA rank {arm.rank if arm else GOOD_RANK} ÷ full's"
    if arm is None or full is None:
        return _no_arms(ABOUT_TEN, effect, _near_and_paired(GOOD_RANK))
    top, bottom = t.own.optima[arm.label], t.own.optima[full.label]
    if not (top.known and bottom.known):
        lost = [(name, e.missing) for name, e in (("LoRA", top), ("full", bottom)) if e.missing]
        why = Missing(lost[0][1].kind if lost else Why.NOT_LOCATED, " and ".join(f"{name} {one.text}" for name, one in lost))
        return Finding(no_interval(top.value / bottom.value, 1, t.own.n_tuning_items, why, "log"), ABOUT_TEN, effect, "ratio")
    e = ratio_of_best(t.own.rated[arm.label], t.own.rated[full.label], t.own.n_tuning_items)
    which_way = direction(e, 1.0, "LoRA's is higher", "LoRA's is lower")
    where = "from the tuning trials, one a rate: learning_rate asks it with seeds"
    return Finding(e, ABOUT_TEN, effect, "ratio", joined(_stands_for((arm, GOOD_RANK)), which_way, where))


RULES: dict[str, Rule] = {
    "lora_forgets_5_to_8_times_less": forgetting_ratio,
    "lora_forgets_less_at_equal_quality_tuning": forgetting_at_equal_quality,
    "rank_16_beats_rank_1": good_start,
    "rank_64_equals_full": high_rank_equals_full,
    "lora_within_3_percent_of_full": best_rank_near_full,
    "lora_rate_10_times_full_tuning": learning_rate_ratio,
}
