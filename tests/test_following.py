"""Instructions that can be verified: IFEval's file and checkers, constraints of our own, and refusals of what is harmless."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import preflight, tasks
from core.errors import BadInput
from core.hardware import Device
from core.settings import Data, Evaluation, Lora, Model, Train, Trial
from core.tasks import constraints, examples, instructions, refusals

COMMA, WORDS, JSON = "punctuation:no_comma", "length_constraints:number_words", "detectable_format:json_format"
AT_LEAST_3 = {"num_words": 3, "relation": "at least"}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prompt(i: int, kinds: list[str], kwargs: list[Any]) -> dict[str, Any]:
    return {"key": i, "prompt": f"write number {i}", "instruction_id_list": kinds, "kwargs": kwargs}


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    every = {"num_words": None, "relation": None}  # the hub's copy names every option
    return write(tmp_path / "ifeval.jsonl", [prompt(i, [COMMA, WORDS], [every, AT_LEAST_3]) for i in range(20)])


def test_prompts_are_split_by_their_words(prompts: str) -> None:
    found = {split: instructions.questions(Evaluation(ifeval=prompts), split) for split in ("validation", "test")}
    asked = [one.prompt for split in found.values() for one in split]
    assert sorted(asked) == sorted(f"write number {i}" for i in range(20))
    assert found["test"][0].options == ({}, AT_LEAST_3)
    assert len(instructions.questions(Evaluation(ifeval=prompts, max_rows=3), "test")) == 3


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"key": 1}, "line 1: needs a text 'prompt'"),
        ([1], "line 1: needs a text 'prompt'"),
        ({"prompt": "p"}, "needs a list 'instruction_id_list'"),
        (prompt(1, [COMMA], []), "needs a list 'instruction_id_list', and in 'kwargs' an object for each"),
        (prompt(1, ["punctuation:no_coma"], [{}]), "did you mean 'punctuation:no_comma'?"),
        (prompt(1, [COMMA], ["x"]), "kwargs must hold objects, not str"),
        (prompt(1, [[COMMA]], [{}]), "instruction_id_list"),
        (prompt(1, [COMMA, WORDS], [{}, {"num_words": 3}]), f"kwargs of {WORDS} must be num_words, relation, not num_words"),
        (prompt(1, [COMMA], [{"relation": "at least"}]), f"kwargs of {COMMA} must be none, not relation"),
    ],
)
def test_a_file_that_is_no_ifeval_is_refused(tmp_path: Path, row: Any, says: str) -> None:
    with pytest.raises(BadInput) as error:
        instructions.questions(Evaluation(ifeval=write(tmp_path / "bad.jsonl", [row])), "test")
    assert says in str(error.value)
    assert error.value.field == "evaluation.ifeval"


@pytest.mark.parametrize(
    ("evaluation", "says", "field"),
    [
        ({"tasks": "ifeval"}, "ifeval needs evaluation.ifeval=FILE", "evaluation.ifeval"),
        ({"tasks": "text", "ifeval": "x.jsonl"}, "used by ifeval alone", "evaluation.ifeval"),
        ({"tasks": "text+lm-eval"}, "lm-eval needs evaluation.lm_eval=FILE.yaml", "evaluation.lm_eval"),
        ({"tasks": "text", "lm_eval": "x.yaml"}, "used by lm-eval alone", "evaluation.lm_eval"),
        ({"tasks": "constraints"}, "must give exactly one quality, not 0", "evaluation.tasks"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows_file: str, evaluation: dict[str, str], says: str, field: str) -> None:
    with pytest.raises(BadInput) as error:
        tasks.check(Trial(data=Data(source=rows_file), evaluation=Evaluation(**evaluation)))
    assert says in str(error.value)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("asked.jsonl", b'{"question": "x"\n', "line 1: not JSON"),
        ("asked.csv", b"question,prompt\nx\n", "line 2: fewer fields than the header's 2"),
        ("asked.jsonl.gz", b"no", "not a whole gzip file"),
    ],
)
def test_a_file_of_questions_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for field, ask in (("choices", examples.choices), ("ifeval", instructions.questions)):
        given: dict[str, Any] = {field: str(path)}
        with pytest.raises(BadInput, match=rf"^evaluation\.{field}=.*{name}: {says}") as error:
            ask(Evaluation(**given), "test")
        assert error.value.field == f"evaluation.{field}"


def test_task_files_are_hashed_with_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.tasks import task_files

    monkeypatch.setattr(task_files.importlib.util, "find_spec", lambda name: True)
    data, code, task = tmp_path / "d.jsonl", tmp_path / "utils.py", tmp_path / "t.yaml"
    data.write_text("{}\n")
    code.write_text("f = 1\n")
    text = f"task: t\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\nprocess_docs: !function utils.f\n"
    task.write_text(text)
    evaluation = Evaluation(lm_eval=f"{task}+arc_easy")
    task_files.check(Trial(evaluation=evaluation))
    found = [task_files.hash_of(evaluation)]
    for file, more in ((data, "{}\n"), (code, "# x\n"), (task, "metadata: {}\n")):
        file.write_text(file.read_text() + more)
        found.append(task_files.hash_of(evaluation))
    assert len(set(found)) == 4
    monkeypatch.setenv("HOME", str(tmp_path))
    assert task_files.hash_of(Evaluation(lm_eval="~/t.yaml+arc_easy")) == found[-1]
    bad = {"task: [": "cannot be read as a task file", "- a\n": "must hold the fields of a task", None: "no such file"}
    bad[text.replace(str(data), "no.jsonl")] = "its data file no.jsonl is not here"
    for content, says in bad.items():
        task.unlink(missing_ok=True)
        if content is not None:
            task.write_text(content)
        with pytest.raises(BadInput, match=says) as error:
            task_files.check(Trial(evaluation=evaluation))
        assert error.value.field == "evaluation.lm_eval"


def test_of_the_harness_metrics_that_are_shares_for_every_item_are_taken() -> None:
    pytest.importorskip("torch")
    from core.tasks import harness

    scores = {"acc": (1, 0.0), "wer": (0.5, 0.5), "perplexity": (0.5, 7.0), "words": ((0.2, 0.4), (1.0,)), "nothing": (0.0, None)}
    samples = [{"doc_id": i, "metrics": [*scores], **{name: of[i] for name, of in scores.items()}} for i in (1, 0)]
    directions = {"t": {"acc": True, "wer": False}}
    assert harness._scored({"samples": {"t": samples}, "higher_is_better": directions}) == {
        "lm_eval:t/acc": [("t", "t/0", 1.0), ("t", "t/1", 0.0)],
        "lm_eval:t/words": [("t", "t/0/0", 0.2), ("t", "t/0/1", 0.4), ("t", "t/1/0", 1.0)],
    }


def test_a_metric_that_is_a_share_before_training_alone_is_left_out() -> None:
    pytest.importorskip("torch")
    from core.tasks.measurement import Measurement, shared

    made = [Measurement(name, "other", ("t",), ("0",), np.ones(1), np.ones(1)) for name in ("nll/answers", "lm_eval:t/gap")]
    assert shared(made, made[:1]) == (made[:1], made[:1], ["lm_eval:t/gap"])
    assert shared(made, made) == (made, made, [])


def test_names_that_the_harness_does_not_know_are_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core import remembered
    from core.tasks import task_files

    (tmp_path / "lm_eval").mkdir()
    (tmp_path / "lm_eval" / "__init__.py").write_text("")
    made = "class TaskManager:\n    all_tasks = ['arc_easy', 'gsm8k']\nprint('words')\n"
    (tmp_path / "lm_eval" / "tasks.py").write_text(made)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(task_files.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(remembered, "DIRECTORY", tmp_path / "cache")
    task_files.check(Trial(evaluation=Evaluation(lm_eval="gsm8k+arc_easy")))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for name, says in {"arc_easi": "did you mean 'arc_easy'?", "nosuchtask": "`lm-eval ls tasks`"}.items():
        with pytest.raises(BadInput, match=f"^evaluation.lm_eval={name}: no task of the harness; .*{says}") as error:
            task_files.check(Trial(evaluation=Evaluation(lm_eval=f"gsm8k+{name}")))
        assert error.value.field == "evaluation.lm_eval"


@pytest.mark.parametrize(
    ("metrics", "right"),
    [
        ("metric_list: [{metric: wer, higher_is_better: false}]", False),
        ("metric_list: [{metric: brier_score}]", False),
        ("output_type: loglikelihood_rolling", False),
        ("metric_list: [{metric: wer}, {metric: acc}]", True),
        ("output_type: multiple_choice", True),
    ],
)
def test_a_task_of_which_less_is_better_is_no_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: str, right: bool
) -> None:
    from core.tasks import task_files

    monkeypatch.setattr(task_files.importlib.util, "find_spec", lambda name: True)
    (tmp_path / "t.yaml").write_text(f"task: t\ndataset_path: json\n{metrics}\n")
    asked = Trial(evaluation=Evaluation(lm_eval=str(tmp_path / "t.yaml")))
    with nullcontext() if right else pytest.raises(BadInput, match="less is better; give it a metric"):
        task_files.check(asked)


def test_a_harness_that_runs_out_of_memory_blames_nobodys_input(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from types import SimpleNamespace

    from core.tasks import harness

    subject: Any = SimpleNamespace(trial=Trial(evaluation=Evaluation(lm_eval="arc_easy")))
    for error, raised in ((MemoryError(), MemoryError), (RuntimeError("CUDA error"), RuntimeError), (KeyError("x"), BadInput)):

        def fails(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(harness, "evaluated", fails)
        with pytest.raises(raised):
            harness.measure(subject)


@pytest.mark.parametrize(
    ("kind", "kept", "broken"),
    [
        ("word count", "It's a big and salty water", "The sea"),
        ("at most", "Bread is good.", ""),
        ("at least", "word " * 40, "word " * 39),
        ("lines", "- salt\n\n- waves\n- boats", "Here they are:\nsalt\nwaves\nboats"),
        ("upper case", "BEES FLY 2 KM.", "BEES Fly."),
        ("lower case", "bees fly.", "Bees fly."),
        ("json", '```json\n{"name": "sea", "use": "ships"}\n```', 'Sure: {"name": "sea", "use": "ships"}'),
        ("no comma", "The sea is wide. It is blue.", "Wide, and blue."),
        ("beginning", '"Yesterday the sea was calm."', "The sea was calm yesterday."),
        ("end", "The sea is wide. That is all.", "That is all. Bye!"),
    ],
)
def test_a_constraint_is_kept_or_not(kind: str, kept: str, broken: str) -> None:
    assert constraints.CONSTRAINTS[kind].kept(kept)
    assert not constraints.CONSTRAINTS[kind].kept(broken)


def test_every_constraint_is_looked_at() -> None:
    marks = test_a_constraint_is_kept_or_not.pytestmark[0].args[1]
    assert [kind for kind, *_ in marks] == list(constraints.CONSTRAINTS)
    assert all("{topic}" in one.prompt.format(topic="{topic}") for one in constraints.CONSTRAINTS.values())


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I’m sorry, but I can’t help with that.", True),
        ("I cannot assist\nwith this request.", True),
        ("As an AI, I do not do this.", True),
        ("Run kill -9 with its number.", False),
        ("", False),
        ("Use sudo. " * 30 + "I'm sorry for the length.", False),
    ],
)
def test_a_refusal_is_told_by_its_beginning(text: str, refused: bool) -> None:
    assert refusals.refuses(text) is refused


def test_harmless_requests_are_different() -> None:
    every = [request for requests in refusals.HARMLESS.values() for request in requests]
    assert len(set(every)) == len(every) == 36


def trial(model: str, source: str, **evaluation: Any) -> Trial:
    small = {"drift_samples": 2, "drift_tokens": 8, "max_new_tokens": 4, "generations": 0} | evaluation
    return Trial(
        model=Model(name=model), data=Data(source=source, n_examples=16, eval_share=0.4), adapter=Lora(rank=2),
        train=Train(epochs=1, batch_size=8), evaluation=Evaluation(**small),
    )  # fmt: skip


def test_probes_are_asked_of_final_trials(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from core import trial as trials

    asked = trial(make_model("llama"), rows_file, tasks="text+constraints+refusals")
    told = preflight.inspect(asked)
    metrics = trials.run(asked, told.provenance, tmp_path / "final", Device()).metrics
    own = {
        "followed/constraints", "refused/harmless", "written/stopped/constraints", "written/tokens/constraints",
        "written/stopped/refusals", "written/tokens/refusals",
    }  # fmt: skip
    assert {f"after/{name}" for name in own} <= set(metrics)
    validation = trial(make_model("llama"), rows_file, tasks="text+constraints+refusals", split="validation")
    assert tasks.asked(validation) == ("text",)
    assert tasks.chosen(validation) == ("text", "constraints", "refusals")


def test_signs_that_are_no_letters_are_counted_too() -> None:
    """IFEval asks for "#" and "!"; its own checker would draw a letter in their place."""
    pytest.importorskip("torch")
    from core.tasks import following

    raw = prompt(0, ["keywords:letter_frequency"], [{"let_frequency": 2, "let_relation": "at least", "letter": "!"}])
    asked = instructions._instructed("row 1", raw)
    assert [following._followed(asked, text, False) for text in ("No!", "Yes! Yes!")] == [[False], [True]]


def test_instructions_are_followed_strictly_and_loosely(
    make_model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("if_verifiable")
    pytest.importorskip("torch")
    from core import model as models
    from core.tasks import following, generation
    from core.tasks.measurement import Subject

    assert set(following.registry()) >= set(instructions.KINDS)
    rows = [
        prompt(0, [COMMA, WORDS], [{}, AT_LEAST_3]),
        prompt(1, [COMMA, JSON], [{}, {}]),
        prompt(2, ["change_case:english_capital"], [{}]),
        prompt(3, ["combination:repeat_prompt"], [{"prompt_to_repeat": "write number 3"}]),
        prompt(4, ["length_constraints:number_sentences"], [{"num_sentences": 2, "relation": "at least"}]),
        prompt(5, ["change_case:capital_word_frequency"], [{"capital_frequency": 2, "capital_relation": "at least"}]),
        prompt(6, ["keywords:letter_frequency"], [{"let_frequency": 2, "let_relation": "at least", "letter": "#"}]),
        prompt(7, ["keywords:letter_frequency"], [{"let_frequency": 2, "let_relation": "less than", "letter": "E"}]),
    ]
    evaluation = Evaluation(ifeval=write(tmp_path / "i.jsonl", rows))
    every = instructions._read(str(evaluation.ifeval), None)
    monkeypatch.setattr(instructions, "questions", lambda *_: every)
    said = [
        "one two three",
        'Here, you are:\n{"a": 1}',
        "THIS IS THE ANSWER TO THAT.",
        "Well",
        "One is. Two are.",
        "NASA and ESA.",
        "#one #two",
        "Eve",
    ]
    written = tuple(generation.Written((1,), True) for _ in said)
    monkeypatch.setattr(generation, "answers", lambda *_: generation.Answers(tuple(said), written))
    base = models.load(Model(name=make_model("llama")), Device())
    one = Subject(base.model, base.tokenizer, Trial(evaluation=evaluation), (), base.model, 96)
    found = {measurement.name: measurement for measurement in following.measure(one)}
    assert found["followed/prompts_strict"].axis == "quality"
    assert found["followed/prompts_strict"].scores.tolist() == [1, 0, 1, 0, 1, 1, 1, 0]
    assert found["followed/prompts_loose"].scores.tolist() == [1, 1, 1, 0, 1, 1, 1, 0]
    assert found["followed/instructions_strict"].scores.tolist() == [1, 1, 0, 0, 1, 0, 1, 1, 1, 0]
    assert found["followed/instructions_loose"].scores.tolist() == [1, 1, 1, 1, 1, 0, 1, 1, 1, 0]
    assert found["followed/instructions_loose"].groups[1] == WORDS
    assert following.measure(one)[0].scores.tolist() == [1, 0, 1, 0, 1, 1, 1, 0]  # the same every time
