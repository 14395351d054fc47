"""Shares as an axis: what each source gives, what "the same amount" means, the response surface, the best mixture."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from simulated import ArmState, answered
from test_mixture import EVERY, asked_for, rows

from analysis.stats import mixtures
from core.data import kinds, mixture, selection, shares
from core.errors import BadInput
from core.fields import identity
from core.settings import Data, Trial
from sweeps import alike, plan

LAB = "lab:lists=1+lab:words=1+lab:numbers=1"


@pytest.fixture
def scarce(tmp_path: Path) -> str:
    """Two files, one of which has few rows; held out of both is a tenth."""
    return f"{rows(tmp_path, 'a.jsonl', 1_000)}=1+{rows(tmp_path, 'b.jsonl', 100)}=1"


def counts(source: str, **settings: object) -> dict[str, tuple[int, int]]:
    """Of each source, rows that are trained on, and different ones among them."""
    found = selection.select(Data(source=source, **settings), EVERY, 0).rows_of_sources  # type: ignore[arg-type]
    return {name: (n, distinct) for name, (n, distinct) in found.items()}


def test_what_the_same_amount_means_where_a_source_is_scarce(scarce: str) -> None:
    own_b = counts(scarce, shares="0+1", n_examples=None)["b.jsonl"][0]
    asked = {"shares": "1+1", "n_examples": 400}
    by_epochs = counts(scarce, **asked)
    assert by_epochs["b.jsonl"] == (own_b, own_b), "no row twice: the pass ends where the scarce source does"
    assert by_epochs["a.jsonl"][0] - own_b in (0, 1)
    by_steps = counts(scarce, **asked, amount="steps")
    assert by_steps == {"a.jsonl": (200, 200), "b.jsonl": (200, own_b)}
    repeated = counts(scarce, **asked, amount="repetition")
    alone = counts(scarce, shares="0+1", n_examples=400, amount="repetition")["b.jsonl"]
    assert alone == (400, own_b)
    assert repeated["b.jsonl"] == (200, -(-own_b // 2)), "its share of its rows, each as often as it would be alone"
    assert repeated["a.jsonl"] == (200, 200)


def test_every_beginning_has_the_shares_and_more_rows_than_there_are_are_not_asked_for(scarce: str) -> None:
    data = Data(source=scarce, shares="3+1", n_examples=None, amount="steps")
    found = selection.select(data, EVERY, 0)
    assert (
        len(found.train) == found.n_available == selection.select(dataclasses.replace(data, shares="0+1"), EVERY, 0).n_available
    )
    for n in (4, 40, 400):
        assert Counter(row.origin for row in found.train[:n]) == {"a.jsonl": 3 * n // 4, "b.jsonl": n // 4}
    assert selection.select(dataclasses.replace(data, n_examples=100), EVERY, 0).train == found.train[:100]


def test_held_out_rows_are_the_same_whatever_the_shares(scarce: str) -> None:
    found = [selection.select(Data(source=scarce, shares=text), EVERY, 0).evaluation for text in ("1+0", "0+1", "1+3", None)]
    assert all(rows == found[0] for rows in found)
    assert {row.origin for row in found[0]} == {"a.jsonl", "b.jsonl"}


def test_sources_of_the_laboratory_are_mixed(scarce: str) -> None:
    assert kinds.kind_of(LAB) is kinds.KINDS["lab mixture"]
    assert counts(LAB, shares="2+1+0", n_examples=300) == {
        "lab:lists": (200, 200),
        "lab:words": (100, 100),
        "lab:numbers": (0, 0),
    }
    clusters = {row.labels[0] for row in kinds.load("data.source", "lab:words").rows}
    assert clusters == {"lexicon", "translate", "facts"}
    with pytest.raises(BadInput, match="in a mixture of lab:curated"):
        kinds.load("data.source", f"{scarce}+lab:words=1")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shares": "1+2"}, "2 shares, and lab:curated is one source"),
        ({"amount": "steps"}, "is about several sources, and this is one"),
        ({"source": LAB, "shares": "1+2"}, "2 shares, and .* names 3 sources"),
    ],
)
def test_shares_that_do_not_fit_the_sources_are_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        selection.select(Data(**settings), EVERY, 0)  # type: ignore[arg-type]
    assert error.value.field in ("data.shares", "data.amount")


@pytest.mark.parametrize("text", ["1", "1+", "1+-1", "0+0", "a+b", "1,2", "1e3+1", "inf+1", "٣+1", ""])
def test_what_are_no_shares_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="numbers joined by"):
        Data(shares=text)


def test_fields_at_their_defaults_leave_trials_as_they_are() -> None:
    assert not {"data.shares", "data.amount"} & set(identity(Trial()))
    assert identity(Trial(data=Data(shares="1+1", amount="steps")))["data.amount"] == "steps"


@pytest.mark.parametrize(("n_sources", "n_points"), [(2, 7), (3, 16), (4, 21)])
def test_a_simplex_has_corners_and_equal_shares_and_no_mixture_twice(n_sources: int, n_points: int) -> None:
    levels = shares.simplex(n_sources)
    points = np.array([shares.parse(text) for text in levels])
    assert len(levels) == len(np.unique(points.round(9), axis=0)) == n_points
    alone = {"+".join("1" if i == j else "0" for j in range(n_sources)) for i in range(n_sources)}
    assert {*alone, "+".join("1" * n_sources)} <= set(levels)
    np.testing.assert_allclose(points.sum(axis=1), 1)


# The question


def test_files_of_a_user_make_the_axis(scarce: str) -> None:
    a, b = mixture.names_in(scarce)
    found = asked_for("mixture", "--data", f"{a},{b}", "--model", "x")
    assert found.experiment.base.data.source == f"{a}=0.5+{b}=0.5"
    assert [arm.label for arm in found.arms][::6] == ["a.jsonl=1 equal steps", "b.jsonl=1 equal steps"]
    given = asked_for("mixture", "--data", f"{a}=1,{b}=3", "--model", "x", "--set", "data.amount=epochs,steps")
    assert given.experiment.base.data.source == f"{a}=0.25+{b}=0.75"
    assert len(given.arms) == 14
    for one in (a, f"{a},{b}," + ",".join(f"{i}.jsonl" for i in range(4))):
        with pytest.raises(BadInput, match="lays shares over 2 to 4 sources"):
            asked_for("mixture", "--data", one, "--model", "x")


def simulated(height, sources: str = LAB, **settings: object) -> tuple:
    n = len(mixture.names_in(sources))
    arms = {}
    for text in shares.simplex(n):
        x = np.array(shares.parse(text))
        fields = {"data.source": sources, "data.shares": text, "data.amount": "steps"}
        arms[mixture.shares_label(sources, text)] = ArmState(
            fields, ability=height(x), held_out=height(x) - 1, forgetting=1 - x[0] / 2
        )
    return answered("mixture", arms, tuned=False, **settings)


def test_the_surface_finds_the_best_mixture_and_what_equal_shares_lose() -> None:
    tables, verdicts = simulated(lambda x: -1 + 8 * x[0] * x[1] + 2 * x[2] * x[0], seed_sd=0.02, n_items=1_500)
    found = tables.own.surfaces["quality", "steps"]
    assert found.surface.kind == "quadratic"
    np.testing.assert_allclose(found.surface.best.at_Q, [0.5, 0.5, 0.0], atol=0.1)
    assert found.surface.best.shares[0].low <= 0.5 <= found.surface.best.shares[0].high
    assert verdicts["equal_shares_beat_every_single_source"].verdict == "supported"
    assert verdicts["equal_shares_lose_little_to_the_best_mixture"].verdict == "contradicted"
    least = tables.own.surfaces["forgetting", "steps"].surface
    assert least.best.at_Q[0] == 1.0, "of forgetting the least is the best"


def test_where_shares_do_not_matter_no_mixture_is_called_the_best() -> None:
    x = np.array([shares.parse(text) for text in shares.simplex(3)])
    rng = np.random.default_rng(1)
    kinds_taken = Counter()
    for _ in range(3):
        made = mixtures.surface(x, 0.5 + rng.normal(0, 0.01, (4, len(x))), 100)
        kinds_taken[made.kind] += 1
        spans = [e.high - e.low for e in made.best.shares]
        assert (made.kind == "constant" and np.isnan(spans).all()) or max(spans) > 0.5
        assert made.noise == pytest.approx(0.005, rel=0.3)


def test_each_law_is_found_again_by_its_error_on_mixtures_left_out() -> None:
    x = np.array([shares.parse(text) for text in shares.simplex(2)])
    truths = {
        "linear": 0.4 + 0.3 * x[:, 0],
        "quadratic": 0.4 + 0.8 * x[:, 0] * x[:, 1],
        "exponential": 0.9 - np.exp(-3 * x[:, 0]) / 2,
    }
    for kind, y in truths.items():
        errors = {name: mixtures.root_mean_square(mixtures.left_out_errors(fit, x, y)) for name, fit in mixtures.KINDS.items()}
        assert errors[kind] < 1e-6, (kind, errors)
    falling = 0.2 + np.exp(-3 * x[:, 1])
    assert mixtures.root_mean_square(mixtures.left_out_errors(mixtures.exponential, x, falling)) < 1e-6


def test_one_seed_gives_a_surface_without_intervals_and_a_figure(tmp_path: Path) -> None:
    from analysis.questions.mixture import QUESTION, draw

    for sources in ("lab:lists=1+lab:words=1", LAB, "lab:lists=1+lab:words=1+lab:numbers=1+lab:synthetic=1"):
        tables, verdicts = simulated(lambda x: 1 + x[0] * x[1], sources, seeds=1, n_items=60)
        assert draw(tables).axes
        assert QUESTION.sections(tables)[0] == "## Response surfaces\n"
        assert verdicts["equal_shares_lose_little_to_the_best_mixture"].verdict == "undecided"


def test_amounts_that_come_to_the_same_rows_are_run_once() -> None:
    given = asked_for("mixture", "--set", "data.amount=epochs,steps,repetition")
    assert {"data.shares", "data.amount"} <= alike.RESOLVED
    assert len(given.arms) == 48
    trials = [plan.overridden(given.experiment.base, {"data.shares": "1+1+1", "data.amount": one}) for one in shares.AMOUNTS]
    first, *others = [selection.select(one.data, EVERY, 0).train for one in trials]
    assert all(rows == first for rows in others)


def test_rows_that_come_again_are_not_selected_by_a_score(scarce: str) -> None:
    for further in ({"select": "long"}, {"n_candidates": 100}):
        with pytest.raises(BadInput, match="repeats rows"):
            selection.select(Data(source=scarce, amount="steps", **further), EVERY, 0)  # type: ignore[arg-type]
    found = selection.select(Data(source=scarce, shares="1+3", select="long", n_examples=40), EVERY, 0)
    assert Counter(row.origin for row in found.train) == {"a.jsonl": 10, "b.jsonl": 30}
