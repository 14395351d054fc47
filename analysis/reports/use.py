"""What a report ends with: which arm to use, its settings, what that may cost, what more seeds would buy."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from analysis import formatting
from analysis.claims import accept
from analysis.claims.choice import ALPHA, OF_FORGETTING, SAME_TIME, SHARE_OF_FORGETTING, TOLERANCE, Choice, Gentler
from analysis.claims.more_seeds import MOST_SEEDS
from analysis.claims.tables import Tables
from analysis.escaping import escaped, printable
from analysis.reports import parts, recipe
from analysis.stats.estimate import Estimate
from core.experiment import Experiment
from core.measures import ACCURACY

SHOWN = 8  # names of a list in a sentence
METHOD = (
    "How: an arm leaves the set where another is shown to be better, in one-sided tests paired by seed and item, Bonferroni "
    "over the other arms and the measures (Hsu's comparison with the best); the best arm of a measure stays with a chance "
    f"of at least {round(100 * (1 - ALPHA))} %. Of the set, arms stay that are expected to lose at most {TOLERANCE:g} (accuracy, "
    "nats/token) of each measure of quality, or the one that loses least; then forgetting is compared in both ways among "
    f"these (tolerance: {OF_FORGETTING:g} nats/token, or {round(100 * SHARE_OF_FORGETTING)} % of the least if that is more). "
    f"Cheapest: fewest seconds a trial, and of arms within {round(100 * (SAME_TIME - 1))} % of these the fewest trainable "
    "parameters. Expected loss: how far the best of the set is expected to lie above the chosen arm, the luck of the highest "
    "mean taken out; its price: the arm nearest in quality that is shown to forget less; brackets: simultaneous 95 % limits. The "
    "rates were tuned on validation data; all this is from the final seeds on the test split."
)


def headline(choice: Choice) -> str:
    """The decision in one sentence."""
    if not choice.chosen:
        return f"Use this: nothing can be decided, {choice.why}"
    if not choice.base:
        return f"Use this: {choice.chosen}"
    if choice.looks_better is None:
        return "Use this: keep the base; no arm is better"
    return "Use this: keep the base; no arm is shown to be better"


def sentences(choice: Choice, t: Tables[Any]) -> list[str]:
    """Why, what it may cost, and what more seeds would buy, one thing each."""
    if not choice.chosen:
        return [_left_out(choice)] if choice.left_out else []
    lines = [_set(choice), *_base(choice)]
    lines += [f"Expected loss: {_losses(choice, t)}."] if choice.losses and len(choice.told) > 1 else []
    lines += [_price(choice.gentler, t)] if choice.gentler else []
    lines += [_seeds(choice, t)] if choice.rival else ["No other arm is as good: more seeds would not change the choice."]
    lines += [f"But: {remark}." for remark in choice.remarks]
    return lines + ([_left_out(choice)] if choice.left_out else [])


def _set(choice: Choice) -> str:
    n_all = len(choice.told) + len(choice.worse)
    found = f"{len(choice.told)} of {n_all} cannot be told from the best over {choice.n_seeds} seeds: {_listed(choice.told)}."
    if len(choice.told) == 1:
        found = f"It is the only one of {n_all} that cannot be told from the best over {choice.n_seeds} seeds."
    risky = formatting.by_reason(choice.risky).items()
    lost = [f"Expected to lose too much of {why}: {_listed(labels)}." for why, labels in risky]
    if not choice.base and len(choice.told) > 1:
        left = len(choice.told) - len(choice.risky)
        lost.append(f"{choice.chosen} is the cheapest of the {left} left." if left > 1 else f"That leaves {choice.chosen}.")
    worse = formatting.by_reason(choice.worse).items()
    return " ".join([found, *lost, *(f"Worse in {why}: {_listed(labels)}." for why, labels in worse)])


def _base(choice: Choice) -> list[str]:
    if not choice.base:
        return []
    lines = []
    if choice.looks_better is not None:
        lines.append(
            f"{choice.rival} looks better by {formatting.estimate(choice.looks_better, signed=True)}, which may be chance."
        )
    if choice.instead:
        lines.append(f"To tune all the same, take {choice.instead}, the cheapest of those expected to be as good as any.")
    return lines


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more


def _losses(choice: Choice, t: Tables[Any]) -> str:
    texts = []
    for name, e in choice.losses.items():
        texts.append(f"{formatting.estimate(e)} {t.unit(name)} of {formatting.readable(name)}")
    return "; ".join(texts)


def _price(own: Gentler, t: Tables[Any]) -> str:
    spared = f"{formatting.estimate(own.forgetting)} {t.unit('forgetting')}"
    lost = f"{formatting.estimate(own.quality)} {t.unit('quality')}"
    return f"Its price: {own.label} forgets {spared} less, and has {lost} less quality."


def _seeds(choice: Choice, t: Tables[Any]) -> str:
    n, unit = choice.more_seeds, t.unit(choice.rival_on)
    how_many = f"about {n}" if n is not None and n <= MOST_SEEDS else f"more than {MOST_SEEDS}"
    rival = f"{choice.rival} in {formatting.readable(choice.rival_on)}" if choice.rival_on else choice.rival
    decide = f"{how_many} seeds would tell it from {rival}, were the difference as estimated"
    if n is None:
        decide = f"it lies so near to {rival} that more seeds, on the bases that there are, need not tell them apart"
    if math.isnan(choice.seen_now):
        return f"More seeds: {decide}."
    seen = choice.seen_now, choice.seen_twice
    now, twice = ("more than 1" if unit == ACCURACY and x > 1 else formatting.number(x) for x in seen)
    found = f"a difference of {now} {unit} is found with 80 % power as it is, of {twice} with twice the {choice.n_seeds} seeds"
    return f"More seeds: {decide}; {found}."


def _left_out(choice: Choice) -> str:
    reasons = formatting.by_reason(choice.left_out).items()
    return "Not compared: " + "; ".join(f"{_listed(labels)} ({why})" for why, labels in reasons) + "."


def section(choice: Choice, t: Tables[Any], experiment: Experiment) -> list[str]:
    """The last section of report.md."""
    lines = ["## Use this\n", f"**{escaped(headline(choice))}.**\n"]
    lines += [f"- {escaped(text)}" for text in sentences(choice, t)]
    arm = t.named(choice.instead if choice.base else choice.chosen)
    if arm is not None:
        name = f"The settings of {escaped(arm.label)}, with its learning rate:\n"
        lines += ["", name, f"```yaml\n{recipe.yaml(recipe.settings(t, arm))}```\n"]
        run = recipe.command(t, arm, experiment)
        lines += [f"```sh\n{run}\n```\n"] if run else []
    return [*lines, "", METHOD + "\n"] if choice.chosen else [*lines, ""]


def terminal(choice: Choice, t: Tables[Any], command: str) -> str:
    """The last lines of a sweep's or report's output; `command` runs what is chosen."""
    width = parts.terminal_width()
    lines = ["", "", printable(headline(choice))]
    for text in sentences(choice, t):
        lines += textwrap.wrap(printable(text), width, initial_indent="     ", subsequent_indent="     ")
    return "\n".join([*lines, *([f"     {printable(command)}"] if command else [])])


def content(choice: Choice, t: Tables[Any], experiment: Experiment) -> dict[str, Any]:
    """decision.json."""
    arm = t.named(choice.chosen)
    status = "keep the base" if choice.base else "use" if choice.chosen else "nothing can be decided"
    return {
        "question": experiment.name, "status": status, "chosen": choice.chosen or None, "why": choice.why,
        "cannot_be_told_from_the_best": list(choice.told), "worse": dict(choice.worse),
        "expected_to_lose_more": dict(choice.risky), "tolerance": _TOLERANCES,
        "not_compared": dict(choice.left_out),
        "instead_of_the_base": choice.instead or None,
        "looks_better_than_the_base": _interval(choice.looks_better) if choice.looks_better else None,
        "settings": recipe.settings(t, arm) if arm else None,
        "command": (recipe.command(t, arm, experiment) or None) if arm else None,
        "expected_loss": {
            name: {**_interval(e), "unit": t.unit(name)} for name, e in choice.losses.items()
        },
        "forgets_less": {
            "arm": choice.gentler.label,
            "forgetting_less": _interval(choice.gentler.forgetting), "quality_less": _interval(choice.gentler.quality),
        } if choice.gentler else None,
        "more_seeds": {
            "rival": choice.rival or None, "measure": choice.rival_on or None,
            "needed": choice.more_seeds, "difference_found_now": _plain(choice.seen_now),
            "difference_found_with_twice_the_seeds": _plain(choice.seen_twice),
        },
        "remarks": list(choice.remarks), "seeds": choice.n_seeds, "alpha": round(ALPHA, 10), "method": METHOD,
        "arms": [*_arms(t), *_bases(t)],
    }  # fmt: skip


_TOLERANCES = {"quality": TOLERANCE, "forgetting": OF_FORGETTING, "share_of_forgetting": SHARE_OF_FORGETTING}


def _arms(t: Tables[Any]) -> list[dict[str, Any]]:
    rows = {row["arm"]: row for row in t.arm_rows.to_dict("records")}
    return [
        {
            "arm": arm.label, "learning_rate": _plain(arm.rate), "seeds": len(arm.final),
            **{name: _plain(float(rows[arm.label][name])) for name in ("seconds", "trainable_parameters")},
            "scores": {name: _interval(e) for name, e in t.means[arm.label].items()},
        }
        for arm in t.arms
    ]  # fmt: skip


def _bases(t: Tables[Any]) -> list[dict[str, Any]]:
    return [
        {
            "arm": base.label, "learning_rate": None, "seeds": len(base.final), "seconds": 0, "trainable_parameters": 0,
            "scores": {name: _interval(e) for name, e in base.means.items()},
        }
        for base in t.untuned
    ]  # fmt: skip


def _interval(e: Estimate) -> dict[str, float | None]:
    return {name: _plain(getattr(e, name)) for name in ("value", "low", "high")}


def _plain(value: float) -> float | None:
    """JSON has no nan and no infinity."""
    return round(float(value), 10) if math.isfinite(value) else None


def to_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def outcomes(judged: Sequence[accept.Judged]) -> dict[str, Any]:
    """What `--json` says of the conditions of `--accept`."""
    rows = [
        {
            **dataclasses.asdict(one.condition), "arm": one.arm or None, "outcome": one.outcome, "why": one.why,
            "judged_by": _interval(one.estimate) if one.estimate else None,
        }
        for one in judged
    ]  # fmt: skip
    return {"outcome": accept.overall(judged), "conditions": rows}
