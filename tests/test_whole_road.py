"""What the README says that one touches to add a method, a task and a question is enough: a made-up one of each, defined here and
in a temporary folder, goes the whole road: dry run, trials, store, tables, verdict, figure, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis.questions
import experiments
from analysis import report as door
from core import adapters, measures, settings, tasks
from core.hardware import Device
from core.preflight import inspect, provenance
from core.settings import Adapter
from core.states import Phase, State
from core.tracking import Store, TrialRecord, default_uri
from sweeps import run
from sweeps.plan import Job, Plan

torch = pytest.importorskip("torch")

# One file in experiments/ …
EXPERIMENT = """
from core.experiment import Claim, Experiment, Published
from core.settings import Data, Evaluation, Lora, Model, Train, Trial

EXPERIMENT = Experiment(
    name="made_up_question",
    question="Does a made-up method do as well as LoRA?",
    base=Trial(
        model=Model(name="lab:base-small-0"), data=Data(n_examples=48), adapter=Lora(rank=2),
        train=Train(epochs=1.0), evaluation=Evaluation(items_per_task=2, tasks="lab+made_up_task"),
    ),
    vary={"adapter.method": ("lora", "made_up_method")},
    seeds=(0, 1),
    claims=(
        Claim(id="made_up_is_as_good", statement="A made-up method is as good as LoRA",
              published=Published(effect="none", source="nobody", url="https://example.org")),
    ),
)
"""
# … and one in analysis/questions/.
ANALYSIS = """
from analysis.claims.question import Question
from analysis.claims.rules import Ask, difference
from analysis.claims.tables import View
from analysis.stats import ABOVE_ZERO

VIEW = View(x="adapter.method", x_label="method", measures=("quality", "letters/guessed", "forgetting"), curves="adapter.method")
SIDES = ({"adapter.method": "made_up_method"}, {"adapter.method": "lora"})
RULES = {"made_up_is_as_good": lambda t: difference(t, *SIDES, Ask("letters/guessed", ABOVE_ZERO, "letters, made up − LoRA"))}
QUESTION = Question(VIEW, RULES)
"""


@dataclass(frozen=True, kw_only=True)
class Norms(Adapter):
    """Trains the weights of the normalisation layers alone."""

    method: str = field(default="made_up_method", init=False)
    every: int = 1  # of these layers


def build_norms(model: torch.nn.Module, adapter: Norms, new_tokens: object) -> adapters.Adapted:
    model.requires_grad_(False)
    chosen = [name for name, _ in model.named_parameters() if name.endswith("norm.weight")][:: adapter.every]
    for name in chosen:
        model.get_parameter(name).requires_grad_(True)
    return adapters.Adapted(model, tuple(name.removesuffix(".weight") for name in chosen))


def guessed(subject: tasks.measurement.Subject) -> list[tasks.measurement.Measurement]:
    """Of each item, whether the model's first guess after the end-of-text token has this number of letters."""
    from core.tasks.measurement import Measurement

    ids = torch.tensor([[subject.tokenizer.eos_token_id]])
    best = subject.model(input_ids=ids).logits[0, -1].topk(12).indices.tolist()
    scores = np.array([len(subject.tokenizer.convert_ids_to_tokens(one)) / 10 for one in best])
    items = tuple(f"guess {i}" for i in range(len(best)))
    return [Measurement("letters/guessed", "other", ("all",) * len(best), items, scores, np.ones(len(best)))]


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The method's two entries, the task's two, the question's two files."""
    monkeypatch.setitem(settings.ADAPTERS, "made_up_method", Norms)
    facts = adapters.Method(
        settings=Norms, label="norms", colour="#009E73", marker="^", changes_base=True, on_quantized_base=False,
        build=build_norms,
        n_trained=lambda adapter, base: sum(
            int(np.prod(shape)) for name, shape in [*base.shapes.items()] if name.endswith("norm.weight")
        ),
    )  # fmt: skip
    monkeypatch.setitem(adapters.METHODS, "made_up_method", facts)
    monkeypatch.setitem(
        measures.MEASURES, "letters/guessed", measures.Measure("letters/guessed", "letters ÷ 10", "letters guessed")
    )
    asked = tasks.Task(measure=guessed, can_ask=lambda kind: True, gives_quality=False)
    monkeypatch.setitem(tasks.TASKS, "made_up_task", asked)
    for package, text in ((experiments, EXPERIMENT), (analysis.questions, ANALYSIS)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "made_up_question.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield
    for package in (experiments, analysis.questions):
        sys.modules.pop(f"{package.__name__}.made_up_question", None)


def trained(job: Job, folder: Path) -> None:
    from core import trial

    result = trial.run(job.trial, job.provenance, folder, Device())
    assert result.state is State.FINISHED, result.reason
    facts = json.loads((folder / "result.json").read_text())
    assert facts["metrics"]["trainable_parameters"] == inspect(job.trial).trainable_parameters
    assert facts["facts"]["tasks"] == "lab, made_up_task"


def logged(plan: Plan, output: Path, run_trial: Callable[[Job, Path], None]) -> str:
    """Runs every final trial here and logs it as a sweep does; the store."""
    uri = default_uri(output)
    store = Store(uri, plan.experiment.name, plan.sweep)
    store.open({}, "made up")
    for arm in plan.arms:
        for index in range(len(plan.experiment.seeds)):
            job = plan.final_job(arm, index, {})
            folder = output / job.key
            folder.mkdir()
            run_trial(job, folder)
            store.log_trial(TrialRecord(job.key, job.name, job.arm, Phase.FINAL, job.axes, folder))
    store.close("FINISHED")
    return uri


@pytest.mark.usefixtures("made_up")
def test_a_made_up_method_task_and_question_go_the_whole_road(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["made_up_question", "--dry-run", "--output", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    assert "Does a made-up method do as well as LoRA?" in said
    assert "made_up_method" in said
    assert run.main(["made_up_question", "--dry-run", "--set", "model.quantization=nf4"]) == 2
    assert "made_up_method" in capsys.readouterr().err  # it says which arm cannot have 4 bits

    output = tmp_path / "runs"
    output.mkdir(exist_ok=True)
    plan = Plan.of(experiments.load("made_up_question"), provenance)
    uri = logged(plan, output, trained)
    capsys.readouterr()
    assert door.main(["made_up_question", "--tracking-uri", uri, "--report", str(tmp_path / "report")]) == 0
    assert "made_up_is_as_good" in capsys.readouterr().out
    report = tmp_path / "report"
    assert {"figure.png", "figure.pdf", "report.md", "arms.csv", "trials.csv", "verdicts.json"} <= {
        file.name for file in report.iterdir()
    }
    arms = pd.read_csv(report / "arms.csv").set_index("arm")
    assert set(arms.index) == {"lora", "made_up_method"}
    assert arms["letters/guessed"].between(0, 3).all()
    assert "letters guessed (letters ÷ 10)" in (report / "table.md").read_text()
    (verdict,) = json.loads((report / "verdicts.json").read_text())
    assert (verdict["id"], verdict["n_seeds"]) == ("made_up_is_as_good", 2)
    assert verdict["verdict"] in ("supported", "contradicted", "undecided")
