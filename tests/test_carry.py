"""Whether verdicts carry over from one world to another."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from analysis import carry
from analysis.claims import verdicts
from analysis.claims.verdicts import Verdict
from analysis.stats.decision import Decision

A = Verdict(
    id="a", statement="A *rises*", verdict=Decision.SUPPORTED, effect="", unit="accuracy", value=0.3, low=0.2, high=0.4,
    scale="linear", shown="+0.30 [+0.20, +0.40]", n_seeds=4, n_items=50, minimum_detectable_effect=None, percent=False, p=None,
    p_holm=None, rule="", note="", published_effect="up", published_source="", published_url="",
)  # fmt: skip


def changed(**fields: object) -> Verdict:
    return dataclasses.replace(A, **fields)  # type: ignore[arg-type]


def write(folder: Path, *rows: Verdict) -> Path:
    folder.mkdir(parents=True)
    (folder / "verdicts.json").write_text(verdicts.to_json(rows), encoding="utf-8")
    return folder


def test_reports_are_found_where_they_lie(tmp_path: Path) -> None:
    """Kept results, runs (of two sweeps the newer one's report), and one report."""
    write(tmp_path / "kept/epochs", A)
    new = write(tmp_path / "runs/epochs-11111111/report", changed(value=0.1))
    old = write(tmp_path / "runs/epochs-22222222/report", changed(value=0.2))
    os.utime(old / "verdicts.json", (1, 1))
    for folder, value in ((tmp_path / "kept", 0.3), (tmp_path / "kept/epochs", 0.3), (tmp_path / "runs", 0.1), (new, 0.1)):
        found = carry.gather(folder)
        assert {key: one.value for key, one in found.items()} == {("epochs", "a"): value}


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one/epochs", A, changed(id="b"), changed(id="alone"), changed(id="c", verdict=Decision.UNDECIDED))
    two = write(
        tmp_path / "two/epochs",
        changed(value=0.1, low=0.07, high=0.14),
        changed(id="b", verdict=Decision.CONTRADICTED),
        changed(id="c", verdict=Decision.UNDECIDED),
    )
    assert carry.main([f"lab={one.parent}", f"mine={two.parent}"]) == 0
    text = capsys.readouterr().out
    assert r"A \*rises\*" in text
    assert "| supported in all | +0.20 [+0.09, +0.30] |" in text  # .2 less √(.1² + .04²), and √(.1² + .03²) more
    assert "3 claims: 1 reversed, 1 supported in all, 1 undecided in all" in text
    assert carry.main([f"lab={one.parent}", f"mine={two.parent}", "--json"]) == 0
    assert [row["agreement"] for row in json.loads(capsys.readouterr().out)] == [
        "supported in all",
        "reversed",
        "undecided in all",
    ]


def test_a_world_without_a_report_is_counted_and_what_was_not_tested_is_not_undecided() -> None:
    worlds = [{("epochs", "a"): A}, {("epochs", "a"): changed(value=0.1)}, {}]
    assert carry.carried(worlds)[0].agreement == "supported in 2 of 3"
    untested = {("epochs", "a"): changed(verdict=Decision.NOT_TESTED)}
    assert carry.carried([untested, untested])[0].agreement == "not tested in all"
    undecided = {("epochs", "a"): changed(verdict=Decision.UNDECIDED)}
    assert carry.carried([undecided, untested, {}])[0].agreement == "undecided in 1 of 3"
    looked = {("epochs", "a"): changed(level=0.023)}
    assert "(97.7 % interval)" in carry.as_text(["one", "other"], carry.carried([worlds[0], looked]))


def test_ratios_are_divided_and_units_must_agree() -> None:
    ratio = changed(scale="log", unit="ratio", value=4.0, low=2.0, high=8.0)
    found = carry.difference(ratio, ratio)
    assert found is not None
    assert found == pytest.approx((1.0, math.exp(-math.sqrt(2) * math.log(2)), math.exp(math.sqrt(2) * math.log(2))))
    assert carry.difference(A, changed(low=None)) is None
    assert carry.difference(A, changed(level=0.02)) is None
    assert carry.Carried("", "", "", "", (A, ratio)).difference() == "–"


def test_the_interval_of_a_difference_covers() -> None:
    """Two means of six normal seeds each with their t intervals: the difference lies inside in 95 % (at least)."""
    draws = np.random.default_rng(0).normal(size=(2, 4_000, 6))
    means, half = draws.mean(2), 2.571 * draws.std(2, ddof=1) / math.sqrt(6)
    inside = 0
    for i in range(draws.shape[1]):
        a, b = (changed(value=m, low=m - h, high=m + h) for m, h in zip(means[:, i], half[:, i], strict=True))
        found = carry.difference(a, b)
        inside += found is not None and found[1] <= 0 <= found[2]
    assert 0.945 <= inside / draws.shape[1] <= 0.985


def test_bad_input_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good", A)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/verdicts.json").write_text('[{"id": 1}]')
    for words, why in (
        ([f"a={good}"], "give two directories or more"),
        ([f"a={good}", str(good)], "give it as NAME=DIRECTORY"),
        ([f"a={good}", f"a={good}"], "a: given twice"),
        ([f"a={good}", "b=~nobody-is-called-so/runs"], "is no path"),
        ([f"a={good}", f"b={tmp_path / 'none'}"], "no reports in it"),
        ([f"a={good}", f"b={tmp_path / 'bad'}"], "no verdicts that can be read"),
    ):
        assert carry.main(words) == 2
        assert why in capsys.readouterr().err
