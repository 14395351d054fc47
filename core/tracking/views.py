"""What MLflow's UI shows of a sweep: views prepared as it keeps its own shared ones, as tags of the experiment.

A view is a name, a time and a state: which runs, how they are sorted and grouped, columns, charts. The UI finds it by the key in
the address and lists it under "Views", beside those that users saved (mlflow/server/js, `useSharedExperimentViewState` and
`savedViewEnvelope`; as of MLflow 3.17). It applies one only while the address has no filter and no order of its own.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.tracking.connection import ARM, KIND, PHASE, STATE, SWEEP
from core.tracking.entries import AXES, axis_names, log_name

TAG = "mlflow.sharedViewState."
COLOR = "mlflow.runColor"
PAGE_RUNS = 100  # that the UI loads at a time: groups and charts know of no others
HELD_OUT = "after/exact_match/held_out"
LOSS, ALONG = "train/loss", ("along/quality", "along/forgetting")  # over the steps of a training
COLORS = [  # matplotlib's tab20: the dark shades first, so that few arms are told apart at once
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
]  # fmt: skip

State = Mapping[str, object]


@dataclass(frozen=True)
class Asked:
    """What a sweep asks, as far as it can be seen: labels of its arms in order, dotted fields that vary, that are tuned, and
    those of either that are looked at by their logarithm."""

    arms: tuple[str, ...]
    axes: tuple[str, ...]
    tuned: tuple[str, ...]
    logs: tuple[str, ...]
    n_final: int
    n_tuning: int
    reported: bool = True  # whether its arms will have summaries
    measured_along: bool = False  # whether its trainings are measured along the way

    @property
    def on_one_page(self) -> bool:
        return self.n_final <= PAGE_RUNS

    @property
    def curves(self) -> tuple[str, ...]:
        """What is drawn over the steps of a training."""
        return (LOSS, *ALONG) if self.measured_along else (LOSS,)

    @property
    def only_tuned(self) -> list[str]:
        return [name for name in self.tuned if name not in self.axes]

    def columns(self) -> tuple[list[str], list[str]]:
        """The parameters of the axes, and of what is tuned."""
        return _params(axis_names(self.axes).values()), _params(self.only_tuned)

    def drawn(self) -> tuple[list[str], list[str]]:
        """The same on the axis of a chart."""
        short = axis_names(self.axes)
        places = {name: log_name(name) if name in self.logs else short.get(name, name) for name in (*self.axes, *self.tuned)}
        return [places[name] for name in self.axes], [places[name] for name in self.only_tuned]

    def color(self, arm: str) -> str | None:
        """The color of an arm's runs; None for one of an earlier call that isn't asked for now."""
        return COLORS[self.arms.index(arm) % len(COLORS)] if arm in self.arms else None


def key(sweep: str, view: str = "") -> str:
    """The key in the address of a sweep's view: of the one to compare on, or of "tuning"."""
    return f"tunelab-{sweep}-{view}" if view else f"tunelab-{sweep}"


def tags(sweep: str, asked: Asked, created_ms: int) -> Iterator[tuple[str, str]]:
    """The experiment's tags with the views of a sweep: always the same text for the same arguments."""
    state = final(sweep, asked) if asked.on_one_page or not asked.reported else summaries(sweep)
    yield _tag(key(sweep), f"sweep {sweep[:8]}", state, created_ms)
    if asked.n_tuning:
        yield _tag(key(sweep, "tuning"), f"sweep {sweep[:8]}: tuning", tuning(sweep, asked), created_ms)


def _tag(name: str, title: str, state: State, created_ms: int) -> tuple[str, str]:
    packed = zlib.compress(json.dumps(state).encode(), 9)  # servers before MLflow 3.5 take 5,000 characters
    text = f"deflate;{base64.b64encode(packed).decode()}"
    return f"{TAG}{name}", json.dumps({"name": title, "createdAt": created_ms, "state": text})


def final(sweep: str, asked: Asked) -> State:
    """The final trials, each in its arm's color, under their arm's mean; the best first. Where a page can't hold them they are
    sorted by arm: what it has are whole arms, and their means are right."""
    (axes, tuned), (axis_columns, tuned_columns) = asked.drawn(), asked.columns()
    plane = [_scatter("forgetting", "quality"), _bar(HELD_OUT)]
    against = [_scatter(axis, "quality", "PARAM") for axis in axes]
    rest = [*map(_line, asked.curves), _parallel([*axes, *tuned], ["forgetting", "quality"])]
    columns = [*axis_columns, *_metrics("quality", HELD_OUT, "forgetting"), *tuned_columns, f"tags.`{STATE}`"]
    wanted = f"tags.`{SWEEP}` = '{sweep}' AND tags.`{PHASE}` = 'final'"
    return {
        **(_runs(wanted, "metrics.`quality`", False) if asked.on_one_page else _runs(wanted, f"tags.`{ARM}`", True)),
        **_shown(columns, plane + against + rest),
        "groupBy": _BY_ARM,
    }


def tuning(sweep: str, asked: Asked) -> State:
    """The tuning trials on validation data, in their arm's color. Sorted by arm: a page of them has whole curves."""
    (axes, tuned), (axis_columns, tuned_columns) = asked.drawn(), asked.columns()
    against = [_scatter(name, measure, "PARAM") for name in tuned for measure in ("quality", "forgetting")]
    columns = [*axis_columns, *tuned_columns, *_metrics("quality", HELD_OUT, "forgetting"), f"tags.`{STATE}`"]
    return {
        **_runs(f"tags.`{SWEEP}` = '{sweep}' AND tags.`{PHASE}` = 'tune'", f"tags.`{ARM}`", True),
        **_shown(columns, [*against, *map(_line, asked.curves), _parallel([*axes, *tuned], ["forgetting", "quality"])]),
        "groupBy": _BY_ARM,
    }


def summaries(sweep: str) -> State:
    """The arms' summaries, which the report writes: for sweeps with more final trials than a page has, of which groups and
    charts would show a part as if it were all."""
    ends = [f"{axis}{end}" for axis in AXES for end in ("", "_low", "_high")]
    charts = [
        *(_scatter(name, "quality") for name in ("forgetting", "x", "trainable_parameters", "learning_rate")),
        _parallel([], ["trainable_parameters", "learning_rate", "forgetting", "quality"]),
    ]
    runs = _runs(f"tags.`{SWEEP}` = '{sweep}' AND tags.`{KIND}` = 'arm'", "metrics.`quality`", False)
    return {**runs, **_shown(_metrics(*ends, "seeds", "learning_rate"), charts), "groupBy": None}


_BY_ARM = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": ARM}]}


def _runs(wanted: str, order: str, ascending: bool) -> State:
    return {
        "searchFilter": wanted,
        "orderByKey": order,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
    }


def _shown(columns: Sequence[str], charts: Sequence[dict[str, object]]) -> State:
    """Columns and charts. The UI itself adds a chart of each other metric that a run has: those are filtered away, by a filter
    that stands above the charts and can be emptied."""
    section = "tunelab"
    hidden = [_bar(axis) | {"deleted": True, "isGenerated": True} for axis in AXES]  # what the filter would let pass
    known = {*AXES, *(str(chart["metricKey"]) for chart in charts if "metricKey" in chart)}
    return {
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": {name: 170 for name in columns if len(name) > 24},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": False,  # each run is a point or a line of its own
        "isAccordionReordered": True,  # or the UI sorts sections by name
        "chartsSearchFilter": f"^({'|'.join(re.escape(name) for name in sorted(known))})$",
        "compareRunSections": [
            {"uuid": section, "name": "Comparison", "display": True, "isReordered": True, "columns": 2, "cardHeight": 400},
        ],
        "compareRunCharts": [
            {"uuid": f"{section}-{number}", "metricSectionId": section, "isGenerated": False, "deleted": False, **chart}
            for number, chart in enumerate([*charts, *hidden])
        ],
    }


def _params(names: Iterable[str]) -> list[str]:
    return [f"params.`{name}`" for name in names]


def _metrics(*names: str) -> list[str]:
    return [f"metrics.`{name}`" for name in names]


def _scatter(x: str, y: str, kind: str = "METRIC") -> dict[str, object]:
    axes = {"xaxis": {"key": x, "type": kind}, "yaxis": {"key": y, "type": "METRIC"}}
    return {"type": "SCATTER", "runsCountToCompare": PAGE_RUNS, **axes}


def _bar(metric: str) -> dict[str, object]:
    return {"type": "BAR", "runsCountToCompare": PAGE_RUNS, "metricKey": metric}


def _line(metric: str) -> dict[str, object]:
    return {
        "type": "LINE",
        "runsCountToCompare": PAGE_RUNS,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "lineSmoothness": 0,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> dict[str, object]:
    return {
        "type": "PARALLEL",
        "runsCountToCompare": PAGE_RUNS,
        "showAllRuns": True,
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
    }
