"""Our tasks and the Language Model Evaluation Harness's give the same items the same scores; its tasks are asked in place.

`agreement` is what the table in core/tasks/README.md was made with, on real data.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import UNMARKED

from core import preflight
from core.errors import BadInput
from core.hardware import Device
from core.settings import Data, Evaluation, Lora, Model, Train, Trial

pytest.importorskip("lm_eval")
pytest.importorskip("torch")

from core import adapters
from core import model as models
from core import trial as trials
from core.tasks import choices, examples, generation, harness, rules
from core.tasks.measurement import Subject
from core.tasks.prompts import Prompt


def task_file(path: Path, rows: list[dict[str, Any]], **fields: Any) -> str:
    """A task of the harness over these rows; JSON is YAML."""
    data = path.with_suffix(".jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "task": path.stem, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
    }  # fmt: skip
    path.write_text(json.dumps(task | fields))
    return str(path)


METRICS = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
ARC = {
    "output_type": "multiple_choice", "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_target": "answer",
    "doc_to_choice": "choices", "metric_list": METRICS,
}  # fmt: skip
GSM8K = {
    "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}",
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True,
         "ignore_punctuation": False, "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"]}
    ],
    "filter_list": [
        {"name": "flexible-extract", "filter": [
            {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
            {"function": "take_first"}]}
    ],
}  # fmt: skip


def both_choices(subject: Subject, folder: Path, rows: list[dict[str, Any]]) -> tuple[Any, list[Any]]:
    """For each question whether it is answered rightly, by acc and acc_norm, and the largest difference in log-likelihood."""
    read = [examples._choice(f"row {i}", row) for i, row in enumerate(rows)]
    scores = choices.likelihoods(subject, tuple(read))
    ours = [
        [choices.chosen(one, score, norm) == one.right for norm in (False, True)] for one, score in zip(read, scores, strict=True)
    ]
    said = [{"question": one.question, "choices": list(one.choices), "answer": one.right} for one in read]
    samples = harness.evaluated(subject, [task_file(folder / "mc.yaml", said, **ARC)])["samples"]["mc"]
    samples.sort(key=lambda one: one["doc_id"])
    theirs = [[bool(one["acc"]), bool(one["acc_norm"])] for one in samples]
    apart = [
        abs(a - b[0])
        for score, one in zip(scores, samples, strict=True)
        for a, b in zip(score, one["filtered_resps"], strict=True)
    ]
    return max(apart), [(a, b) for a, b in zip(ours, theirs, strict=True)]


def both_answers(subject: Subject, folder: Path, rows: list[dict[str, Any]], most: int) -> list[tuple[bool, bool, bool]]:
    """For each question whether the answer is right by ours and by the harness, and whether both wrote the same."""
    answers = generation.answers(subject, [Prompt.of(row["question"]) for row in rows], [], most)
    ours = [rules.right(text, (row["answer"],), "number") for text, row in zip(answers.texts, rows, strict=True)]
    options = {"until": [], "do_sample": False, "max_gen_toks": most}
    file = task_file(folder / "gsm.yaml", rows, **GSM8K, generation_kwargs=options)
    samples = harness.evaluated(subject, [file])["samples"]["gsm"]
    samples.sort(key=lambda one: one["doc_id"])
    return [
        (right, bool(one["exact_match"]), one["resps"][0][0].strip() == text)
        for right, one, text in zip(ours, samples, answers.texts, strict=True)
    ]


def subject(path: str, **evaluation: Any) -> Subject:
    base = models.load(Model(name=path), Device())
    trial = Trial(model=Model(name=path), evaluation=Evaluation(**{"batch_size": 8, "lm_eval_chat": True} | evaluation))
    return Subject(base.model, base.tokenizer, trial, (), base.model, 96)


QUESTIONS = [
    {"question": f"what is {i} plus two ?", "choices": [str(i + 2), "it is red", f"the quick fox {i}", "no"], "answer": i % 4}
    for i in range(12)
]  # fmt: skip


def test_multiple_choice_agrees(make_model: Callable[..., str], tmp_path: Path) -> None:
    apart, pairs = both_choices(subject(make_model("llama", UNMARKED), lm_eval_chat=False), tmp_path, QUESTIONS)
    assert apart < 1e-4
    assert all(ours == theirs for ours, theirs in pairs)
    assert len({tuple(ours) for ours, _ in pairs}) > 1


def test_numbers_in_answers_agree(make_model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"question": f"what is {i} plus {i} ?", "answer": f"{i} + {i}\n#### {2 * i}"} for i in range(6)]
    found = both_answers(subject(make_model("llama", UNMARKED)), tmp_path, rows, 12)
    assert all(same for *_, same in found)
    assert all(ours == theirs for ours, theirs, _ in found)
    from lm_eval.models.huggingface import HFLM

    said = ["it is 0 .", "two , so 2", "4", "3", "$8.", "-10"]
    written = tuple(generation.Written((1,), True) for _ in said)
    monkeypatch.setattr(generation, "answers", lambda *_: generation.Answers(tuple(said), written))
    monkeypatch.setattr(HFLM, "generate_until", lambda self, requests, **_: [said[one.doc_id] for one in requests])
    found = both_answers(subject(make_model("llama", UNMARKED)), tmp_path, rows, 12)
    assert [ours for ours, *_ in found] == [True, True, True, False, True, False]
    assert all(ours == theirs for ours, theirs, _ in found)


def test_a_trial_is_scored_by_the_harness_in_place(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    file = task_file(tmp_path / "mc.yaml", QUESTIONS, **ARC)
    asked = Trial(
        model=Model(name=make_model("llama")), data=Data(source=rows_file, n_examples=16, eval_share=0.4),
        adapter=Lora(rank=4), train=Train(epochs=4, batch_size=8, learning_rate=0.1),
        evaluation=Evaluation(drift_samples=2, drift_tokens=8, tasks="text+lm-eval", lm_eval=file, max_rows=10, generations=0),
    )  # fmt: skip
    told = preflight.inspect(asked)
    assert set(told.provenance) == {"data", "model", "lm_eval"}
    result = trials.run(asked, told.provenance, tmp_path / "out", Device())
    assert (result.state, result.reason, result.facts["quality_measure"]) == ("finished", "", "log_likelihood/response")
    names = [name.removeprefix("after/") for name in result.metrics if name.startswith("after/lm_eval")]
    assert names == ["lm_eval:mc/acc", "lm_eval:mc/acc_norm"]
    base = models.load(asked.model, Device())
    adapted = adapters.build(models.trial_copy(base, False), asked.adapter, base.new_tokens).model.eval()
    one = Subject(adapted, base.tokenizer, asked, (), base.model, 96)
    (acc, _) = harness.measure(one)
    assert acc.mean == result.metrics["before/lm_eval:mc/acc"]
    assert acc.items[:2] == ("mc/0", "mc/1")
    (tmp_path / "mc.jsonl").write_text("{}\n")
    assert preflight.inspect(asked).provenance["lm_eval"] != told.provenance["lm_eval"]
    with pytest.raises(BadInput, match="the harness fails") as error:
        harness.measure(one)
    assert error.value.field == "evaluation.lm_eval"
