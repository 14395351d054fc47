"""What MLflow's UI shows of a sweep: the views that it reads from tags of the experiment."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import urllib.parse
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_experiment_tag

import experiments
from core import tracking
from core.tracking import Asked, Store, TrialRecord, views
from sweeps.plan import Plan
from sweeps.sweep import asked as asked_of

SWEEP = "5" * 16
RATE = ("train.learning_rate",)
ASKED = Asked(("full", "lora r=1", "lora r=64"), ("adapter.rank", "adapter.method"), RATE, (*RATE, "adapter.rank"), 9, 12)
LARGE = Asked(tuple(f"lora r={rank}" for rank in range(500)), ("adapter.rank",), RATE, RATE, 1_500, 500)


def states(tags: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Key in the address → state, read as the UI reads a saved view: an envelope around deflated JSON."""
    found = {}
    for name, text in tags.items():
        envelope = json.loads(text)
        assert (type(envelope["name"]), type(envelope["createdAt"])) == (str, int)
        mark, _, packed = envelope["state"].partition(";")
        assert mark == "deflate"
        found[name.removeprefix("mlflow.sharedViewState.")] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def of(asked: Asked) -> dict[str, dict[str, Any]]:
    return states(dict(views.tags(SWEEP, asked, 1)))


def charts(state: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Kind of each chart that is seen, and what is on it."""
    found: list[tuple[str, ...]] = []
    for chart in state["compareRunCharts"]:
        if chart["deleted"]:
            continue
        axes = [chart[axis]["key"] for axis in ("xaxis", "yaxis") if axis in chart]
        own = [chart["metricKey"]] if "metricKey" in chart else []
        found.append((chart["type"], *axes, *own, *chart.get("selectedParams", ()), *chart.get("selectedMetrics", ())))
    return found


def seen(state: Mapping[str, Any], name: str) -> bool:
    """Whether the UI shows the chart that it makes of a metric by itself."""
    ours = {chart.get("metricKey"): chart["deleted"] for chart in state["compareRunCharts"]}
    return not ours.get(name, False) and bool(re.search(state["chartsSearchFilter"], name))


def test_the_view_to_compare_on_has_the_axes_what_was_measured_and_the_charts() -> None:
    state = of(ASKED)[views.key(SWEEP)]
    assert state["selectedColumns"] == [
        "params.`axis.rank`", "params.`axis.method`", "metrics.`quality`", "metrics.`after/exact_match/held_out`",
        "metrics.`forgetting`", "params.`train.learning_rate`", "tags.`tunelab.state`",
    ]  # fmt: skip
    assert charts(state) == [
        ("SCATTER", "forgetting", "quality"),
        ("BAR", "after/exact_match/held_out"),
        ("SCATTER", "log10.adapter.rank", "quality"),
        ("SCATTER", "axis.method", "quality"),
        ("LINE", "train/loss"),
        ("PARALLEL", "log10.adapter.rank", "axis.method", "log10.train.learning_rate", "forgetting", "quality"),
    ]
    assert state["groupBy"] == {
        "aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "tunelab.arm"}]
    }  # fmt: skip
    (section,) = state["compareRunSections"]
    assert section["display"]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {section["uuid"]}


@pytest.mark.parametrize("asked", [ASKED, LARGE])
def test_no_chart_of_another_metric_is_seen_and_no_column_of_a_source(asked: Asked) -> None:
    for state in of(asked).values():
        for name in ("after/nll/prose", "after_se/nll/prose", "rows/used", "quality_se", "quality", "train/loss_final"):
            assert not seen(state, name)
        assert not [name for name in state["selectedColumns"] if name.startswith("attributes")]


def test_learning_rates_have_a_view_of_the_tuning_trials_where_there_are_any() -> None:
    state = of(ASKED)[views.key(SWEEP, "tuning")]
    assert ("SCATTER", "log10.train.learning_rate", "quality") in charts(state)
    assert ("SCATTER", "log10.train.learning_rate", "forgetting") in charts(state)
    assert set(of(Asked(("base",), ("adapter.rank",), (), (), 3, 0))) == {views.key(SWEEP)}


def test_a_sweep_with_more_final_trials_than_a_page_shows_its_arms_whole() -> None:
    state = of(LARGE)[views.key(SWEEP)]
    assert "tunelab.kind` = 'arm'" in state["searchFilter"]
    assert state["groupBy"] is None
    assert {"metrics.`quality_low`", "metrics.`quality_high`", "metrics.`seeds`"} <= set(state["selectedColumns"])


def test_such_a_sweep_without_a_report_shows_trials_arm_by_arm() -> None:
    state = of(replace(LARGE, reported=False))[views.key(SWEEP)]
    assert (state["orderByKey"], state["orderByAsc"]) == ("tags.`tunelab.arm`", True)


@pytest.mark.parametrize("name", experiments.names())
def test_every_question_has_views_that_any_server_takes(name: str) -> None:
    plan = Plan.of(experiments.load(name), lambda trial: {})
    for tag, text in views.tags(plan.sweep, asked_of(plan), 1):
        _validate_experiment_tag(tag, text)
        assert len(text) <= 5_000  # of servers before MLflow 3.5


def test_levels_that_grow_tenfold_are_drawn_by_their_logarithm() -> None:
    plan = Plan.of(experiments.load("rank_vs_quality"), lambda trial: {})
    assert set(asked_of(plan).logs) == {"train.learning_rate", "adapter.rank"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests, as making its tables takes seconds; each has an experiment of its own."""
    return tracking.default_uri(tmp_path_factory.mktemp("store"))


def opened(uri: str, experiment: str, asked: Asked = ASKED) -> Store:
    store = Store(uri, experiment, SWEEP, asked)
    store.open({}, "does it?")
    return store


def test_views_are_written_once_and_leave_those_of_users_alone(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = opened(uri, "once").experiment_id
    reader = tracking.client(uri)
    reader.set_experiment_tag(number, "mlflow.sharedViewState.mine", "{}")
    first, written = reader.get_experiment(number).tags, list[str]()
    original = MlflowClient.set_experiment_tag

    def counted(self: MlflowClient, experiment_id: str, key: str, value: str) -> None:
        written.append(key)
        original(self, experiment_id, key, value)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", counted)
    opened(uri, "once")
    assert written == []
    assert reader.get_experiment(number).tags == first
    opened(uri, "once", Asked((*ASKED.arms, "lora r=256"), ASKED.axes, ASKED.tuned, ASKED.logs, 120, 12))
    assert written == [f"mlflow.sharedViewState.tunelab-{SWEEP}"]
    assert reader.get_experiment(number).tags["mlflow.sharedViewState.mine"] == "{}"


def test_the_printed_link_opens_a_view_that_is_there_and_finds_the_final_trials(uri: str, tmp_path: Path) -> None:
    store, reader = opened(uri, "link"), tracking.client(uri)
    for phase, arm in (("final", "full"), ("final", "lora r=64"), ("tune", "full")):
        log(store, tmp_path, phase, arm)
    page = tracking.page("http://me:secret@host:5000/", store.experiment_id, SWEEP)
    assert page.startswith(f"http://***@host:5000/#/experiments/{store.experiment_id}/runs?")
    query = dict(urllib.parse.parse_qsl(page.partition("?")[2], strict_parsing=True))
    assert query.keys() == {"viewStateShareKey", "workflowType", "compareRunsMode"}  # with a filter the UI leaves the view out
    assert reader.get_experiment(store.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    tags = {name: text for name, text in reader.get_experiment(store.experiment_id).tags.items() if name.startswith(views.TAG)}
    state = states(tags)[query["viewStateShareKey"]]
    runs = reader.search_runs([store.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"])
    assert [run.data.tags[tracking.ARM] for run in runs] == ["lora r=64", "full"]
    assert [run.data.tags["mlflow.runColor"] for run in runs] == [views.COLORS[2], views.COLORS[0]]


def log(store: Store, output: Path, phase: str, arm: str) -> None:
    folder = output / "trials" / f"{arm}-{phase}"
    folder.mkdir(parents=True)
    found = {
        "fingerprint": f"{arm}-{phase}", "state": "finished", "trial": {"evaluation.split": "test"}, "provenance": {},
        "metrics": {"quality": float(len(arm)), "forgetting": 0.1}, "history": [], "facts": {}, "seconds": 1.0, "reason": "",
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(found))
    store.log_trial(TrialRecord(folder.name, f"{arm} {phase}", arm, phase, (), folder))


def test_a_sweep_that_is_measured_along_its_trainings_shows_that() -> None:
    for state in of(dataclasses.replace(ASKED, measured_along=True)).values():
        drawn = charts(state)
        assert drawn.index(("LINE", "along/quality")) == drawn.index(("LINE", "train/loss")) + 1
        assert ("LINE", "along/forgetting") in drawn
