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
from analysis.questions import best_recipe
from analysis.questions.best_recipe.importance import NOTHING, Importance, importance
from core.experiment import DEFAULT_ARM, FOUND_ARMS
from sweeps import recipes

REAL = experiments.load("best_recipe")


def frames(best: float = 2.0, deciding: str = "train.learning_rate") -> tuple[pd.DataFrame, pd.DataFrame]:
    """A sweep of the real search in which one setting decides quality and forgetting."""
    states = {DEFAULT_ARM: ArmState({}), **{arm: ArmState({"adapter.rank": 4}) for arm in FOUND_ARMS}}
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
            row = {**finals.iloc[0], **recipes.at_rung(one, share, REAL.base), "arm": label, "phase": "tune", "seed": 1_000}
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


def analysed(tmp_path: Path, **truth: float | str) -> tuple[dict[str, dict[str, object]], str]:
    made = best_recipe.report(*frames(**truth), REAL, tmp_path)  # type: ignore[arg-type]
    assert {"figure.png", "figure_column.pdf", "report.md"} <= {file.name for file in made.files}
    assert sorted(made.arm_rows["arm"]) == sorted((DEFAULT_ARM, *FOUND_ARMS))
    return {str(row["id"]): row for row in made.verdicts}, (tmp_path / "report.md").read_text()


def test_the_report_judges_the_arms_and_names_what_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_recipe, "DRAWS", 10)
    found, page = analysed(tmp_path)
    assert [found[name]["verdict"] for name in ("search_beats_usual_recipe", "knee_forgets_less_than_usual")] == ["supported"] * 2
    assert "| rung 1/9 | 81 | 10,000 |" in page
    assert "| knee | 4 | all-linear |" in page
    found, _ = analysed(tmp_path, best=0.0, deciding="adapter.rank")
    assert found["search_beats_usual_recipe"]["verdict"] == "contradicted"


def test_the_best_recipe_stands_for_a_knee_that_it_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_recipe, "DRAWS", 10)
    trials, items = frames()
    lost = trials["arm"].isin(("knee", "least forgetting"))
    kept = trials[~lost], items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    found = {str(row["id"]): row for row in best_recipe.report(*kept, REAL, tmp_path).verdicts}
    assert all(
        "the arm of best quality stands for the knee" in str(found[name]["note"])
        for name in ("knee_forgets_less_than_usual", "knee_costs_at_most_2_points")
    )
    assert found["knee_costs_at_most_2_points"]["value"] == found["search_beats_usual_recipe"]["value"]


def test_no_recipe_stands_for_a_knee_whose_trials_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_recipe, "DRAWS", 10)
    trials, items = frames()
    failed = trials["state"].where((trials["arm"] != "knee") | (trials["phase"] != "final"), "failed")
    found = {str(row["id"]): row for row in best_recipe.report(trials.assign(state=failed), items, REAL, tmp_path).verdicts}
    assert all(found[name]["verdict"] == "not tested" for name in ("knee_forgets_less_than_usual", "knee_costs_at_most_2_points"))


def test_the_hypervolume_grows_along_the_search() -> None:
    trials = pd.DataFrame({"quality": [0.5, 0.1, 0.9], "forgetting": [1.0, 0.2, 2.0], "quality_before": 0.1})
    inside = best_recipe.box(trials)
    assert inside is not None
    assert best_recipe.volume(trials, inside) == pytest.approx([0.25, 0.25, 0.25])  # 0.4 / 0.8 of the gain for half of the cost
    assert list(best_recipe.front(trials)["quality"]) == [0.1, 0.5, 0.9]
    assert best_recipe.box(trials.assign(quality=0.1)) is None


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
    assert by_words.of("targets").low > 0.9


def test_importance_of_few_or_equal_configurations_is_not_known() -> None:
    settings = pd.DataFrame({"rank": np.arange(30)})
    assert "needs 20" in str(importance(settings[:19], np.arange(19.0), 0, 5))
    assert "the same" in str(importance(settings, np.ones(30), 0, 5))
