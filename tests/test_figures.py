"""Figures and the confound guard: what is drawn, what is published beside it, and what arms differ in beyond their axis."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from simulated import ArmState, answered, question, truths

import experiments
from analysis import questions
from analysis.claims import comparable
from analysis.claims.comparable import Remark
from analysis.claims.fits import legend
from analysis.claims.fitted import NAMED, Fitted, label
from analysis.claims.published import PublishedCurve
from analysis.claims.question import Answer
from analysis.claims.tables import Tables
from analysis.figures import style, untuned
from analysis.figures.panels import LEGEND_WIDTH, _method_of, draw
from analysis.questions.rank_vs_quality import HU
from analysis.reports import question as question_report
from analysis.reports.question import Asked, differences, markdown
from analysis.stats import Missing, Why
from core.errors import BadInput


def quantities(ability: dict[int, float], **fields: object) -> Tables[Any]:
    """data_quantity with equal epochs alone: arms of these sizes and abilities."""
    states = {f"n_examples={n}": ArmState({"data.n_examples": n, "train.steps": None} | fields, a, a) for n, a in ability.items()}
    return answered("data_quantity", states, seed_sd=0.02, n_items=2_000)[0]


SIZES = (25, 50, 100, 200, 500, 1_000, 2_000, 4_000, 8_000)


@pytest.fixture(scope="module")
def saturating() -> Tables[Any]:
    return quantities({n: 3 - 5 * float(np.exp(-n / 300)) for n in SIZES})


def page(t: Tables[Any]) -> str:
    """report.md of data_quantity, without verdicts."""
    return markdown(Asked(questions.load("data_quantity"), experiments.load("data_quantity"), Answer(t, []), []))


def rivals(one: Fitted, difference: float) -> Fitted:
    """The same fit with every other law this far behind in AICc."""
    first, *rest = one.comparison.rows
    rows = (first, *(dataclasses.replace(row, difference=difference, penalty=0.0) for row in rest))
    return dataclasses.replace(one, comparison=dataclasses.replace(one.comparison, rows=rows))


def law_of(t: Tables[Any], one: Fitted) -> tuple[Axes, Line2D]:
    """The panel of quality, and its one line along the law."""
    panel = draw(dataclasses.replace(t, laws=(one,))).axes[0]
    x_K = one.best.fit.points.x_KV[:, 0]
    smooth = np.geomspace(x_K.min(), x_K.max(), 120)
    (line,) = [line for line in panel.lines if np.array_equal(line.get_xdata(), smooth)]
    return panel, line


def test_an_identified_law_is_drawn_solid_with_its_band_and_its_plateau_and_named(saturating: Tables[Any]) -> None:
    t, found = saturating, saturating.laws
    one = rivals(found[0], 50.0)
    assert not one.in_doubt
    panel, line = law_of(t, one)
    assert line.get_linestyle() == "-"
    assert str(line.get_label()).replace("\n", " ") == label(one)
    assert "[" in label(one)
    assert np.allclose(line.get_ydata(), one.best.fit.predict(np.asarray(line.get_xdata())))
    assert {to_rgb(line.get_color()), to_rgb(panel.collections[0].get_facecolor()[0][:3])} == {style.colour("lora")}
    e = one.best.plateau
    assert any(np.array_equal(bar.get_xdata(), [e.low, e.high]) for bar in panel.lines)
    assert "95 % of the gain at" in legend([one])


def test_a_law_that_is_not_identified_is_drawn_dashed_and_said(saturating: Tables[Any]) -> None:
    t, found = saturating, saturating.laws
    one = rivals(found[0], 1.0)
    assert one.in_doubt
    assert one.rivals
    _, line = law_of(t, one)
    assert line.get_linestyle() == "--"
    assert str(line.get_label()).replace("\n", " ") == label(one)
    assert max(map(len, str(line.get_label()).split("\n"))) <= LEGEND_WIDTH
    assert label(one).endswith(f"; {len(one.rivals)} other laws fit as well")
    few = dataclasses.replace(one, comparison=dataclasses.replace(one.comparison, rows=one.comparison.rows[:3]))
    assert all(f" or {NAMED[rival][0]}" in label(few) for rival in few.rivals)
    assert f"{label(one)}, 95 % of the gain at" in page(dataclasses.replace(t, laws=(one,)))
    unknown = replace_parameter(rivals(found[0], 50.0))
    assert label(unknown).endswith("; limit not identified")
    assert law_of(t, unknown)[1].get_linestyle() == "--"


def replace_parameter(one: Fitted) -> Fitted:
    """The same fit, its limit not known."""
    missing = Missing(Why.NOT_IDENTIFIED, "not identified: ends at a bound")
    limit = dataclasses.replace(one.best.parameters["limit"], low=np.nan, high=np.nan, missing=missing)
    return dataclasses.replace(one, best=dataclasses.replace(one.best, parameters=one.best.parameters | {"limit": limit}))


def test_points_are_joined_only_where_no_law_is_drawn(saturating: Tables[Any]) -> None:
    quality, *_, skills = draw(saturating).axes[:4]
    joined = [[line for line in panel.lines if line.get_marker() not in ("None", "|") and len(line.get_xdata()) == len(SIZES)]
              for panel in (quality, skills)]  # fmt: skip
    assert [lines[0].get_linestyle() for lines in joined] == ["None", "-"]


# ---- what is published


def curve(**changes: object) -> PublishedCurve:
    return dataclasses.replace(PublishedCurve("quality", (1, 2, 4), (50.0, 60.0, 55.0), "Name 2020", "%", "https://x"), **changes)  # type: ignore[arg-type]


def test_a_normalised_curve_begins_on_ours_and_spans_our_range() -> None:
    x, y = curve().beside([1, 2, 4], [0.2, 0.3, 0.4])  # type: ignore[misc]
    assert list(x) == [1, 2, 4]
    assert y == pytest.approx([0.2, 0.4, 0.3])
    _, falling = curve().beside([1, 2, 4], [0.4, 0.3, 0.2])  # type: ignore[misc]
    assert falling == pytest.approx([0.4, 0.6, 0.5])  # a published rise is drawn as one
    _, loss = curve(lower_is_better=True).beside([1, 2, 4], [0.2, 0.3, 0.4])  # type: ignore[misc]
    assert loss == pytest.approx([0.2, 0.0, 0.1])
    _, flat = curve(y=(3.8, 3.8, 3.8)).beside([1, 4], [0.2, 0.4])  # type: ignore[misc]
    assert flat == pytest.approx([0.2, 0.2, 0.2])
    inside, between = curve().beside([1, 3], [0.2, 0.4])  # type: ignore[misc]
    assert list(inside) == [1, 2]
    assert between[1] == pytest.approx(0.2 + 0.2 * np.log(2) / np.log(3))
    assert curve().beside([10, 100], [0.2, 0.4]) is None


def test_a_curve_in_our_units_is_drawn_as_it_is_and_says_nothing_of_normalisation() -> None:
    own = curve(normalised=False)
    assert list(own.beside([1, 2], [0.1, 0.2])[1]) == [50.0, 60.0, 55.0]  # type: ignore[index]
    assert "normalised" not in own.name + own.caption
    assert "normalised" in curve().name
    assert "normalised" in curve().caption
    with pytest.raises(BadInput, match="Name 2020: one y for every x"):
        curve(x=(1, 2))


def test_the_published_curve_is_drawn_in_grey_and_named_under_the_figure() -> None:
    t = quantities({n: 0.3 * float(np.log(n)) for n in SIZES})
    panel = draw(t).axes[0]
    (line,) = [line for line in panel.lines if "published: Zhou 2023, Fig. 6 (normalised)" in str(line.get_label())]
    assert to_rgb(line.get_color()) == to_rgb(style.MUTED)
    assert np.ptp(np.asarray(line.get_ydata(), dtype=float)) == 0
    assert "Published: Zhou 2023, Fig. 6" in page(t)


def test_what_is_laid_over_our_curves_is_what_was_published(shared: Path) -> None:
    tables = {t["id"]: t for t in json.loads((shared / "reference" / "published.json").read_text())["tables"]}
    flan, lima = (questions.load(name).view.published[0] for name in ("task_diversity", "data_quantity"))
    assert list(zip(flan.x, flan.y, strict=True)) == [(row["clusters"], row["y"]) for row in tables["flan_clusters"]["data"]]
    assert list(lima.x) == tables["lima_quantity"]["data"]["x"]
    assert "about 3.8 throughout" in tables["lima_quantity"]["data"]["y_description"]
    assert list(zip(HU.x, HU.y, strict=True)) == [(row["r"], row["val_loss"]) for row in tables["lora_rank_gpt2m"]["data"]][:8]
    assert [flan.url, lima.url, HU.url] == [tables[name]["url"] for name in ("flan_clusters", "lima_quantity", "lora_rank_gpt2m")]


# ---- the confound guard


def arms(**columns: list[object]) -> pd.DataFrame:
    """Two arms of LoRA with two paired seeds each; a column has a value for each arm."""
    fixed = {"adapter.method": ["lora"] * 2, "adapter.rank": [16, 16], "adapter.alpha_over_rank": [2.0, 2.0],
             "adapter.rank_stabilized": [False, False], "train/steps": [189, 189], "train/tokens": [48_000.0, 48_000.0],
             "rows/used": [1_000, 1_000], "train.batch_size": [16, 16]}  # fmt: skip
    table = pd.DataFrame({"arm": ["a", "b"]} | fixed | columns)
    return pd.concat([table.assign(seed=seed) for seed in (0, 1)])


AXES = ("data.source", "adapter.rank", "train.learning_rate")


def test_arms_that_differ_in_nothing_are_said_to() -> None:
    assert comparable.beyond(arms(), AXES) == []
    assert comparable.caption([]) == "Arms differ in nothing beyond the axis."


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"adapter.rank": [1, 64]},
            "alpha differs with the rank: 2 to 128 (the scale of LoRA's update, alpha / rank, is held at 2)",
        ),
        (
            {"adapter.rank": [1, 64], "adapter.rank_stabilized": [True, True]},
            "the scale of LoRA's update, alpha / √rank, differs with the rank: 2 to 16",
        ),
        (
            {"adapter.rank": [1, 64], "adapter.alpha_over_rank": [32.0, 0.5]},
            "the scale of LoRA's update, alpha / rank, differs with the rank: 0.5 to 32 (alpha is held at 32)",
        ),
        ({"adapter.alpha_over_rank": [1.0, 2.0]}, "adapter.alpha_over_rank differs between arms: a: 1.0; b: 2.0"),
        ({"rows/response_tokens": [2.0, 5.0]}, "tokens in a training answer differ between arms: 2 to 5"),
        (
            {"train/tokens": [48_000.0, 96_000.0]},
            "tokens in a training sequence differ between arms: ",
        ),
        ({"train/steps": [189, 378]}, "train/steps differs between arms: 189 to 378"),
    ],
)
def test_a_confound_is_named(columns: dict[str, list[object]], said: str) -> None:
    found = comparable.beyond(arms(**columns), AXES)
    assert any(str(remark).startswith(said) for remark in found), found
    assert said.split(":")[0].split(" (")[0] in comparable.caption(found)


def test_what_is_an_axis_or_within_chance_is_not_named() -> None:
    ranks = {"adapter.rank": [1, 64], "adapter.alpha_over_rank": [32.0, 0.5]}
    assert comparable.beyond(arms(**ranks), (*AXES, "adapter.alpha_over_rank")) == []
    answers = {"rows/response_tokens": [2.0, 2.1], "train/tokens": [48_000.0, 48_100.0]}
    assert comparable.beyond(arms(**answers), AXES) == []
    # 25 rows make 2 steps of 16 and 9: the same tokens a sequence as with 1,000
    few = {"rows/used": [25, 1_000], "train/steps": [6, 189], "train/tokens": [75 * 16.0, 3_000 * 16.0]}
    assert not any("sequence" in remark.head for remark in comparable.beyond(arms(**few), AXES))
    assert comparable.beyond(arms(**few), AXES, costs_vary=True) == []
    assert list(map(str, comparable.beyond(arms(), AXES[:2]))) == ["the learning rate is the same in every arm, not retuned"]


def test_the_guard_stands_under_the_figure_and_under_the_table(tmp_path: Path) -> None:
    asked, experiment = questions.load("target_modules"), experiments.load("target_modules")
    states = {f"r={r}": ArmState({"adapter.targets": "mlp", "adapter.rank": r}) for r in (4, 16)}
    made = question_report.report(asked, experiment, question(states), tmp_path)
    line = "Differs beyond the axis: alpha differs with the rank: 8 to 32"
    under_the_figure = (tmp_path / "report.md").read_text().split("## Verdicts")[0].replace("**", "")
    assert line in under_the_figure
    assert line in (tmp_path / "table.md").read_text()
    assert "alpha differs with the rank" in (tmp_path / "table.tex").read_text()
    assert "alpha differs with the rank" in made.terminal
    same = {name: dataclasses.replace(one, fields=one.fields | {"adapter.rank": 16}) for name, one in states.items()}
    assert differences(answered("target_modules", same)[0]) == []


def test_arms_that_were_to_be_tuned_and_were_not_are_named() -> None:
    states = {t: ArmState({"adapter.targets": t, "adapter.rank": 16}) for t in ("mlp", "attention")}
    assert differences(answered("target_modules", states, tuned=False)[0]) == [
        Remark("learning rate not tuned", ": attention, mlp")
    ]


# ---- how figures look


def curves_of(*arms: tuple[str, str, float]) -> dict[object, pd.DataFrame]:
    """Arms, each as (curve, method, rank), by curve."""
    table = pd.DataFrame(arms, columns=["curve", "method", "rank"])
    return dict(iter(table.groupby("curve", sort=False)))


def test_a_method_and_a_rank_have_their_colour_in_every_figure() -> None:
    full, rank_1, rank_16 = ("full", "full", np.nan), ("r = 1", "lora", 1), ("r = 16", "lora", 16)
    by_rank = curves_of(full, rank_1, rank_16)
    assert [_method_of(level, by_rank) for level in by_rank] == [("full", None), ("lora", 1), ("lora", 16)]
    by_method = curves_of(full, ("lora", "lora", 1), ("lora", "lora", 16))
    assert [_method_of(level, by_method) for level in by_method] == [("full", None), ("lora", None)]
    others = curves_of(("equal epochs", "lora", 16), ("equal steps", "lora", 16), ("mixed", "lora", 4), ("mixed", "full", np.nan))
    assert {_method_of(level, others) for level in others} == {(None, None)}
    assert style.look("full", None, 0) == style.look("full", None, 3) == (style.colour("full"), style.marker("full"))
    assert style.look("lora", 16, 2)[0] == style.colour("lora", 16)
    palette = {style.look(None, None, i)[0] for i in range(5)}
    assert len(palette) == 5
    assert not palette & {style.colour("full"), style.colour("lora")}


def test_ticks_have_the_ends_and_do_not_overlap() -> None:
    at, text = style.ticks([1, 2, 3, 4, 6, 9, 10, 30], True)
    assert (at[0], at[-1]) == (1, 30)
    assert 10 not in at
    assert style.ticks([9_760, 624_691, 891_136], True)[1] == ["9,760", "891,136"]
    assert style.ticks([1e-4, 6.3e-4, 4e-3, 2.5e-2], True)[1] == ["1e-4", "6.3e-4", "4e-3", "2.5e-2"]
    assert len(text) == len(at)


def test_levels_that_are_no_numbers_stand_in_the_order_of_their_question() -> None:
    states = {f"{c} {on}": ArmState({"evaluation.chat": c, "train.loss_on": on})
             for on in ("response", "all") for c in ("plain", "other", "template")}  # fmt: skip
    panel = draw(answered("chat_template", states, tuned=False)[0]).axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["template", "other", "plain"]
    marks = [line.get_xdata() for line in panel.lines if len(line.get_xdata()) == 3]
    assert not np.isclose(marks[0], marks[1]).any()  # equal arms stand beside each other


def test_bases_too_near_for_a_name_each_share_one() -> None:
    def written(levels: dict[str, float]) -> list[str]:
        _, (panel,) = style.figure(1, 1, 2.0)
        panel.set_ylim(0.5, 0.9)
        untuned.mark(panel, levels)
        return [text.get_text() for text in panel.texts[1:]]  # the first is the panel's letter

    assert written({"one": 0.02}) == ["↓ one: 0.02"]
    assert written({"one": 0.02, "two": 0.04, "three": 0.02}) == ["↓ untuned bases: 0.02 to 0.04"]
    assert written({"one": 0.6, "two": 0.605}) == ["untuned bases"]
    assert written({"one": 0.6, "two": 0.8}) == ["one", "two"]
    assert written({"one": 0.01, "two": 0.02, "three": 0.7, "four": 3.0}) == [
        "↓ untuned bases: 0.01 to 0.02",
        "three",
        "↑ four: 3",
    ]


def test_the_arms_of_quantization_stand_from_the_whole_base_to_full_and_their_names_apart() -> None:
    t = answered("quantization", truths("quantization"), tuned=False, n_items=50)[0]
    assert [row[0].removeprefix("lora quantization=") for row in question_report.table(t)[1]][:6] == [
        "none", "int8", "nf4", "nf4 double_quantization=False", "fp4", "full",
    ]  # fmt: skip
    assert [base.of[0].rpartition("=")[2] for base in t.untuned] == ["none", "int8", "nf4", "False", "fp4"]
    for narrow in (False, True):
        made = draw(t, narrow)
        made.draw_without_rendering()
        for panel in made.axes:
            boxes = [tick.get_window_extent() for tick in panel.get_xticklabels()]
            assert [tick.get_text() for tick in panel.get_xticklabels()][:3] == ["none", "int8", "nf4"]
            assert boxes[3].x1 < boxes[4].x0
            edge = panel.get_window_extent().x0
            assert all(text.get_window_extent().x0 > edge for text in panel.texts[1:])


def test_an_optimum_that_goes_on_beyond_the_rates_tried_ends_in_an_arrow() -> None:
    from simulated import ArmTruth, sweep

    from analysis.questions.rank_vs_quality.figure import draw as draw_ranks

    t = questions.answer("rank_vs_quality", *sweep({"lora r=4": ArmTruth(), "full": ArmTruth(best_rate=1e-3)})).tables
    rates = t.own.tuning["train.learning_rate"].astype(float)
    inside = 1.5 * rates.min(), rates.max() / 1.5
    for low, high, arrows in ((*inside, set()), (inside[0], 2 * rates.max(), {">"}), (rates.min() / 2, inside[1], {"<"})):
        good = {
            label: dataclasses.replace(one, best=dataclasses.replace(one.best, low=low, high=high, missing=None))
            for label, one in t.own.good.items()
        }
        panel = draw_ranks(dataclasses.replace(t, own=dataclasses.replace(t.own, good=good))).axes[3]
        assert {line.get_marker() for line in panel.lines} & {"<", ">"} == arrows


def test_a_logarithmic_axis_has_round_ticks_that_leave_room() -> None:
    assert style.round_ticks(0.15, 30.0)[1] == ["0.2", "0.5", "1", "2", "5", "10", "20"]
    at, labels = style.round_ticks(2.2, 3.9)  # no 1, 2 or 5 in it
    assert 3 <= len(at) <= 6
    assert [float(label) for label in labels] == at == [x for x in at if 2.2 <= x <= 3.9]


def test_marks_of_a_logarithmic_axis_are_plain_text() -> None:
    assert [style.power_text(x) for x in (1e-4, 2e-4, 0.01, 1, 100, 2e4, 1e6)] == [
        *("10⁻⁴", "2×10⁻⁴", "0.01", "1", "100", "2×10⁴", "10⁶")
    ]
    (panel,) = style.figure(1, 1, 2.0)[1]
    style.logarithmic(panel, "x")
    panel.set_xlim(1e-4, 3e-2)
    panel.get_figure().draw_without_rendering()
    assert not [label.get_text() for label in panel.get_xticklabels(which="both") if "$" in label.get_text()]
