"""Verdicts of rank_vs_quality: what claims 12, 16 and 18 say about this sweep's effects. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from analysis import arms as a
from analysis.claims.verdicts import IS_ABOVE, Finding, direction, ledger
from analysis.formatting import joined
from analysis.reports import parts
from analysis.stats import ABOVE_ZERO, Region, no_interval, quotient_of_estimates
from core.experiment import Claim

if TYPE_CHECKING:
    from analysis.questions.rank_vs_quality import Tables

MARGIN = 0.03  # "within 2–3 % of full fine-tuning" (claim 18)
LOW_RANK, GOOD_RANK, HIGH_RANK = 1, 16, 64  # the ranks that claim 16 names
# Claim 12 says 5–8×. A ratio is supported if it lies there and is known within a factor of 2 of that range.
FIVE_TO_EIGHT = Region(5, 8, known_low=2.5, known_high=16)
ABOUT_TEN = Region(5, 20)  # claim 18's "about 10×": within a factor of 2 (published: 9.8, 15 in short runs)


def judge(tables: Tables, claims: tuple[Claim, ...]) -> list[dict[str, object]]:
    """One row a claim (see analysis/claims/verdicts.py), in the order of the experiment's claims."""
    return ledger(claims, {claim.id: RULES[claim.id](tables) for claim in claims})


def _missing(what: str, rule: str, effect: str) -> Finding:
    return Finding(None, None, rule, effect, note=f"the sweep has no {what}")


def _rank(rank: int) -> str:
    return f"arm within an octave of rank {rank} that shares a seed with full fine-tuning"


def _stands_for(*pairs: tuple[a.Arm, int]) -> str:
    """Says so where the sweep lacks the rank that a claim names and its nearest one, at most an octave away, stands in."""
    return "; ".join(f"rank {arm.rank} stands for rank {rank}" for arm, rank in pairs if arm.rank != rank)


def _hindrance(t: Tables, *arms: a.Arm) -> str:
    return parts.hindrance(t.arm_rows, arms, tuned=True)


def _pairs(first: a.Arm, second: a.Arm) -> bool:
    return bool(a.seeds_of(first, second))


def forgetting_ratio(t: Tables) -> Finding:
    """lora_forgets_5_to_8_times_less."""
    rule = "supported: estimate in 5–8× and interval within 2.5–16×; contradicted: interval outside 5–8×"
    arm, full = t.lora(GOOD_RANK), t.full
    effect = f"forgetting of full ÷ LoRA rank {arm.rank if arm else GOOD_RANK}, each at its best learning rate"
    if arm is None or full is None or not _pairs(full, arm):
        return _missing(_rank(GOOD_RANK), rule, effect)
    e = a.ratio(full, arm, t.forgetting)
    note = joined(_stands_for((arm, GOOD_RANK)), direction(e, 1.0, "LoRA forgets less", "LoRA forgets more"))
    return Finding(e, FIVE_TO_EIGHT, rule, effect, "ratio", note=note, hindrance=_hindrance(t, arm, full))


def forgetting_at_equal_quality(t: Tables) -> Finding:
    """lora_forgets_less_at_equal_quality_tuning."""
    rule = IS_ABOVE
    arm = t.lora(GOOD_RANK)
    effect = f"forgetting of full − LoRA rank {arm.rank if arm else GOOD_RANK} at equal validation quality"
    if arm is None or arm.label not in t.matched:
        missing = f"learning-rate curves of full fine-tuning and of an arm within an octave of rank {GOOD_RANK}"
        return _missing(missing, rule, effect)
    sides = [side for side in (arm, t.full) if side]
    bases = " and ".join(sorted(map(str, t.trials.loc[t.trials["phase"] == "tune", "model.name"].unique())))
    why = f"from the tuning trials, one a rate, on {bases}: forgetting_tradeoff asks it with seeds"
    note = joined(_stands_for((arm, GOOD_RANK)), why)
    return Finding(
        t.matched[arm.label],
        ABOVE_ZERO,
        rule,
        effect,
        t.forgetting_unit,
        note=note,
        hindrance=parts.not_forgetting(t.arm_rows, sides),
    )


def good_start(t: Tables) -> Finding:
    """rank_16_beats_rank_1."""
    rule = IS_ABOVE
    good, low = t.lora(GOOD_RANK), t.lora(LOW_RANK)
    if good is None or low is None or good is low or not _pairs(good, low):
        missing = f"arms within an octave of ranks {GOOD_RANK} and {LOW_RANK} with a seed in common"
        return _missing(missing, rule, f"rank {GOOD_RANK} − rank {LOW_RANK}, {t.quality_name}")
    effect = f"rank {good.rank} − rank {low.rank}, {t.quality_name}"
    note = _stands_for((good, GOOD_RANK), (low, LOW_RANK))
    e = a.difference(good, low, t.quality)
    return Finding(e, ABOVE_ZERO, rule, effect, t.quality_unit, note=note, hindrance=_hindrance(t, good, low))


def high_rank_equals_full(t: Tables) -> Finding:
    """rank_64_equals_full: equivalence, so a rank that is better by more than the margin contradicts it too, and the note says which."""
    rule = f"supported: interval within ±{MARGIN * 100:.0f} % of full; contradicted: outside"
    arm, full = t.lora(HIGH_RANK), t.full
    effect = f"rank {arm.rank if arm else HIGH_RANK} against full, {t.quality_name}, relative"
    if arm is None or full is None or not _pairs(arm, full):
        return _missing(_rank(HIGH_RANK), rule, effect)
    e = a.relative(arm, full, t.quality)
    note = joined(
        _stands_for((arm, HIGH_RANK)), direction(e, 0.0, "better than full", "worse than full"), parts.per_cent_of(t.quality_unit)
    )
    return Finding(e, Region(-MARGIN, MARGIN), rule, effect, percent=True, note=note, hindrance=_hindrance(t, arm, full))


def lora_near_full(t: Tables) -> Finding:
    """lora_within_3_percent_of_full: "comes within" has one side; being better than full fulfils it."""
    rule = f"supported: interval above −{MARGIN * 100:.0f} %; contradicted: below −{MARGIN * 100:.0f} %"
    full, finished = t.full, t.learning_rate[t.learning_rate["state"] == "finished"]
    on_validation = finished.groupby("arm")["quality"].max()
    ready = [arm for arm in t.arms if arm.method == "lora" and arm.final and arm.label in on_validation.index]
    best = max(ready, key=lambda arm: float(on_validation[arm.label]), default=None)
    effect = f"LoRA rank {best.rank if best else '?'} (best on validation) against full, {t.quality_name}, relative"
    if best is None or full is None or not _pairs(best, full):
        return _missing("LoRA and full fine-tuning with a seed in common", rule, effect)
    e = a.relative(best, full, t.quality)
    note = joined(direction(e, 0.0, "better than full", "worse than full"), parts.per_cent_of(t.quality_unit))
    return Finding(e, Region(-MARGIN, math.inf), rule, effect, percent=True, note=note, hindrance=_hindrance(t, best, full))


def learning_rate_ratio(t: Tables) -> Finding:
    """lora_rate_10_times_full_tuning."""
    rule = "supported: interval within 5–20×; contradicted: outside"
    arm, full = t.lora(GOOD_RANK), t.full
    effect = f"best learning rate of LoRA rank {arm.rank if arm else GOOD_RANK} ÷ full's"
    if arm is None or full is None:
        return _missing(_rank(GOOD_RANK), rule, effect)
    top, bottom = t.optima[arm.label], t.optima[full.label]
    if math.isnan(top.value) or math.isnan(bottom.value):
        which = " and ".join(f"{who} {e.why}" for who, e in (("LoRA", top), ("full", bottom)) if e.why)
        return Finding(no_interval(math.nan, 1, t.n_tuning_items, which, "log"), ABOUT_TEN, rule, effect, "ratio")
    e = quotient_of_estimates(top, bottom)
    way = direction(e, 1.0, "LoRA's is higher", "LoRA's is lower")
    note = joined(_stands_for((arm, GOOD_RANK)), way, "from the tuning trials, one a rate: learning_rate asks it with seeds")
    return Finding(e, ABOUT_TEN, rule, effect, "ratio", note=note)


RULES: dict[str, Callable[[Tables], Finding]] = {
    "lora_forgets_5_to_8_times_less": forgetting_ratio,
    "lora_forgets_less_at_equal_quality_tuning": forgetting_at_equal_quality,
    "rank_16_beats_rank_1": good_start,
    "rank_64_equals_full": high_rank_equals_full,
    "lora_within_3_percent_of_full": lora_near_full,
    "lora_rate_10_times_full_tuning": learning_rate_ratio,
}
