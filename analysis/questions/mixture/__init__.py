"""In which shares should sources be mixed?"""

from __future__ import annotations

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, at_most, difference, hindrance, labels, not_measured
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.questions.mixture.figure import CAPTION, draw
from analysis.questions.mixture.sections import frames, sections
from analysis.questions.mixture.surfaces import FIRST, Fitted, Mixtures, along, prepare
from analysis.stats import ABOVE_ZERO

VIEW = View(
    x=FIRST,
    x_label="share of the first source",
    measures=("quality", "exact_match/held_out", "forgetting"),
    curves="data.amount",
    derive=along,
    scale="linear",
)
BEATS = Ask("quality", ABOVE_ZERO, "quality, equal shares − the best of the sources alone")
LOSES = Ask("quality", at_most(3), "quality on the surface, best mixture − equal shares", in_points=True)
PREDICTS = Ask("quality", at_most(3), "error of quality on mixtures left out (root mean square)", in_points=True)


def beats_single(t: Tables[Mixtures]) -> Finding:
    """Equal shares against the source that is best alone: chosen from the same trials, which favours it."""
    equal, singles = t.own.equal(), t.own.alone()
    if equal is None or not singles:
        what = "equal shares" if equal is None else "each source alone"
        return untested(BEATS.region, BEATS.effect, f"no arm with {what}")
    best = max(singles, key=lambda one: t.means[one.arm.label]["quality"].value)
    one, other = ({"data.shares": found.text, "data.amount": t.own.amount} for found in (equal, best))
    return difference(t, one, other, BEATS)


def on_surface(t: Tables[Mixtures], ask: Ask) -> Fitted | Finding:
    """The surface of quality, or why there is none."""
    found = t.own.surfaces.get(("quality", t.own.amount))
    if found is None:
        return untested(ask.region, ask.effect, not_measured(t, ask) or "too few mixtures for a surface")
    return untested(ask.region, ask.effect, why) if (why := not_measured(t, ask)) else found


def loses_little(t: Tables[Mixtures]) -> Finding:
    """What the surface gains from equal shares to its best mixture: where the noise of the surface lifts its top, too much."""
    found = on_surface(t, LOSES)
    if isinstance(found, Finding):
        return found
    arms = [point.arm for point in found.points]
    gain, note = found.surface.best.over_equal, f"{found.surface.kind} surface, best at {found.told(t.own.names)}"
    return Finding(gain, LOSES.region, LOSES.effect, t.units["quality"], note, hindrance(t, "quality", *arms), labels(arms))


def predicts(t: Tables[Mixtures]) -> Finding:
    """The error of the surface on mixtures that were left out, one at a time."""
    found = on_surface(t, PREDICTS)
    if isinstance(found, Finding):
        return found
    note = f"{found.surface.kind} surface; the interval is as if errors were independent"
    return Finding(
        found.surface.error,
        PREDICTS.region,
        PREDICTS.effect,
        t.units["quality"],
        note,
        arms=labels([one.arm for one in found.points]),
    )


RULES: dict[str, Rule] = {
    "equal_shares_beat_every_single_source": beats_single,
    "equal_shares_lose_little_to_the_best_mixture": loses_little,
    "surface_predicts_mixtures_left_out": predicts,
}
QUESTION = Question(
    VIEW, RULES, prepare=prepare, draw=draw, caption=CAPTION, sections=sections, extra_frames=frames, fitted=False
)
