"""What the analysis of an open search says of known effects: its arms, what decides, how far the search has come."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import ArmState, question

import experiments
from analysis import questions
from analysis.claims.verdicts import Verdict
from analysis.questions.best_recipe import search
from analysis.questions.best_recipe.importance import NOTHING, Importance, importance
from analysis.reports.question import report
from analysis.stats import Decision, Missing, Why
from core.errors import BadInput
from core.experiment import DEFAULT_ARM, FOUND_ARMS, TUNED_ARM
from core.states import Phase, State
from sweeps import recipes

REAL, QUESTION = experiments.load("best_recipe"), questions.load("best_recipe")
OF_KNEE = ("knee_forgets_less_than_tuned_usual",)


def frames(best: float = 2.0, deciding: str = "train.learning_rate") -> tuple[pd.DataFrame, pd.DataFrame]:
    """A sweep of the real search in which one setting decides quality and forgetting."""
    states = {DEFAULT_ARM: ArmState({}), TUNED_ARM: ArmState({}), **{arm: ArmState({"adapter.rank": 4}) for arm in FOUND_ARMS}}
    states["best quality"] = dataclasses.replace(states["best quality"], ability=best)
    states["knee"] = dataclasses.replace(states["knee"], forgetting=0.2)
    finals, items = question(states, tuned=False)
    assert REAL.search is not None
    rng, rows = np.random.default_rng(0), []
    for place, (share, label) in enumerate(zip(REAL.search.rungs, REAL.search.labels(), strict=True)):
        found = recipes.filling(REAL.search.space, 81, (), 3)[: REAL.search.sizes()[place]]
        for number, one in enumerate(found):
            value = one[deciding]
            level = (math.log(float(str(value))) if not isinstance(value, str) else len(value) / 3) + rng.normal(0, 0.1)
            row = {**finals.iloc[0], **recipes.at_rung(one, share, REAL.base), "arm": label, "phase": Phase.TUNE, "seed": 1_000}
            rows.append(
                row
                | {
                    "fingerprint": f"{label} {number}",
                    "train/tokens": 9e4 * share,
                    "quality": 0.5 + 0.05 * level,
                    "forgetting": 9 + level,
                }
            )
    return pd.concat([finals, pd.DataFrame(rows)], ignore_index=True), items


def verdicts(trials: pd.DataFrame, items: pd.DataFrame, folder: Path) -> dict[str, Verdict]:
    return {one.id: one for one in report(QUESTION, REAL, (trials, items), folder).verdicts}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "DRAWS", 10)


def test_the_report_judges_the_arms_and_names_what_decides(tmp_path: Path) -> None:
    made = report(QUESTION, REAL, frames(), tmp_path)
    assert {"figure.png", "figure_column.pdf", "report.md"} <= {file.name for file in made.files}
    assert sorted(made.arm_rows["arm"]) == sorted((DEFAULT_ARM, TUNED_ARM, *FOUND_ARMS))
    found = {one.id: one.verdict for one in made.verdicts}
    assert found["search_beats_tuned_usual_recipe"] is found["knee_forgets_less_than_tuned_usual"] is Decision.SUPPORTED
    assert found["search_beats_tuned_usual_recipe_held_out"] is Decision.UNDECIDED
    page = (tmp_path / "report.md").read_text()
    assert "| rung 1/9 | 81 | 10,000 |" in page
    assert "| knee | 4 | all-linear |" in page
    worse = verdicts(*frames(best=0.0, deciding="adapter.rank"), tmp_path)
    assert worse["search_beats_tuned_usual_recipe"].verdict is Decision.CONTRADICTED


def test_what_is_prepared_once_is_what_is_drawn() -> None:
    t = questions.answer("best_recipe", *frames()).tables
    assert [(rung.label, len(rung.tried), len(rung.volume_K)) for rung in t.own.rungs] == [
        ("rung 1/9", 81, 81), ("rung 1/3", 27, 27), ("rung 1", 9, 9),
    ]  # fmt: skip
    assert all((np.diff(rung.volume_K) >= 0).all() for rung in t.own.rungs)
    assert all(max(one.whole, key=lambda name: one.whole[name]) == "train.learning_rate" for one in t.own.deciding.values())
    assert QUESTION.draw is not None
    drawn = QUESTION.draw(t, False).axes[3].lines
    assert [len(line.get_xdata()) for line in drawn] == [81, 27, 9]


def test_each_base_alone_prepares_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(search, "deciding", lambda tried, measure: asked.append(measure) or Missing(Why.TOO_FEW, "few"))
    report(QUESTION, REAL, frames(), tmp_path)
    assert asked == ["quality", "forgetting"]
    assert "## Each base alone" in (tmp_path / "report.md").read_text()


def test_the_best_recipe_stands_for_a_knee_that_it_is_itself_and_for_none_that_was_left_out(tmp_path: Path) -> None:
    trials, items = frames()
    lost = trials["arm"].isin(("knee", "least forgetting"))
    kept = trials[~lost], items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    left_out = verdicts(*kept, tmp_path)
    assert {(left_out[name].verdict, left_out[name].note) for name in OF_KNEE} == {(Decision.NOT_TESTED, "the knee was left out")}
    whole = kept[0]["arm"] == "rung 1"
    one = kept[0][~whole | (kept[0]["quality"] == kept[0].loc[whole, "quality"].max())]
    found = verdicts(one, kept[1], tmp_path)
    assert all("the arm of best quality stands for the knee" in found[name].note for name in OF_KNEE)


def test_the_knees_claim_says_how_far_its_steps_are_from_the_usual_recipes(tmp_path: Path) -> None:
    trials, items = frames()
    steps = trials["arm"].map({"knee": 16.0, TUNED_ARM: 1_130.0}).fillna(100.0)
    found = verdicts(trials.assign(**{"train/steps": steps}), items, tmp_path)
    assert all("16 to 1,130 steps" in found[name].note and "at its own steps" in found[name].statement for name in OF_KNEE)


def test_no_recipe_stands_for_a_knee_whose_trials_failed(tmp_path: Path) -> None:
    trials, items = frames()
    failed = trials["state"].where((trials["arm"] != "knee") | (trials["phase"] != Phase.FINAL), State.CRASHED)
    found = verdicts(trials.assign(state=failed), items, tmp_path)
    assert all(found[name].verdict is Decision.NOT_TESTED for name in OF_KNEE)


def test_configurations_have_the_share_and_the_settings_of_their_rung() -> None:
    trials, _ = frames()
    tried = search.configurations(trials)
    assert REAL.search is not None
    assert sorted(tried["share"].unique()) == pytest.approx(REAL.search.rungs)
    low, high = REAL.search.space["train.epochs"].low, REAL.search.space["train.epochs"].high  # type: ignore[union-attr]
    assert tried["train.epochs"].between(0.99 * low, 1.01 * high).all()
    with pytest.raises(BadInput, match="rung 1/5"):
        search.configurations(trials.assign(arm=trials["arm"].replace("rung 1/3", "rung 1/5")))


def test_the_hypervolume_grows_along_the_search() -> None:
    trials = pd.DataFrame({"quality": [0.5, 0.1, 0.9], "forgetting": [1.0, 0.2, 2.0], "quality_before": 0.1})
    inside = search.box(trials)
    assert inside is not None
    assert search.volume(trials, inside) == pytest.approx([0.25, 0.25, 0.25])  # 0.4 / 0.8 of the gain for half of the cost
    assert list(search.front(trials)["quality"]) == [0.1, 0.5, 0.9]
    assert search.box(trials.assign(quality=0.1)) is None


def test_importance_finds_the_one_setting_that_matters_and_no_other() -> None:
    rng = np.random.default_rng(1)
    settings = pd.DataFrame({
        "rank": rng.choice([2, 8, 32], 80), "targets": rng.choice(["a", "b", "c"], 80), "clusters": rng.choice([2, None], 80),
        "rate": 10 ** rng.uniform(-4, -1, 80),
    })  # fmt: skip
    found = importance(settings, -((np.log10(settings["rate"].to_numpy()) + 2.5) ** 2) + rng.normal(0, 0.1, 80), 0, draws=12)
    assert isinstance(found, Importance)
    assert found.of("rate").low > 0.7
    assert all(found.of(name).high < 0.1 for name in ("rank", "targets", "clusters", NOTHING))
    noise = importance(settings, rng.normal(size=80), 0, draws=12)
    assert isinstance(noise, Importance)
    assert all(noise.of(name).low < noise.of(NOTHING).high for name in settings)  # nothing decides, and nothing is claimed
    by_words = importance(settings, (settings["targets"] == "b").to_numpy(float), 0, draws=12)
    assert isinstance(by_words, Importance)
    assert by_words.of("targets").value > 0.9
    assert by_words.draws["targets"].min() > 0.9


def test_importance_of_few_or_equal_configurations_is_not_known() -> None:
    settings = pd.DataFrame({"rank": np.arange(30)})
    few, alike = importance(settings[:19], np.arange(19.0), 0, 5), importance(settings, np.ones(30), 0, 5)
    assert isinstance(few, Missing)
    assert few.kind is Why.TOO_FEW
    assert "needs 20" in few.text
    assert isinstance(alike, Missing)
    assert "the same" in alike.text
