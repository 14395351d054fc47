"""Quality against what its rows cost: prices, rows that are paid, what is best for a budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulated import ArmState, question

import experiments
from analysis import questions, report
from analysis.claims import annotation
from analysis.claims.question import tables_of
from analysis.claims.tables import Tables
from analysis.reports.further import Further
from analysis.reports.question import report as make
from core.errors import BadInput

CURATED, SYNTHETIC = "lab:curated", "lab:synthetic"


def arm(source: str, rows: float, ability: float, **fields: object) -> ArmState:
    return ArmState({"data.source": source, "data.n_examples": rows, "rows/used": rows, "rows/available": rows} | fields, ability)


MIXED = {"rows_of_sources": json.dumps({CURATED: [500, 100], SYNTHETIC: [500, 500]})}
ARMS = {
    "few curated": arm(CURATED, 100, 0.0),
    "curated": arm(CURATED, 1_000, 2.0),
    "synthetic": arm(SYNTHETIC, 1_000, -1.0),
    "best tenth": arm(SYNTHETIC, 1_000, 0.5, **{"data.best_share": 0.1}),
    "selected": arm(SYNTHETIC, 1_000, -0.5, **{"data.select": "long", "rows/available": 30_000.0}),
    "mixed": arm(f"{CURATED}=0.5+{SYNTHETIC}=0.5", 1_000, 1.0, **MIXED),
}


def tables() -> Tables:
    frames = question(ARMS, seeds=3, seed_sd=0.01, tuned=False)
    return tables_of(questions.load("data_quantity"), *frames, experiments.load("data_quantity"))


def test_what_is_paid_and_what_is_best_for_a_budget() -> None:
    found = annotation.costs(tables(), {"curated": 2.0, "synthetic": 0.01})
    cost = {one.arm.label: one.cost for one in found.arms}
    assert cost == pytest.approx(
        {"few curated": 200, "curated": 2_000, "synthetic": 10, "best tenth": 100, "selected": 300, "mixed": 205}
    ), "a row that comes again is paid once, rows that were chosen with all that they were chosen from"
    assert [step.at.arm.label for step in found.steps] == ["synthetic", "best tenth", "mixed", "curated"]
    assert found.steps[0].gain is None
    assert all(step.gain is not None and step.gain.low > 0 for step in found.steps[1:])


def test_prices_may_be_named_in_short_and_every_source_needs_one() -> None:
    t = tables()
    assert annotation.costs(t, {CURATED: 2.0, "synthetic": 0.0}).arms[0].cost == 0
    with pytest.raises(BadInput, match="no price for lab:synthetic"):
        annotation.costs(t, {"curated": 2.0})
    with pytest.raises(BadInput, match="lab:curated has two prices"):
        annotation.costs(t, {"curated": 2.0, CURATED: 3.0, "synthetic": 0.0})
    with pytest.raises(BadInput, match=r"curted=2: no such source; did you mean 'curated'\?"):
        annotation.costs(t, {"curted": 2.0})


@pytest.mark.parametrize(
    "text", ["", "curated", "curated=", "=1", "curated=-1", "curated=nan", "curated=inf", "a=1,a=2", "a=1,,b=2", "a=x"]
)
def test_what_are_no_prices_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as error:
        annotation.parse(text)
    assert error.value.field == "--cost"


def test_prices_are_read() -> None:
    assert annotation.parse("curated=2.0, synthetic=.01") == {"curated": 2.0, "synthetic": 0.01}
    assert annotation.parse("x=1.jsonl=3") == {"x=1.jsonl": 3.0}


def test_the_report_has_table_figure_and_csv(tmp_path: Path) -> None:
    frames = question(ARMS, seeds=2, n_items=60, tuned=False)
    prices = {"curated": 2.0, "synthetic": 0.01}
    made = make(questions.load("data_quantity"), experiments.load("data_quantity"), frames, tmp_path, Further(prices=prices))
    assert {"cost.png", "cost.pdf", "cost.csv"} <= {file.name for file in made.files}
    page = (tmp_path / "report.md").read_text()
    assert "## Quality for its cost" in page
    assert "| mixed | 100 lab:curated, 500 lab:synthetic | 205 |" in page


def test_the_option_is_about_one_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--cost", "curated=1"]) == 2
    assert "--cost: is about one question" in capsys.readouterr().err
