"""What a report says of quality and forgetting along trainings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.arms import Arm
from analysis.figures import along as figure
from analysis.reports import along
from core import tracking

UNITS = {"quality": "accuracy", "forgetting": "nats/token"}


def found(n_seeds: int, n_bases: int = 1) -> pd.DataFrame:
    rows = [
        {
            **{"arm": arm, "seed": seed, "base": f"base {seed % n_bases}", "step": step, "epoch": step / 10},
            **{"quality": quality + 0.01 * seed, "forgetting": step / 100},
        }
        for arm, qualities in (("lora r=4", (0.0, 0.5, 0.4)), ("full", (0.0, 0.3, 0.6)))
        for seed in range(n_seeds)
        for step, quality in zip((0, 10, 20), qualities, strict=True)
    ]
    return pd.DataFrame(rows)


def test_each_arms_means_and_the_step_where_it_is_best() -> None:
    heading, image, table, note = along.section(found(3), UNITS)
    assert (heading, image) == ("## Along training\n", "![along training](along.png)\n")
    lines = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in table.splitlines()]
    best = [(line[0], line[1]) for line in lines if line[-1] == "highest quality"]
    assert best == [("lora r=4", "10"), ("full", "20")]
    assert any(line[:3] == ["lora r=4", "10", "1"] and line[3].startswith("0.510 [0.485, 0.535]") for line in lines)
    assert "validation" in note
    assert along.section(pd.DataFrame(), UNITS) == ()


def test_intervals_are_over_the_bases_that_seeds_take_turns_over() -> None:
    of_one, of_three = (along.means(found(6, n_bases), UNITS).iloc[1] for n_bases in (1, 3))
    assert of_one["quality"] == of_three["quality"] == pytest.approx(0.525)
    means = np.array([0.515, 0.525, 0.535])  # of the three bases
    half = 4.302653 * means.std(ddof=1) / np.sqrt(3)
    assert of_three["quality_high"] - of_three["quality"] == pytest.approx(half, rel=1e-5)
    assert of_one["quality_high"] - of_one["quality"] == pytest.approx(2.570582 * 0.01870829 / np.sqrt(6), rel=1e-5)


def test_one_seed_has_no_interval_and_steps_that_a_seed_lacks_are_left_out() -> None:
    assert along.means(found(1), UNITS)["quality_low"].isna().all()
    assert (along.means(found(2), UNITS)["quality_low"] >= 0).all()  # no accuracy is below
    fewer = found(2).drop(index=[5])  # the last step of a seed
    table = along.means(fewer, UNITS)
    assert table.loc[table["arm"] == "lora r=4", "step"].tolist() == [0, 10]
    assert table.loc[table["arm"] == "full", "step"].tolist() == [0, 10, 20]


@pytest.mark.parametrize("alone", [True, False])
def test_the_figure_has_a_line_a_seed_and_one_an_arm(alone: bool) -> None:
    arms = [Arm("lora r=4", "lora", 4), Arm("full", "full", None) if alone else Arm("full", "lora", 4)]
    made = figure.draw(found(3), arms, UNITS)
    assert [len(panel.get_lines()) for panel in made.axes] == [8, 8]
    assert [panel.get_title(loc="left") for panel in made.axes] == [
        "quality (accuracy), validation", "forgetting (nats/token), validation"
    ]  # fmt: skip
    colours = [line.get_color() for line in made.axes[0].get_lines() if line.get_label() in ("lora r=4", "full")]
    assert len(set(map(str, colours))) == 2


def test_points_are_read_where_trials_are_measured_along_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [{"step": 0, "epoch": 0, "quality": 0.1, "forgetting": 0.0}, {"step": 3, "epoch": 1, "loss": 2.0}]
    (tmp_path / "result.json").write_text(json.dumps({"history": points}))
    rows = [
        {
            "arm": "a",
            "seed": 0,
            "state": "finished",
            "phase": phase,
            "run_id": "r",
            "artifacts": tmp_path.as_uri(),
            "model.name": "m",
        }
        for phase in ("final", "tune")
    ]
    assert load.along("uri", pd.DataFrame(rows)).empty  # a store from before there was such a field
    assert load.along("uri", pd.DataFrame(rows).assign(**{"evaluation.every": None})).empty
    table = load.along("uri", pd.DataFrame(rows).assign(**{"evaluation.every": 0.5}))
    assert table.to_dict("records") == [
        {"arm": "a", "seed": 0, "base": "m", "step": 0, "epoch": 0, "quality": 0.1, "forgetting": 0.0}
    ]
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(tracking.read.BadInput, match=r"result\.json of run r is damaged"):
        load.along("uri", pd.DataFrame(rows).assign(**{"evaluation.every": 0.5}))
