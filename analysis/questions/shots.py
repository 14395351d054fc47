"""Do examples before the question help, and does tuning beat a prompted base?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims import untuned
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference, hindrance, labels, why_absent
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.stats import ABOVE_ZERO
from analysis.stats.intervals import mean_interval

NONE, SOME = ({"evaluation.shots": n} for n in (0, 2))
VIEW = View(
    x="evaluation.shots",
    x_label="examples before each question",
    measures=("quality", "exact_match/held_out", "forgetting"),
    scale="even",
)
Scores = Callable[[Tables[None], Arm, list[int]], np.ndarray | None]  # (seeds, items)


def _tuned(t: Tables[None], arm: Arm, seeds: list[int]) -> np.ndarray | None:
    found: np.ndarray = t.panels["quality"].of([arm.final[seed] for seed in seeds])
    return found


def _base(t: Tables[None], arm: Arm, seeds: list[int]) -> np.ndarray | None:
    own = t.base_of(arm)
    return None if own is None else untuned.scores(own, t.frames, t.panels["quality"], "quality", seeds)


def apart(first: Scores, second: Scores, of: tuple[dict[str, int], dict[str, int]], effect: str) -> Rule:
    """The first, asked as the first arm is, less the second, asked as the second is; paired by seed and item."""
    ask = Ask("quality", ABOVE_ZERO, effect)

    def rule(t: Tables[None]) -> Finding:
        arms = [t.arm(fields) for fields in of]
        one, other = arms
        if one is None or other is None:
            absent = [why_absent(t, fields) for fields, arm in zip(of, arms, strict=True) if arm is None]
            return untested(ask.region, ask.effect, "; ".join(dict.fromkeys(absent)))
        seeds = seeds_of(one, other)
        scores = [first(t, one, seeds), second(t, other, seeds)] if seeds else []
        if not scores or scores[0] is None or scores[1] is None:
            return untested(ask.region, ask.effect, "no common seed whose base was scored on the same items")
        panel = t.panels["quality"]
        e = mean_interval(scores[0] - scores[1], panel.strata_I, panel.n_items, bases_S=panel.bases([one, other], seeds))
        doubt = hindrance(t, "quality", one, other)
        return Finding(e, ask.region, ask.effect, t.units["quality"], "", doubt, labels([one, other]))

    return rule


RULES: dict[str, Rule] = {
    "tuning_beats_a_prompted_base": apart(_tuned, _base, (NONE, SOME), "quality, tuned without examples − base with two"),
    "examples_help_a_tuned_model": lambda t: difference(
        t, SOME, NONE, Ask("quality", ABOVE_ZERO, "quality, tuned with two examples − with none")
    ),
    "examples_help_the_base": apart(_base, _base, (SOME, NONE), "quality, base with two examples − with none"),
}
QUESTION: Question[None] = Question(VIEW, RULES)
