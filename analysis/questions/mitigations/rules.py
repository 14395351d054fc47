"""A rule for each claim of mitigations."""

from __future__ import annotations

import math
from dataclasses import replace

from analysis import formatting
from analysis.arms import Arm
from analysis.claims.rules import Rule, hindrance, labels
from analysis.claims.tables import Tables
from analysis.claims.verdicts import Finding, untested
from analysis.questions.mitigations.compared import HELD_OUT, Mitigations, at_equal_quality
from analysis.questions.mitigations.ways import EPOCHS, KL, L2, PLAIN, REPLAY, SCALED, name
from analysis.stats import ABOVE_ZERO, Region
from core.settings import PROMPTS, RESPONSE

TOLD = Region(0.71, math.inf)
GAIN = "80–95 % of the gain that both reach"


def saves(method: str, kind: str) -> Rule:
    """How much more the plain training of the method forgets at equal quality on the tasks trained on; what it is at equal
    quality on held-out ones stands in the note."""
    effect = f"forgetting of {name(method, PLAIN)} − {name(method, kind)} at equal quality"

    def rule(t: Tables[Mitigations]) -> Finding:
        way, plain = t.own.way(method, kind), t.own.way(method, PLAIN)
        found = t.own.saved.get((name(method, kind), "quality"))
        if found is None or way is None or plain is None:
            return untested(ABOVE_ZERO, effect, f"needs two points of {name(method, kind)} and of plain {name(method, PLAIN)}")
        arms = list(dict.fromkeys(arm.label for arm in (*way.arms, *plain.arms)))
        sides = [arm for arm in t.arms if arm.label in arms]
        other = t.own.saved.get((name(method, kind), HELD_OUT))
        held_out = f"; at equal quality on held-out tasks {formatting.estimate(other.difference, signed=True)}" if other else ""
        return _finding(t, Finding(found.difference, ABOVE_ZERO, effect, t.units["forgetting"], GAIN + held_out), sides)

    return rule


def _finding(t: Tables[Mitigations], found: Finding, arms: list[Arm]) -> Finding:
    return replace(found, hindrance=hindrance(t, "forgetting", *arms), arms=labels(arms))


def replay_against_kl(t: Tables[Mitigations]) -> Finding:
    """replay_saves_more_than_kl_on_prompts."""
    first, second = t.own.way("lora", REPLAY), t.own.way("lora", KL[PROMPTS])
    effect = "forgetting with the KL penalty on prompts − with replay, at equal quality"
    found = at_equal_quality(t, first, second, "quality") if first and second else None
    if found is None or first is None or second is None:
        return untested(ABOVE_ZERO, effect, "needs two rates of each with a seed in common")
    return _finding(t, Finding(found.difference, ABOVE_ZERO, effect, t.units["forgetting"], GAIN), [*first.arms, *second.arms])


def told_by_kl(t: Tables[Mitigations]) -> Finding:
    """kl_on_the_task_tells_forgetting."""
    effect = "R² of a quadratic of forgetting in KL on the task, over all final trials"
    if t.own.told is None or t.own.cloud is None:
        return untested(TOLD, effect, "no trial was told the KL divergence on the task")
    if not t.own.told.known:
        return untested(TOLD, effect, t.own.told.why)
    note = f"{len(t.own.cloud.kl_N)} trials; the interval is over arms, for {t.own.told.over}"
    return Finding(t.own.told, TOLD, effect, "R²", note, "", labels([arm for arm in t.arms if arm.final]))


RULES: dict[str, Rule] = {
    "replay_forgets_less_at_equal_quality": saves("lora", REPLAY),
    "kl_on_responses_forgets_less_at_equal_quality": saves("lora", KL[RESPONSE]),
    "kl_on_prompts_forgets_less_at_equal_quality": saves("lora", KL[PROMPTS]),
    "l2_forgets_less_at_equal_quality": saves("full", L2),
    "fewer_epochs_forget_less_at_equal_quality": saves("lora", EPOCHS),
    "scaling_back_forgets_less_than_a_lower_rate": saves("lora", SCALED),
    "interpolated_weights_forget_less_than_a_lower_rate": saves("full", SCALED),
    "replay_saves_more_than_kl_on_prompts": replay_against_kl,
    "kl_on_the_task_tells_forgetting": told_by_kl,
}
