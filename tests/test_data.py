"""Sources, shapes, selection: every shape reads, every bad row is named with its line, subsets nest, splits are disjoint."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from core.data import kinds, rows, selection, sources
from core.data.conversation import to_messages
from core.data.shapes import SHAPES
from core.errors import BadInput
from core.settings import Data, Evaluation

EXAMPLES = {
    "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "prompt/completion": {"prompt": "q", "completion": "a"},
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "dolly": {"instruction": "q", "context": "", "response": "a", "category": "x"},
    "question/answer": {"question": "q", "answer": "a"},
    "pretokenized": {"inputs_pretokenized": "q", "targets_pretokenized": "a", "inputs": [1], "targets": [2]},
    "inputs/targets": {"inputs": "q", "targets": "a"},
    **{name: {name: ["q", "a"]} for name in ("conversation", "dialog", "dialogue", "items", "data")},
}
PAIR = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def test_every_shape_reads() -> None:
    assert set(EXAMPLES) == set(SHAPES)
    for name, raw in EXAMPLES.items():
        assert to_messages(raw, "here")[:2] == (PAIR, name)


def test_context_history_and_roles() -> None:
    assert to_messages({"instruction": "q", "input": "c", "output": "a"}, "")[0][0]["content"] == "q\n\nc"
    assert to_messages({"instruction": "q", "context": "c", "response": "a"}, "")[0][0]["content"] == "q\n\nc"
    lima = to_messages({"instruction": "q2", "output": "a2", "history": [["q", "a"]]}, "")[0]
    assert lima == [*PAIR, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]
    trailing = {"messages": [*PAIR, {"role": "user", "content": "unanswered"}]}
    assert to_messages(trailing, "")[0] == PAIR
    conversational = {"prompt": PAIR[:1], "completion": PAIR[1:]}
    assert to_messages(conversational, "")[0] == PAIR


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"instruction": "q", "input": ""}, "without a response"),
        ({"messages": PAIR[:1]}, "without a response"),
        ({"instruction": "q", "output": None}, "'output' must be text"),
        ({"instruction": "q", "output": 3}, "'output' must be text, not int"),
        ({"instruction": ["q"], "output": "a"}, "'instruction' must be text"),
        ({"prompt": "q"}, "without a response"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "alien"),
        ({"messages": "hello"}, "list of turns"),
        ({"instruction": "q", "output": "a", "history": [["only one"]]}, "history"),
        ({"text": "no shape"}, "one text"),
        ({"body": "no shape"}, "no known shape"),
        (["a", "list"], "must be an object"),
    ],
)
def test_bad_rows_say_where_and_why(raw: object, says: str) -> None:
    with pytest.raises(BadInput, match="file: line 7: ") as error:
        to_messages(raw, "file: line 7")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def write(path: Path, raws: list[dict]) -> str:
    """The rows in the format that the path's ending names."""
    if ".jsonl" in path.name:
        data = "".join(json.dumps(raw) + "\n" for raw in raws).encode()
    elif ".json" in path.name:
        data = json.dumps(raws, indent=1).encode()
    elif ".csv" in path.name:
        data = ("instruction,output\r\n" + "".join(f'"{r["instruction"]}","{r["output"]}"\r\n' for r in raws)).encode()
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(raws), path)
        return str(path)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


RAWS = [{"instruction": f"line one,\nline two {i}", "output": f"answer {i}"} for i in range(5)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.csv", "a.parquet"])
def test_every_file_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    loaded = kinds.load("data.source", write(tmp_path / name, RAWS))
    assert [row.messages[0]["content"] for row in loaded.rows] == [raw["instruction"] for raw in RAWS]
    assert rows.rows_hash(loaded.rows) == rows.rows_hash(kinds.load("data.source", write(tmp_path / "b.jsonl", RAWS)).rows)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", '{"instruction": "q", "output": "a"}\n\n{"instruction": "q"', "line 3: not JSON"),
        ("a.jsonl", '{"instruction": "q", "output": "a"}\n{"instruction": "q"}\n', "line 2: row without a response"),
        ("a.json", '[\n{"instruction": "q", "output": "a"},\n{"instruction": "q"}]', "line 3: row without a response"),
        ("a.json", '[\n{"instruction": "q", "output": "a"},\n{"instruction" "q"}]', "line 3: not JSON"),
        ("a.csv", "instruction,output\nq,a\nq,a,b\n", "line 3: more fields"),
        ("a.csv", "instruction,reply\nq,a\n", "line 2: row without a response"),
        ("a.parquet", "not parquet", "not a Parquet file"),
        ("a.jsonl.gz", "not gzip", "not a whole gzip file"),
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", "\n\n", "no row with a response"),
        ("a.jsonl", '{"instruction": "q", "output": "  "}\n', "no row with a response (1 with an empty one)"),
        ("a.text", "x", "unknown ending"),
    ],
)
def test_bad_files_are_refused_with_their_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        kinds.load("data.source", str(path))
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        kinds.load("data.source", str(tmp_path / "none.jsonl"))
    with pytest.raises(BadInput, match="is not a file"):
        kinds.load("data.source", str(tmp_path))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert len(kinds.load("data.source", write(path, RAWS)).rows) == 5
    assert len(kinds.load("data.source", write(path, RAWS[:2])).rows) == 2


def test_a_configuration_of_a_hub_data_set_is_named_by_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As GSM8K has them; a folder stands for the hub."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    files = "".join(f"\n  - split: {split}\n    path: {split}.jsonl" for split in ("train", "test"))
    texts = "".join(f"\n- config_name: {name}\n  data_files:{files}" for name in ("main", "socratic"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:{texts}\n---\n")
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"question": split, "answer": "1"}) + "\n")
    found = list(sources.read_hub("data.source", f"{tmp_path}:main:test"))
    assert found == [("row 1", {"question": "test", "answer": "1"})]
    with pytest.raises(BadInput, match=r"name one as owner/name:CONFIG:SPLIT \(.*'main', 'socratic'"):
        list(sources.read_hub("data.source", str(tmp_path)))


def test_subsets_nest_whatever_the_size_and_differ_by_seed() -> None:
    many = [rows.Row(str(i), ({"role": "user", "content": f"q{i}"},)) for i in range(1_000)]

    def ids(n: int | None, seed: int) -> list[str]:
        return [row.id for row in selection.nested_subset(many, n, seed)]

    assert set(ids(250, 3)) < set(ids(500, 3)) < set(ids(None, 3))
    assert ids(500, 3)[:250] == ids(250, 3)
    assert [row.id for row in selection.nested_subset(reversed(many), 250, 3)] == ids(250, 3)
    assert set(ids(250, 4)) != set(ids(250, 3))


def test_no_prompt_is_in_two_of_training_validation_and_test(tmp_path: Path) -> None:
    raws = [{"instruction": f"Question  {i % 300}", "output": f"a{i}"} for i in range(600)]  # every prompt twice
    data = Data(source=write(tmp_path / "a.jsonl", raws), n_examples=None, eval_share=0.3)
    parts = {split: selection.select(data, Evaluation(split=split), seed=0) for split in ("validation", "test")}
    validation, test = ({row.prompt for row in parts[split].evaluation} for split in ("validation", "test"))
    train = {row.prompt for row in parts["test"].train}
    assert validation
    assert test
    assert validation.isdisjoint(test)
    assert train.isdisjoint(validation | test)
    assert len(validation | test | train) == 300
    assert parts["test"].train == parts["validation"].train


def test_training_rows_that_are_evaluated_are_left_out_and_counted(tmp_path: Path) -> None:
    data = Data(
        source=write(tmp_path / "a.jsonl", [{"instruction": f"q{i}", "output": "a"} for i in range(30)]),
        eval_source=write(tmp_path / "e.jsonl", [{"instruction": f"Q{i}", "output": "b"} for i in range(20, 40)]),
    )
    found = selection.select(data, Evaluation(), seed=0)
    assert len(found.train) == 20
    assert found.n_in_evaluation == 10


@pytest.mark.parametrize(
    ("theirs", "n"),
    [
        ({"cluster": "math"}, 10),
        ({"cluster": "code", "task": "add"}, 0),  # the cluster is another one: the task's name does not matter
        ({"task": "add"}, 10),
        ({"task": "sort"}, 0),
        ({}, None),
    ],
)
def test_evaluation_rows_of_what_is_trained_on_are_counted(theirs: dict[str, str], n: int | None, tmp_path: Path) -> None:
    ours = {"cluster": "math", "task": "add"}
    data = Data(
        source=write(tmp_path / "a.jsonl", [{"instruction": f"q{i}", "output": "a", **ours} for i in range(30)]),
        eval_source=write(tmp_path / "e.jsonl", [{"instruction": f"Q{i}", "output": "b", **theirs} for i in range(50, 70)]),
    )
    found = [selection.select(data, Evaluation(split=split), seed=0).n_of_trained_tasks for split in ("validation", "test")]
    assert found == [None, None] if n is None else sum(filter(None, found)) == 2 * n


def test_evaluation_rows_that_are_phrased_as_those_trained_on_are_counted(tmp_path: Path) -> None:
    def rows(name: str, n: int, **labels: str) -> str:
        return write(tmp_path / name, [{"instruction": f"{name} {i}", "output": "a", **labels} for i in range(n)])

    source = rows("a.jsonl", 30, template="What is {}?")
    for template, share in (("What is {}?", 1), ("Tell me {}.", 0), ("", None)):
        data = Data(source=source, eval_source=rows("e.jsonl", 20, **({"template": template} if template else {})))
        found = selection.select(data, Evaluation(), seed=0)
        assert found.n_of_trained_templates == (None if share is None else share * len(found.evaluation))


def test_too_few_rows_to_evaluate_is_bad_input(tmp_path: Path) -> None:
    data = Data(source=write(tmp_path / "a.jsonl", RAWS[:1]))
    with pytest.raises(BadInput, match="eval_share"):
        selection.select(data, Evaluation(), seed=0)


def test_the_laboratory_reads_and_unknown_sources_are_named() -> None:
    found = selection.select(Data(n_examples=10), Evaluation(), seed=0)
    assert len(found.train) == 10
    assert found.evaluation == ()
    with pytest.raises(BadInput, match="lab:curated"):
        kinds.load("data.source", "lab:curatet")


def test_real_files(shared: Path) -> None:
    instruct = shared / "data" / "instruct"
    alpaca = kinds.load("data.source", str(instruct / "alpaca_partial.jsonl.gz"))
    assert (len(alpaca.rows), alpaca.n_empty, alpaca.shapes) == (23_403, 13, ("alpaca",))
    lima = kinds.load("data.source", str(instruct / "lima.jsonl.gz"))
    assert sum(len(row.messages) > 2 for row in lima.rows) == 29
    assert kinds.load("data.source", str(instruct / "databricks-dolly-15k.jsonl.gz")).shapes == ("dolly",)
    with pytest.raises(BadInput, match="line 1: row without a response"):
        kinds.load("data.source", str(instruct / "self_instruct_seed_tasks.jsonl.gz"))


def test_selection_does_not_depend_on_the_evaluation_of_other_fields() -> None:
    data = Data(n_examples=20)
    other = dataclasses.replace(data, eval_share=0.5)
    assert selection.select(data, Evaluation(), 1).train == selection.select(other, Evaluation(items_per_task=3), 1).train


@pytest.mark.parametrize("source", ["lab:curated", "lab:new-facts", "lab:composed-traces"])
def test_rows_of_the_laboratory_are_made_as_others_are_built(source: str) -> None:
    from core.data.rows import build, made
    from core.lab import instruct

    raws = instruct.training_rows(source, 1)[:500]
    assert made(raws).rows == build(((f"row {i}", raw) for i, raw in enumerate(raws, 1)), source).rows
