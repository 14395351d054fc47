"""A made-up kind of source and a made-up task work everywhere after their one entry; what cannot be measured is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from core import measures, preflight, tasks
from core.data import kinds
from core.data.rows import Loaded, build
from core.errors import BadInput
from core.fields import parse_value
from core.hardware import Device
from core.settings import Data, Evaluation, Model, Train, Trial
from core.tasks import TASKS, Task

TINY = Evaluation(drift_samples=4, drift_tokens=12)


def counted(field: str, source: str, pool: kinds.Pool) -> Loaded:
    """ "count:60" is 60 rows about numbers."""
    raws = ({"prompt": f"say {i} again", "completion": f"{i} it is ."} for i in range(int(source.removeprefix("count:"))))
    return dataclasses.replace(build(((f"number {i}", raw) for i, raw in enumerate(raws)), source), content=source)


@pytest.fixture
def trial(make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A trial on a source of a made-up kind."""
    pytest.importorskip("torch")
    kind = kinds.Kind(
        recognises=lambda source: source.startswith("count:"), load=counted, content_hash=lambda field, source: source,
        default_task="text",
    )  # fmt: skip
    monkeypatch.setitem(kinds.KINDS, "count", kind)
    return Trial(
        model=Model(name=make_model("llama")), data=Data(source="count:60", n_examples=24, eval_share=0.4),
        train=Train(epochs=1, batch_size=8), evaluation=TINY,
    )  # fmt: skip


def ends(subject):
    """A made-up task: how many held-out rows end with the token that they begin with (none of them, but somebody counts)."""
    import numpy as np

    from core.tasks.measurement import Measurement

    ids = tuple(row.id for row in subject.rows)
    scores = np.array([float(row.ids[0] == row.ids[-1]) for row in subject.rows])
    return [Measurement("ends/alike", "other", ("all",) * len(ids), ids, scores, np.ones(len(ids)))]


@pytest.fixture
def with_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measures.MEASURES, "ends/alike", measures.Measure("ends/alike", measures.ACCURACY, "ends alike"))
    entry = Task(measure=ends, can_ask=lambda kind: not kind.own_questions, gives_quality=False)
    monkeypatch.setitem(TASKS, "ends", entry)


def asking(trial: Trial, names: str) -> Trial:
    return dataclasses.replace(trial, evaluation=dataclasses.replace(trial.evaluation, tasks=names))


def test_a_kind_of_source_is_one_entry(trial: Trial, tmp_path: Path) -> None:
    from core import trial as trials

    told = preflight.inspect(trial)
    assert told.provenance["data"] == "count:60"
    assert told.n_rows == 60
    result = trials.run(trial, told.provenance, tmp_path, Device())
    assert (result.state, result.reason, result.facts["tasks"]) == ("finished", "", "text")
    assert result.metrics["rows/evaluated"] == told.n_eval_rows > 0


@pytest.mark.usefixtures("with_task")
@pytest.mark.parametrize("names", ["text,ends", "text, ends", "ends+text"])
def test_a_task_is_one_entry_and_stands_beside_others(trial: Trial, tmp_path: Path, names: str) -> None:
    from core import trial as trials

    both = asking(trial, names)
    preflight.inspect(both)
    result = trials.run(both, {}, tmp_path, Device())
    assert (result.state, result.reason) == ("finished", "")
    assert sorted(result.facts["tasks"].split(", ")) == ["ends", "text"]
    assert "after/ends/alike" in result.metrics
    assert result.facts["quality_measure"] == "log_likelihood/response"
    assert parse_value(trial, "evaluation.tasks", "text+ends") == "text+ends"


@pytest.mark.usefixtures("with_task")
@pytest.mark.parametrize(
    ("source", "names", "says"),
    [
        ("count:60", "texd", "did you mean 'text'?"),
        ("count:60", "text,", "choose from"),
        ("count:60", "lab", "lab cannot ask about count:60; choose from answers, choices, ifeval, "),
        ("count:60", "ends", "must give exactly one quality, not 0"),
        ("count:60", "text,text", "text is named twice"),
        ("lab:curated", "text", "text cannot ask about lab:curated; choose from lab, composed"),
        ("lab:composed", "lab+composed", "must give exactly one quality, not 2"),
    ],
)
@pytest.mark.usefixtures("trial")
def test_what_cannot_be_measured_is_refused_before_it_starts(source: str, names: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        preflight.inspect(Trial(data=Data(source=source), evaluation=Evaluation(tasks=names)))
    assert says in str(error.value)
    assert str(error.value).startswith(f"evaluation.tasks={names!r}: ")
    assert error.value.field == "evaluation.tasks"


def test_the_source_says_what_measures_it() -> None:
    named = {
        source: tasks.chosen(Trial(data=Data(source=source))) for source in ("lab:curated", "lab:composed", "a.jsonl", "a/b")
    }
    assert named == {"lab:curated": ("lab",), "lab:composed": ("composed",), "a.jsonl": ("text",), "a/b": ("text",)}
    assert set(TASKS) >= {kind.default_task for kind in kinds.KINDS.values()}


def test_a_made_up_measure_is_refused() -> None:
    np = pytest.importorskip("numpy")
    from core.tasks.measurement import Measurement

    with pytest.raises(BadInput, match=r"measure 'nll/prosa': did you mean 'nll/prose"):
        Measurement("nll/prosa", "forgetting", ("a",), ("b",), np.ones(1), np.ones(1))
    assert Measurement("nll/prose", "forgetting", ("a",), ("b",), np.ones(1), np.ones(1)).unit == "nats/token"


@pytest.mark.slow
def test_requests_of_two_steps_can_be_asked_of_any_laboratory_source(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from core import trial as trials

    trial = Trial(data=Data(n_examples=40), train=Train(epochs=1), evaluation=Evaluation(items_per_task=2, tasks="composed"))
    result = trials.run(trial, {}, tmp_path, Device())
    assert (result.state, result.facts["tasks"]) == ("finished", "composed")
    assert "after/exact_match/single" in result.metrics
