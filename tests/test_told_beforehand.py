"""Odd inputs that used to be told late, in other words, or not at all: each is one line before anything starts."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import compare, judge
from core import refused
from core.data import selection
from core.data.rows import Row
from core.errors import BadInput
from core.settings import Data, Evaluation
from core.tasks import examples, instructions, task_files
from core.template import Endless, Special, Template
from sweeps import describe
from sweeps.run import main

Q = "rank_vs_quality"


@pytest.fixture
def folder(make_model: Callable[..., str], tmp_path: Path) -> Path:
    """A whole copy of a small model."""
    return shutil.copytree(make_model("llama"), tmp_path / "model")


def told(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> list[str]:
    """The lines of the dry run's refusal."""
    assert main([Q, "--dry-run", *map(str, arguments)]) == code
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return lines


# Models


def of(folder: Path, rows_file: str) -> list[object]:
    return ["--model", folder, "--data", rows_file, "--set", "adapter.rank=4,16"]


def test_folders_and_pipes_beside_a_model_are_not_read(folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "generation_config.json").unlink()
    (folder / "generation_config.json").mkdir()
    os.mkfifo(folder / "modeling.py")
    assert told(capsys, *of(folder, rows_file), code=0) == []


def test_weights_that_are_not_finite_are_named(folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Attention over a few tokens hides them on a CPU."""
    from safetensors.torch import load_file, save_file

    found = load_file(folder / "model.safetensors")
    found["model.layers.0.self_attn.q_proj.weight"].fill_(float("nan"))
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    (line,) = told(capsys, *of(folder, rows_file))
    assert "model.layers.0.self_attn.q_proj.weight has weights that are not finite: fetch the model again" in line


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("num_hidden_layers", 10**9, "num_hidden_layers=1000000000: must be at most 10,000"),
        ("max_position_embeddings", 7, "model.name: its config.json gives it a context of 7 tokens, and 8 are the least"),
    ],
)
def test_sizes_beyond_use(
    folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str], name: str, value: int, says: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    assert says in told(capsys, *of(folder, rows_file))[0]


def test_a_tokenizer_with_one_id_for_several_tokens(folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    vocabulary = whole["model"]["vocab"]
    vocabulary |= dict.fromkeys([*vocabulary][10:60], 5)
    path.write_text(json.dumps(whole))
    assert "tokenizer" in told(capsys, *of(folder, rows_file))[0]  # which of the repeated ids counts, and so the words, may vary


def test_a_folder_of_gguf_says_so(tmp_path: Path, rows_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model-Q4.gguf").write_bytes(b"GGUF")
    assert "GGUF is for inference" in told(capsys, *of(tmp_path, rows_file))[0]


def changed(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_key_that_stands_twice_is_told_with_both_values(
    folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "config.json"
    whole = path.read_text()
    path.write_text(whole.replace('"hidden_size": 32', '"hidden_size": 64, "hidden_size": 32'))
    (line,) = told(capsys, *of(folder, rows_file))
    assert "config.json: hidden_size=64 stands there again, as 32; leave one of them" in line
    path.write_text(whole.replace('"hidden_size": 32', '"hidden_size": 32, "hidden_size": 32'))
    assert told(capsys, *of(folder, rows_file), code=0) == []


@pytest.mark.parametrize(
    ("file", "name", "value", "says"),
    [
        ("config.json", "auto_map", ["a.B"], "must name classes"),
        ("config.json", "auto_map", {"AutoModelForCausalLM": 3}, "must name classes"),
        ("config.json", "id2label", {"x": "LABEL"}, "must name labels by numbers"),
        ("config.json", "id2label", ["LABEL"], "must name labels by numbers"),
        ("config.json", "label2id", {"LABEL": "x"}, "must number labels"),
        ("tokenizer_config.json", "eos_token", "e", "an ordinary text, at which every text with it would end"),
        ("tokenizer_config.json", "eos_token", {"content": "the", "__type": "AddedToken"}, "an ordinary text"),
        ("tokenizer_config.json", "eos_token", " ", "an ordinary text"),
    ],
)
def test_names_of_classes_and_an_end_that_is_no_mark(
    folder: Path, file: str, name: str, value: object, says: str, rows_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(folder / file, **{name: value})
    (line,) = told(capsys, *of(folder, rows_file))
    assert f"{file}: {name}=" in line
    assert says in line


def test_a_normalizer_that_leaves_nothing(folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    changed(folder / "tokenizer.json", normalizer={"type": "Replace", "pattern": {"Regex": "."}, "content": ""})
    (line,) = told(capsys, *of(folder, rows_file))
    assert "tokenizer.json: its normalizer leaves nothing of 'The answer is 42.'" in line


# Rows


@pytest.mark.parametrize("label", [False, "False", "false", 0, 0.0])
def test_answers_that_are_not_wanted_are_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str], label: object) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b", "label": label}) + "\n")
    (line,) = told(capsys, "--model", "lab:base-0", "--data", path)
    assert f"field 'label' is {str(label).lower()}: an answer that is not wanted would be learned" in line


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"data": [{"instruction": "a", "input": "b", "output": "c"}]}, "field 'data' holds rows with a field 'instruction'"),
        ({"conversations": [{"who": "human", "text": "a"}]}, "a turn has no 'role' (its fields: who, text)"),
    ],
)
def test_rows_in_a_row_and_turns_without_a_role(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], says: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert says in told(capsys, "--model", "lab:base-0", "--data", path)[0]


@pytest.mark.parametrize("shares", ["{0}=0.7,{0}=x", "{0}=nan,{0}=1", "{0}=70%,{0}=30%", "{0},{0}", "{0}=0.7,{0}"])
def test_shares_that_are_none_say_how_they_are_written(rows_file: str, capsys: pytest.CaptureFixture[str], shares: str) -> None:
    (line,) = told(capsys, "--model", "lab:base-0", "--data", shares.format(rows_file))
    assert line.endswith("several in shares are written A.jsonl=0.7,B.jsonl=0.3, each with a number above 0")


# Chat templates


def test_a_template_that_writes_answers_twice_is_a_caution(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, template = tmp_path / "rows.jsonl", tmp_path / "t.jinja"
    said = [{"prompt": f"say {i}", "completion": f"a long answer of number {i}"} for i in range(80)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in said))
    once = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + '</s>' }}{% endfor %}"
    more = "{% if messages|length > 1 %}{{ messages[-1]['content'] }}{% endif %}"
    asked = [Q, "--dry-run", *map(str, of(folder, str(rows))), "--set", f"model.chat_template={template}"]
    for source, twice in ((once, False), (once + more, True), (more + once, True)):
        template.write_text(source + "{% if add_generation_prompt %}assistant {% endif %}")
        assert main(asked) == 0
        assert ("the chat template writes an answer more than once" in capsys.readouterr().out) is twice


def test_a_template_that_is_a_device_is_called_so(folder: Path, rows_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, says in {"/dev/zero": "is not a file but a pipe or a device", "/": "is not a file but a folder"}.items():
        (line,) = told(capsys, *of(folder, rows_file), "--set", f"model.chat_template={name}")
        assert f"model.chat_template={name}: {says}; give a file with a Jinja template, or chatml" in line


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ ('a' * 100000).replace('', 'b' * 10000) }}",
    ],
)
def test_a_template_beyond_its_limits_is_not_tried_on_every_row(source: str) -> None:
    template = Template(source, Special((), ()))
    rows = [Row(f"r{i}", ({"role": "user", "content": "a"}, {"role": "assistant", "content": f"b{i}"})) for i in range(100)]
    began = time.process_time()
    with pytest.raises(Endless) as error:
        refused.among(template, rows)
    assert "take another template" in refused.refusal(template, error.value, rows[0], rows).text
    assert time.process_time() - began < 15


def test_half_a_character_in_a_template_is_refused() -> None:
    with pytest.raises(BadInput, match="refuses this conversation"):
        Template("{{ '\\ud800' }}", Special((), ())).render([{"role": "user", "content": "a"}])


# The command line


def test_store_cluster_and_directory_are_told_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    places = ["--output", tmp_path / "file" / "runs", "--tracking-uri", "foo://x", "--ray-address", "ray://h:1"]
    lines = told(capsys, *places, "--seeds", "0")
    for words in (("--output", "is no directory"), ("--tracking-uri foo://x", "must be sqlite:"), ("--ray-address", "HOST:PORT"),
                  ("--seeds 0",), ("--concurrency", "--gpus-per-trial")):  # fmt: skip
        assert sum(all(word in line for word in words) for line in lines) == 1, lines


@pytest.mark.parametrize("uri", ["http://", "http://:5000", "http://[::1", "sqlite://", "ftp://h", "C:\\x"])
def test_a_store_of_no_form_is_told_by_the_dry_run(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told(capsys, "--tracking-uri", uri)
    assert line.startswith(f"error: --tracking-uri {uri}: ")


@pytest.mark.parametrize(("option", "value"), [("--budget", "-1h"), ("--checkpoint-every", "-5m"), ("--seeds", "-.5")])
def test_a_negative_value_is_a_value(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told(capsys, option, value)
    assert line.startswith(f"error: {option} '{value}': must be a")


def test_the_budget_that_is_named_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told(capsys, "--budget", "1s")
    (named,) = [word for word in line.replace(",", "").split() if word.endswith("m") and word[:-1].isdigit()]
    assert int(named[:-1]) >= 1


# Evaluation


@pytest.mark.parametrize(
    "more",
    [
        {"choices": {"text": ["a", "b"], "label": 5}, "answer": "A"},
        {"choices": {"text": ["a", "b"], "label": ["A", "A"]}, "answer": "A"},
        {"choices": ["a", None], "answer": 0},
        {"choices": [["a"], {"b": 1}], "answer": 0},
        {"choices": ["a", "b"], "answer": "²"},
        {"choices": ["a", "b"], "answer": "9" * 5_000},
        {"choices": ["a", "b"], "answer": 0, "subject": "\ud800"},
        {"choices": [f"c{i}" for i in range(30)], "answer": 2},
    ],
)
def test_choices_that_cannot_be_asked(tmp_path: Path, more: dict[str, Any]) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_text(json.dumps({"question": "x", **more}) + "\n")
    with pytest.raises(BadInput, match=r"choices\.jsonl: line 1: "):
        examples.choices(Evaluation(choices=str(path)), "test")


WORDS = "length_constraints:number_words"


@pytest.mark.parametrize(
    ("kind", "option", "says"),
    [
        (WORDS, {}, "must be num_words, relation, not none"),
        (WORDS, {"num_words": "many", "relation": "at least"}, "num_words='many': must be a whole number from 0"),
        (WORDS, {"num_words": 5, "relation": "around"}, "relation='around': must be less than or at least"),
        ("keywords:existence", {"keywords": "abc"}, "keywords='abc': must be a list of words"),
        ("keywords:letter_frequency", {"letter": "##", "let_frequency": 3, "let_relation": "at least"}, "must be one character"),
        ("language:response_language", {"language": "klingon"}, "language='klingon': must be one of en, "),
        ("punctuation:no_comma", {"nope": 3}, "must be none, not nope"),
        ("startend:end_checker", {"end_phrase": "\ud800"}, "half a character"),
    ],
)
def test_an_instruction_that_a_checker_cannot_check(tmp_path: Path, kind: str, option: dict[str, Any], says: str) -> None:
    """It would draw what it is not told, so that arms are asked for other things."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"key": 1, "prompt": "p", "instruction_id_list": [kind], "kwargs": [option]}) + "\n")
    with pytest.raises(BadInput) as error:
        instructions.questions(Evaluation(ifeval=str(path)), "test")
    assert "prompts.jsonl: line 1: " in error.value.text
    assert says in error.value.text


NEXT = zip("abcdefghi", "bcdefghij", strict=True)
BOMB = "task: x\na: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in NEXT)


@pytest.mark.parametrize("text", [BOMB, "task: x\na: &a [*a]\n"])
def test_aliases_in_a_task_file_are_followed_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "task.yaml").write_text(text)
    task_files.hash_of(Evaluation(lm_eval=str(tmp_path / "task.yaml")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("task: x\nd: 2020-99-99\n", "cannot be read as a task file"),
        ("a: " + "[" * 3_000, "cannot be read as a task file"),
        ("dataset_path: json\n", "task=None: must be the task's name"),
        ("task: 3\n", "task=3: must be the task's name"),
        ("task: x\ndoc_to_text: !function gone.f\n", "names gone.py, which is not beside it"),
        ("include: gone.yaml\n", "names gone.yaml, which is not beside it"),
        (f"task: x\ndataset_kwargs: {{data_files: {'x' * 5_000}.jsonl}}\n", "is not here"),
    ],
)
def test_a_task_file_that_the_harness_would_refuse(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(BadInput) as error:
        task_files.hash_of(Evaluation(lm_eval=str(tmp_path / "task.yaml")))
    assert says in error.value.text


# Commands


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--trial-timeout", "1e-9"], "--trial-timeout 1e-09: a trial of"),
        (["--eval-rows", "99999999999"], "--eval-rows 99999999999: must be at least 1 and at most 1,000,000"),
    ],
)
def test_options_that_no_trial_can_keep_to(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = told(capsys, *words, "--output", tmp_path)  # where nothing has run
    assert line.startswith(f"error: {says}")


def test_rows_of_one_prompt_are_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a", "response": str(i)}) + "\n" for i in range(60)))
    with pytest.raises(
        BadInput, match="all 60 rows have one prompt, and rows of one prompt are never parted; give rows of other"
    ):
        selection.select(Data(source=str(path)), Evaluation(), 0)


def test_columns_are_named_as_their_file_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Instruction,Answer Text\na,b\n")
    (line,) = told(capsys, "--model", "lab:base-0", "--data", path)
    assert "its fields are: Instruction, Answer Text" in line


def test_labels_that_rows_lack_are_told_with_the_way_to_do_without(rows_file: str) -> None:
    with pytest.raises(BadInput, match=r"data\.n_clusters=2: .*--field cluster=COLUMN .*--set data\.n_clusters=none") as error:
        selection.select(Data(source=rows_file, n_clusters=2), Evaluation(), 0)
    assert error.value.field == "data.n_clusters"


def test_cautions_stand_once_and_last() -> None:
    assert describe.in_order(["caution: b", "a", "caution: b", "c", "a"]) == ("a", "c", "caution: b")


# Analysis


def test_a_filter_where_there_is_none_to_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps({"id": i, "score": i % 2}) + "\n" for i in range(9)))
    assert compare.main([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--filter", "nope"]) == 2
    assert "--filter 'nope': only samples of lm-evaluation-harness have filters; leave it out" in capsys.readouterr().err


def test_a_filter_of_samples_is_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps({"doc_id": 1, "filter": 3, "metrics": ["acc"], "acc": 1}) + "\n")
    assert compare.main([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]) == 2
    assert "filter=3: must be a filter's name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not a file but a pipe or a device"),
        ('{"columns": ["prompt"]}', "cannot be read as generations.json or JSONL (KeyError"),
        ('{"prompt": "a", "answer": "\\ud800"}', "half a character"),
    ],
)
def test_answers_that_cannot_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    path = tmp_path / "a.json"
    os.mkfifo(path) if content is None else path.write_text(content)
    assert judge.main([str(path), str(path), "--judge", "http://127.0.0.1:9", "--model", "m"]) == 2
    assert says in capsys.readouterr().err


def test_a_judge_of_no_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"prompt": "a", "answer": "b"}')
    assert judge.main([str(path), str(path), "--judge", "http://[::1", "--model", "m"]) == 2
    assert "--judge: not a URL" in capsys.readouterr().err
