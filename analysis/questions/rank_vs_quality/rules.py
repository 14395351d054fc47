"""A rule for each claim of rank_vs_quality: what its arms say about rank and about full fine-tuning."""

from __future__ import annotations

import math
from dataclasses import replace

from analysis import arms as a
from analysis.arms import Arm
from analysis.claims.rules import Ask, Rule, difference, hindrance, labels, relative
from analysis.claims.tables import Tables
from analysis.claims.verdicts import Finding, direction, untested
from analysis.formatting import joined
from analysis.questions.rank_vs_quality.against_full import AgainstFull
from analysis.questions.rank_vs_quality.retuning import scored
from analysis.stats import ABOVE_ZERO, Form, Region

MARGIN = 0.03  # "within 2–3 % of full fine-tuning"
LOW_RANK, GOOD_RANK = 1, 16  # the ranks that the claims name
# The claim says 5–8×. A ratio is supported if it lies there and is known within a factor of 2 of that range.
FIVE_TO_EIGHT = Region(5, 8, known_low=2.5, known_high=16, form=Form.FACTOR)
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


def best_rank_near_full(t: Tables[AgainstFull]) -> Finding:
    """lora_within_3_percent_of_full: "comes within" has one side; being better than full fulfils it."""
    full, on_validation = t.own.full, scored(t.own.tuning).groupby("arm")["quality"].max()
    ready = [arm for arm in t.arms if arm.method == "lora" and arm.final and arm.label in on_validation.index]
    best = max(ready, key=lambda arm: float(on_validation[arm.label]), default=None)
    effect = f"LoRA rank {best.rank if best else '?'} (best on validation) against full, {measured_as(t)}, relative"
    if best is None or full is None or not a.seeds_of(best, full):
        return _no_arms(NOT_BELOW, effect, "LoRA and full fine-tuning with a seed in common")
    return _against_full(t, best, full, Ask("quality", NOT_BELOW, effect))


RULES: dict[str, Rule] = {
    "lora_forgets_5_to_8_times_less": forgetting_ratio,
    "rank_16_beats_rank_1": good_start,
    "lora_within_3_percent_of_full": best_rank_near_full,
}
