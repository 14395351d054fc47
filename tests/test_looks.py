"""Looks at a growing number of seeds share 5 %; what claims said before the first seed is compared with what they say today."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit

import experiments
from analysis import questions
from analysis.beforehand import spread
from analysis.claims import frozen, looks, more_seeds, power, unanswered
from analysis.claims.verdicts import Finding, ledger, to_json, wishes
from analysis.stats import ABOVE_ZERO, Decision, Estimate, Region, mean_interval
from analysis.stats.looks import ALPHA, levels, repeated_p, total_error
from core.experiment import Claim, Published
from core.looks import WISHES, Looks, Wish, read_wishes, wishes_text

DESIGNS = ((3, 5, 7, 9), (4, 6, 8, 10, 12), (8, 12, 16, 20, 24))
CLAIM = Claim(id="one", statement="It rises", published=Published(effect="", source="", url=""))


def wrong(effects_NS: np.ndarray, seeds_K: tuple[int, ...], region: tuple[float, float]) -> float:
    """The share of sweeps in which some look finds the mean's interval inside the region."""
    found_N = np.zeros(len(effects_NS), dtype=bool)
    for n, level in zip(seeds_K, levels(seeds_K, seeds_K[-1]), strict=True):
        mean_N, error_N = effects_NS[:, :n].mean(axis=1), effects_NS[:, :n].std(axis=1, ddof=1) / math.sqrt(n)
        half_N = stdtrit(n - 1, 1 - level / 2) * error_N
        found_N |= (mean_N - half_N > region[0]) & (mean_N + half_N < region[1])
    return float(found_N.mean())


@pytest.mark.parametrize("seeds_K", DESIGNS)
def test_all_looks_together_err_in_five_per_cent(seeds_K: tuple[int, ...]) -> None:
    """A difference that is none, found in either direction; an equality that is wrong by just its margin, found in the one that
    it can be. Standard error of 40,000 draws: a tenth of a point."""
    effects_NS = np.random.default_rng(0).normal(size=(40_000, seeds_K[-1]))
    difference = wrong(effects_NS, seeds_K, (0, math.inf)) + wrong(effects_NS, seeds_K, (-math.inf, 0))
    assert 0.04 <= difference <= 0.06
    for margin in (1.0, 4.0):  # in standard deviations of a seed
        assert wrong(effects_NS + margin, seeds_K, (-margin, margin)) <= 0.03
    assert total_error(seeds_K, levels(seeds_K, seeds_K[-1])) == pytest.approx(ALPHA, abs=1e-4)


def test_one_look_at_all_seeds_has_all_of_alpha_and_the_known_constants() -> None:
    assert levels((4,), 4)[0] == pytest.approx(ALPHA)
    assert total_error((4, 8), (ALPHA, ALPHA)) == pytest.approx(0.0831, abs=2e-4)  # Armitage, McPherson, Rowe (1969)
    assert total_error((1, 2, 3, 4, 5), (ALPHA,) * 5) == pytest.approx(0.1417, abs=2e-4)
    assert repeated_p(0.03, (4,), 4) == 0.03
    last = levels((4, 6, 8), 8)[-1]
    assert repeated_p(last, (4, 6, 8), 8) == pytest.approx(ALPHA, abs=1e-5)
    assert repeated_p(1e-14, (4, 6, 8), 8) < 1e-12
    assert math.isnan(repeated_p(math.nan, (4, 6), 8))


def finding(n: int, mean: float = 1.0) -> Finding:
    scores_S1 = np.random.default_rng(1).normal(mean, 0.5, (12, 1))[:n]
    return Finding(mean_interval(scores_S1, n_items=200), ABOVE_ZERO, "effect", arms=("a", "b"))


def test_a_sweep_run_once_keeps_its_interval_and_a_planned_look_has_a_wider_one() -> None:
    (plain,), (planned,) = (ledger([CLAIM], {"one": finding(4)}, before) for before in (Looks(), Looks(most=12)))
    e = finding(4).estimate
    assert e is not None
    assert (plain.low, plain.high, plain.note) == (pytest.approx(e.low), pytest.approx(e.high), "")
    assert (planned.low or 0.0) < e.low
    assert (planned.p or 0.0) > (plain.p or 1.0)
    assert "look 1, at 4 of at most 12 seeds: interval at 97.7 %" in planned.note


def test_a_report_without_new_seeds_is_no_look_and_an_unplanned_one_says_what_it_costs() -> None:
    taken, notes = Looks(), []
    for n in (4, 4, 8):
        (one,) = ledger([CLAIM], {"one": finding(n, 0.1)}, taken)
        taken = looks.after(taken, [one])
        notes.append(one.note)
    assert [n for n, _ in taken.taken["one"]] == [4, 8]
    assert Looks.from_json("", taken.to_json()) == taken
    assert "up to 6.6 % of such claims are decided wrongly" in notes[2]
    assert notes[0] == notes[1]


def test_only_what_more_seeds_can_decide_is_wished_for() -> None:
    unsure = finding(4, 0.0)
    cases = {
        "unsure": unsure,
        "hindered": dataclasses.replace(unsure, hindrance="the rate was not tuned"),
        "few_items": dataclasses.replace(unsure, estimate=dataclasses.replace(unsure.estimate, n_items=5)),  # type: ignore[type-var]
        "tuning": dataclasses.replace(unsure, estimate=dataclasses.replace(unsure.estimate, n_seeds=1)),  # type: ignore[type-var]
        "clear": finding(8, 9.0),
    }
    claims = [dataclasses.replace(CLAIM, id=name) for name in cases]
    found = wishes(ledger(claims, cases))
    assert found == [Wish("unsure", ("a", "b"))]


def test_wishes_go_through_a_file(tmp_path: Path) -> None:
    (tmp_path / WISHES).write_text(wishes_text([Wish("unsure", ("a", "b"))]))
    assert read_wishes(tmp_path) == [Wish("unsure", ("a", "b"))]


@pytest.mark.parametrize("name", experiments.names())
def test_every_rule_has_its_region_and_its_text_before_any_trial(name: str) -> None:
    question, experiment = questions.load(name), experiments.load(name)
    record = frozen.today(question, experiment)
    assert list(record.claims) == [claim.id for claim in experiment.claims]
    assert all(said.rule.startswith("supported: ") and claim in said.source for claim, said in record.claims.items())
    assert frozen.Record.from_json(record.to_json()) == record
    assert not frozen.compare(record, record).changed


def test_changed_words_and_rules_are_shown_with_both_texts() -> None:
    name = "epochs"
    question, experiment = questions.load(name), experiments.load(name)
    now = frozen.today(question, experiment)
    first, second = now.claims
    said = dict(now.claims)
    said[first] = dataclasses.replace(said[first], statement="It slows down")
    said[second] = dataclasses.replace(said[second], source=said[second].source.replace("0.02", "0.05"), rule="at most 5 points")
    statistics = {**now.statistics, "analysis.stats.intervals.mean_interval": "0" * 8}
    found = frozen.compare(dataclasses.replace(now, claims=said, statistics=statistics), now)
    assert found.remark(first) == "its words were changed after the first seed"
    assert found.remark(second) == "its rule was changed after the first seed"
    cautions, section = found.cautions(), "\n".join(found.section())
    assert "before “It slows down”, now “Past 3 epochs" in cautions[0]
    assert "before “at most 5 points”, now “supported: interval below +0.02" in cautions[1]
    assert cautions[2].endswith("after the first seed: mean_interval")
    assert "-AT_MOST_TWO_POINTS = Region(-math.inf, 0.05)\n+AT_MOST_TWO_POINTS = Region(-math.inf, 0.02)" in section
    damaged = now.to_json().replace("3 epochs", "4 epochs")
    assert "changed after it was written" in frozen.against(damaged, question, experiment).why
    assert frozen.against("", question, experiment).told() == frozen.NOT_RECORDED.why


def test_power_says_what_planned_seeds_can_show_and_which_equality_they_cannot() -> None:
    e = Estimate(0.0, -0.04, 0.04, 3, 4, 1_000)
    found = ledger([CLAIM], {"one": Finding(e, ABOVE_ZERO, "effect", "accuracy")})
    shows = power.lines({"one": Finding(None, ABOVE_ZERO, "effect")}, {"one": found[0]}, "here", power.Planned(4, 1))
    assert shows[1] == f"  one: an effect of {e.minimum_detectable():.3f} (accuracy) or more".replace("0.0", "0.0")
    for region, words in ((Region(-0.02, 0.02), "TOO FEW"), (Region(-math.inf, 0.02), "TOO FEW"), (Region(-1, 1), "enough")):
        line = power.lines({"one": Finding(None, region, "effect")}, {"one": found[0]}, "here", power.Planned(4, 1))[1]
        assert words in line
    n = next(int(word) for word in power.lines(
        {"one": Finding(None, Region(-0.04, 0.04), "effect")}, {"one": found[0]}, "here", power.Planned(4, 1)
    )[1].split() if word.isdigit())  # fmt: skip
    sd, rng = 0.04 / stdtrit(3, 0.975) * 2, np.random.default_rng(0)
    drawn = rng.normal(0, sd, (4_000, n))
    half = stdtrit(n - 1, 0.975) * drawn.std(axis=1, ddof=1) / math.sqrt(n)
    assert 0.74 <= np.mean(np.abs(drawn.mean(axis=1)) + half <= 0.04) <= 0.92
    unasked = unanswered.asked(questions.load("shots"), experiments.load("shots"))
    assert "spread between seeds assumed" in power.lines(unasked, {}, "", power.Planned(4, 3))[0]
    assert found[0].verdict is Decision.UNDECIDED


def on_bases(n_seeds: int, effect: float, n_draws: int, rng: np.random.Generator) -> list[Estimate]:
    """Estimates of an effect whose seeds (sd 1) take turns over 8 bases, which have 60 % of the variance."""
    bases_S = np.arange(n_seeds) % 8
    base_N8, seed_NS = rng.normal(0, 0.6**0.5, (n_draws, 8)), rng.normal(0, 0.4**0.5, (n_draws, n_seeds))
    return [mean_interval(row[:, None], n_items=1_000, bases_S=bases_S) for row in effect + base_N8[:, bases_S] + seed_NS]


@pytest.mark.parametrize("n_seeds", [8, 16])
def test_planned_seeds_share_the_bases_that_there_are(n_seeds: int) -> None:
    """What the plan says is found in four of five, also by the interval that skewness makes longer."""
    e = power.assumed(Finding(None, ABOVE_ZERO, "effect"), 8)
    sd = power.ASSUMED[ABOVE_ZERO.form]
    effect, margin = e.minimum_detectable(1, n_seeds) / sd, e.margin(1, n_seeds) / sd
    rng = np.random.default_rng(0)
    assert np.mean([one.low > 0 for one in on_bases(n_seeds, effect, 600, rng)]) == pytest.approx(0.8, abs=0.06)
    inside = [-margin < one.low and one.high < margin for one in on_bases(n_seeds, 0.0, 600, rng)]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.06)
    assert e.minimum_detectable(1, 10**6) == pytest.approx(e.minimum_detectable() * 0.6**0.5, rel=0.01)


def test_seeds_that_cannot_decide_are_neither_named_nor_added() -> None:
    """8 seeds on 8 bases: an effect that only more bases would show, one that is near, and the same with more bases to draw."""
    scores_S1 = np.array([[0.5], [1.6], [-1.2], [0.3], [1.1], [-0.9], [0.8], [-1.4]])

    def found(mean: float, n_bases: int) -> Estimate:
        shifted = scores_S1 - scores_S1.mean() + mean
        return mean_interval(shifted, n_items=1_000, bases_S=np.arange(8)).on_bases(n_bases)

    region = Region(0, math.inf)
    assert "alone would not decide it, were the effect as estimated: more bases would" in more_seeds.text(
        found(0.5, 8), region, 1
    )
    assert "seeds would decide it" in more_seeds.text(found(0.5, 100), region, 1)
    assert more_seeds.chance(found(0.2, 8), region, 24) < more_seeds.LEAST_CHANCE < more_seeds.chance(found(0.8, 8), region, 24)
    assert not wishes(ledger([CLAIM], {"one": Finding(found(0.2, 8), region, "")}, Looks(most=24)))
    assert wishes(ledger([CLAIM], {"one": Finding(found(0.2, 24), region, "")}, Looks(most=24)))


def test_the_plan_says_when_only_more_bases_would_do_and_that_the_spread_is_assumed() -> None:
    asked = {"one": Finding(None, Region(-0.03, math.inf), "effect")}
    head, line = power.lines(asked, {}, "", power.Planned(16, 4, n_bases=8))
    assert head.startswith("what 16 seeds on 8 bases can show (")
    assert head.endswith("; spread between seeds assumed):")
    assert line.endswith("no number of seeds on 8 bases would; more bases would")
    assert power.lines(asked, {}, "", power.Planned(60, 4))[1].endswith("enough to tell no effect from the limit −0.03")


def test_results_of_a_sweep_that_drew_no_bases_say_nothing_of_one_that_does(tmp_path: Path) -> None:
    report = tmp_path / "epochs-1" / "report"
    report.mkdir(parents=True)
    rows = ledger([CLAIM], {"one": finding(4)})
    (report / "verdicts.json").write_text(to_json(rows), encoding="utf-8")
    assert spread("epochs", tmp_path, kept=False, planned=power.Planned(8, 1, n_bases=8)) == ({}, "")
    assert spread("epochs", tmp_path, kept=True, planned=power.Planned(8, 1, n_bases=8))[1] == "analysis/results/epochs"
    assert spread("epochs", tmp_path, kept=True, planned=power.Planned(8, 1))[1] == "epochs-1"  # the kept ones drew bases
