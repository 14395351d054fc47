"""Rows with a right answer, and multiple choice: how they are read, compared, scored and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import UNMARKED

from core import preflight, tasks
from core.data import kinds, selection
from core.errors import BadInput
from core.hardware import Device
from core.settings import Data, Evaluation, Lora, Model, Train, Trial
from core.tasks import examples, rules

GOLD = ("She sells 9 a day.\nThat is $18.\n#### 18",)


@pytest.mark.parametrize(
    ("text", "solutions", "rule", "right"),
    [
        ("so 9 * 2 = 18\n#### 18", GOLD, "auto", True),
        ("It is $18.00.", GOLD, "auto", True),
        ("18 or 19", GOLD, "auto", False),
        ("no number", GOLD, "auto", False),
        ("1,018", ("#### 1018",), "auto", True),
        ("it is -$3", ("-3",), "number", True),
        ("it is 3", ("-3",), "number", False),
        (".5", ("0.5",), "number", True),
        (" The  Answer.", ("the answer",), "auto", True),
        ("the answer is blue", ("blue",), "exact", False),
        ("steps\n#### Blue", ("blue",), "exact", True),
        ("green", ("blue", "green"), "auto", True),
        ("I say (B) and (C)", ("b",), r"regex:\(([A-D])\)", True),
        ("I say (C) and (B)", ("b",), r"regex:\(([A-D])\)", False),
        ("#### 1,000 is it", ("#### 1000",), r"regex:#### (\-?[0-9\.\,]+)", True),
        ("it is 18", GOLD, r"regex:#### (\d+)", False),
        ("yes or no", ("yes",), "regex:(?:^(yes)|^(no))", True),
    ],
)
def test_how_an_answer_is_compared(text: str, solutions: tuple[str, ...], rule: str, right: bool) -> None:
    assert rules.right(text, solutions, rule) is right


@pytest.mark.parametrize("rule", ["regex:", "regex:(", "exactly", ""])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(BadInput, match="must be auto, exact, number, or regex:PATTERN") as error:
        Evaluation(answer=rule)
    assert error.value.field == "evaluation.answer"


@pytest.mark.parametrize("rule", [r"regex:(a+)+$", r"regex:((?:no|nono)+)$", r"regex:(\d+\d+)+$"])
def test_a_pattern_that_takes_for_ever_is_refused(rule: str) -> None:
    with pytest.raises(BadInput, match=r"takes more than 0\.5 s .*; write it without repeats inside repeats") as error:
        rules.check(rule)
    assert error.value.field == "evaluation.answer"


@pytest.mark.parametrize(
    "rule", ["auto", r"regex:\(([A-D])\)", r"regex:#### (\-?[0-9\.\,]+)", r"regex:(?:\d+,)*\d+", "regex:.*is (.*)$"]
)
def test_a_pattern_that_is_quick_is_taken(rule: str) -> None:
    rules.check(rule)


def test_a_pattern_that_takes_for_ever_on_an_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "LIMIT_SECONDS", 0.1)
    with pytest.raises(BadInput, match=r"takes more than 0\.1 s on an answer of 2,001 characters"):
        rules.right("q" * 2_000 + "!", ("q",), "regex:(q+)+$")


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sums(tmp_path: Path) -> str:
    """Rows as GSM8K's."""
    rows = [{"question": f"what is {i} plus {i} ?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"} for i in range(60)]
    return write(tmp_path / "sums.jsonl", rows)


def test_rows_are_read_with_their_solutions(sums: str, tmp_path: Path) -> None:
    (first, *_), shapes = kinds.load("data.source", sums).rows, kinds.load("data.source", sums).shapes
    assert shapes == ("question/answer",)
    assert first.messages[1]["content"] == "0 + 0 = 0\n#### 0"
    assert first.solutions == ("0 + 0 = 0\n#### 0",)
    pair = {"prompt": "p", "completion": "c"}
    raws = [pair | {"answer": 7}, pair | {"answer": ["a", 2.5]}, pair, pair | {"answer": {"text": ["x"]}}, pair | {"answer": ""}]
    found = kinds.load("data.source", write(tmp_path / "others.jsonl", raws)).rows
    assert [row.solutions for row in found] == [("7",), ("a", "2.5"), (), (), ()]
    with pytest.raises(BadInput, match=r"field 'choices': a multiple choice is no row to train on"):
        kinds.load("data.source", write(tmp_path / "mc.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": "a"}]))


def trial(model: str, source: str, **evaluation: object) -> Trial:
    small = {"drift_samples": 4, "drift_tokens": 12, "max_new_tokens": 4} | evaluation
    return Trial(
        model=Model(name=model), data=Data(source=source, n_examples=16, eval_share=0.4), adapter=Lora(rank=2),
        train=Train(epochs=1, batch_size=8), evaluation=Evaluation(**small),
    )  # fmt: skip


def test_answers_beside_text_and_choices_in_one_trial(make_model: Callable[..., str], sums: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from core import trial as trials

    asked = trial(make_model("llama"), sums, tasks="answers+text+choices", choices=quiz(tmp_path), shots=1)
    told = preflight.inspect(asked)
    assert set(told.provenance) == {"data", "reading", "model", "choices"}
    result = trials.run(asked, told.provenance, tmp_path / "out", Device())
    assert (result.state, result.reason) == ("finished", "")
    assert result.facts["quality_measure"] == "accuracy/answers"
    assert result.metrics["quality"] == result.metrics["after/accuracy/answers"]
    names = {name.removeprefix("after/") for name in result.metrics if name.startswith("after/")}
    assert names == {
        "accuracy/answers", "written/stopped", "written/tokens", "log_likelihood/response", "accuracy/response_token",
        "accuracy/choices", "accuracy_norm/choices", "kl/documents", "nll/documents", "kl/responses",
    }  # fmt: skip
    assert tasks.chosen(trial("m", sums, tasks="text+answers")) == ("text", "answers")


def test_what_is_written_is_compared_and_examples_stand_before(
    make_model: Callable[..., str], sums: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from core import model as models
    from core.tasks import answers, generation
    from core.tasks.measurement import Subject
    from core.tasks.prompts import Prompt

    base = models.load(Model(name=make_model("llama", UNMARKED)), Device())
    asked = trial("m", sums, tasks="answers", shots=2)
    held_out = selection.select(asked.data, asked.evaluation, 0).evaluation
    prompts = []

    def solved(subject: Subject, put: list[Prompt], right: list[str]) -> generation.Answers:
        prompts.extend(one.messages for one in put)
        texts = [text.splitlines()[0] if i else "who knows" for i, text in enumerate(right)]
        return generation.Answers(tuple(texts), tuple(generation.Written((1,), True) for _ in texts))

    monkeypatch.setattr(generation, "answers", solved)
    subject = Subject(base.model, base.tokenizer, asked, (), base.model, 128, asked=held_out)
    quality, *_ = answers.measure(subject)
    assert quality.scores.tolist() == [0.0] + [1.0] * (len(held_out) - 1)
    assert {len(prompt) for prompt in prompts} == {5}
    assert {tuple(m["content"] for m in prompt[:4]) for prompt in prompts} == {
        tuple(m["content"] for row in examples.answer_shots(asked.data, asked.evaluation) for m in row.messages)
    }
    assert not {row.prompt for row in examples.answer_shots(asked.data, asked.evaluation)} & {row.prompt for row in held_out}
    assert [prompt[-1]["content"] for prompt in prompts] == [row.messages[0]["content"] for row in held_out]


@pytest.mark.parametrize(
    ("evaluation", "says", "field"),
    [
        ({"tasks": "answers", "shots": 500}, "evaluation.shots=500: ", "evaluation.shots"),
        ({"tasks": "choices+text"}, "choices needs evaluation.choices=FILE", "evaluation.choices"),
        ({"tasks": "choices+text", "choices": "no.jsonl"}, "evaluation.choices=no.jsonl: no such file", "evaluation.choices"),
        ({"tasks": "choices"}, "must give exactly one quality, not 0", "evaluation.tasks"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_starts(
    make_model: Callable[..., str], sums: str, evaluation: dict[str, object], says: str, field: str
) -> None:
    with pytest.raises(BadInput) as error:
        preflight.inspect(trial(make_model("llama"), sums, **evaluation))
    assert says in str(error.value)
    assert error.value.field == field


def test_rows_without_an_answer_are_refused(make_model: Callable[..., str], rows_file: str) -> None:
    with pytest.raises(BadInput, match=r'no row of .* has a field "answer"'):
        preflight.inspect(trial(make_model("llama"), rows_file, tasks="answers"))


# -- multiple choice

QUIZ = [(f"which is {word} ?", ["red", "a green fox", "blue ."], i % 3) for i, word in enumerate("abcdefghijklmnopqrst")]


def quiz(directory: Path) -> str:
    rows = [{"question": q, "choices": c, "answer": a, "subject": "xy"[i % 2]} for i, (q, c, a) in enumerate(QUIZ)]
    return write(directory / "quiz.jsonl", rows)


@pytest.mark.parametrize(
    ("raw", "right"),
    [
        ({"choices": ["x", "y"], "answer": 1}, 1),
        ({"choices": ["x", "y"], "answer": "1"}, 1),
        ({"choices": ["x", "y"], "answer": "b"}, 1),
        ({"options": ["x", "y"], "answer": "x"}, 0),
        ({"A": "x", "B": "y", "C": None, "target": "B"}, 1),
        ({"A": "x", "B": 0, "answer": "B"}, 1),
        ({"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, 1),
        ({"choices": ["3", "4"], "answer": "4"}, 1),
        ({"choices": ["x", "y"], "label": 0}, 0),
        ({"choices": ["1", "0"], "answer": "1"}, "is a place and another choice's text; give its letter"),
        ({"choices": ["x", "y"], "answer": 2}, "must be a place from 0 to 1, one of A, B, or the choice's text"),
        ({"choices": ["x", "y"], "answer": True}, "must be a place"),
        ({"choices": ["x", "y"]}, "needs a field 'answer' or 'answerKey'"),
        ({"choices": ["x"], "answer": 0}, "two to 26 choices"),
        ({"choices": ["x", " "], "answer": 0}, "two to 26 choices"),
        ({"answer": 0}, "two to 26 choices"),
        ({"question": None, "choices": ["x", "y"], "answer": 0}, "needs a text 'question'"),
    ],
)
def test_the_forms_of_a_choice(tmp_path: Path, raw: dict[str, object], right: object) -> None:
    rows = [{"question": f"{i} ?", **raw} for i in range(8)]
    evaluation = Evaluation(choices=write(tmp_path / "one.jsonl", rows))
    if isinstance(right, str):
        with pytest.raises(BadInput) as error:
            examples.choices(evaluation, "test")
        assert right in str(error.value)
        assert f"evaluation.choices={evaluation.choices}: line 1: " in str(error.value)
        assert error.value.field == "evaluation.choices"
    else:
        assert {one.right for one in examples.choices(evaluation, "test")} == {right}


def test_questions_are_split_and_examples_come_from_the_other_split(tmp_path: Path) -> None:
    evaluation = Evaluation(choices=quiz(tmp_path), shots=3)
    split = {name: examples.choices(evaluation, name) for name in ("validation", "test")}
    assert sorted(one.question for found in split.values() for one in found) == sorted(q for q, _, _ in QUIZ)
    for asked in split["test"]:
        shots = examples.choice_shots(evaluation, "test", asked)
        assert len(shots) == 3
        assert set(shots) <= set(split["validation"])
        assert [one.group == asked.group for one in shots] == sorted([one.group == asked.group for one in shots], reverse=True)
    dev = write(tmp_path / "dev.jsonl", [{"question": "dev ?", "choices": ["a", "b"], "answer": 0}])
    found = examples.choice_shots(Evaluation(choices=evaluation.choices, choices_dev=dev, shots=1), "test", split["test"][0])
    assert [one.question for one in found] == ["dev ?"]
    with pytest.raises(BadInput, match=r"evaluation\.shots=2: .* has 1 questions that can be examples"):
        examples.choice_shots(Evaluation(choices=evaluation.choices, choices_dev=dev, shots=2), "test", split["test"][0])


@pytest.mark.parametrize("shots", [0, 2])
def test_likelihoods_are_those_of_each_choice_alone(make_model: Callable[..., str], tmp_path: Path, shots: int) -> None:
    torch = pytest.importorskip("torch")
    from core import model as models
    from core.tasks import choices
    from core.tasks.measurement import Subject

    base = models.load(Model(name=make_model("llama")), Device())
    asked = trial("m", "x.jsonl", tasks="text+choices", choices=quiz(tmp_path), shots=shots)
    subject = Subject(base.model, base.tokenizer, asked, (), base.model, 128)
    questions = examples.choices(asked.evaluation, "test")
    with torch.no_grad():
        found = choices.likelihoods(subject, questions)
        for one, scores in zip(questions, found, strict=True):
            before = choices.text_before(asked.evaluation, one)
            assert before.endswith(f"Question: {one.question}\nAnswer:")
            for text, score in zip(one.choices, scores, strict=True):
                first, whole = (base.tokenizer(part)["input_ids"] for part in (before, f"{before} {text}"))
                n, whole = len(whole) - len(first), whole[-128:]
                logs = base.model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
                expected = sum(float(logs[i - 1, whole[i]]) for i in range(len(whole) - n, len(whole)))
                assert score == pytest.approx(expected, abs=1e-3)
        plain, normed = choices.measure(subject)
    assert plain.scores.tolist() == [float(scores.argmax() == one.right) for one, scores in zip(questions, found, strict=True)]
    ids, n = choices._tokens(base.tokenizer, "a b", " c" * 400, 128)  # a choice that is longer than the context
    assert len(ids) == n == 128
    by_length = [(scores / [len(text) for text in one.choices]).argmax() for one, scores in zip(questions, found, strict=True)]
    assert normed.scores.tolist() == [float(place == one.right) for one, place in zip(questions, by_length, strict=True)]
