"""Rows as people have them: every field is used, told or refused by name; every damaged file is one line or is skipped."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import experiments
from core import preflight
from core.data import files, kinds, selection, sources
from core.data.conversation import to_messages
from core.data.kinds import Pool
from core.data.rows import build, identity
from core.errors import BadInput
from core.settings import Data, Evaluation
from sweeps import overrides

ASK, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
GOOD = {"instruction": "q", "output": "a"}

# What is used


@pytest.mark.parametrize(
    "raw",
    [
        {"instruction": "q", "input": "", "output": "a"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [ASK, ANSWER]},
        {"prompt": "q", "completion": "a"},
        {"prompt": [ASK], "completion": [ANSWER]},
        {"instruction": "q", "context": "", "response": "a"},
        {"messages": [ASK, ANSWER]},
    ],
)
@pytest.mark.parametrize("column", ["system", "system_prompt", "system_message"])
def test_a_system_column_becomes_the_system_turn(raw: dict, column: str) -> None:
    assert to_messages({**raw, column: "Be brief."}, "")[0] == [SYSTEM, ASK, ANSWER]
    for nothing in (None, "", "  "):
        assert to_messages({**raw, column: nothing}, "")[0] == [ASK, ANSWER]


def test_two_system_prompts_must_agree() -> None:
    own = {"messages": [SYSTEM, ASK, ANSWER]}
    assert to_messages({**own, "system": "Be brief."}, "")[0] == [SYSTEM, ASK, ANSWER]
    with pytest.raises(BadInput, match=r"line 1: field 'system' and a system turn give two system prompts; keep one"):
        to_messages({**own, "system": "Be long."}, "line 1")
    with pytest.raises(BadInput, match="two system prompts"):
        to_messages({**GOOD, "system": "a", "system_prompt": "b"}, "line 1")


def test_turns_keep_what_templates_read() -> None:
    said = [
        {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief.", "image_url": None}]},
        {**ASK, "name": "Ann", "tool_calls": None, "weight": None},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "sum"},
        {"role": "tool", "content": "1", "tool_call_id": "7"},
        {"role": "assistant", "content": "bad", "weight": 0},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": "good", "weight": 1, "reasoning_content": None},
        {"role": "user", "content": "unanswered"},
    ]
    found = build([("line 1", {"messages": said, "tools": json.dumps([TOOL])})], "f").rows[0]
    assert found.messages == (
        SYSTEM,
        {**ASK, "name": "Ann"},
        {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "sum"},
        {"role": "tool", "content": "1", "tool_call_id": "7"},
        {"role": "assistant", "content": "bad", "weight": 0},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": "good"},
    )
    assert found.tools == (TOOL,)


def test_what_a_row_says_beside_its_text_is_part_of_its_id() -> None:
    plain = [ASK, ANSWER]
    ids = {
        identity(plain),
        identity([ASK, {**ANSWER, "reasoning_content": "r"}]),
        identity([ASK, {**ANSWER, "weight": 0}]),
        identity([ASK, {**ANSWER, "tool_calls": [CALL]}]),
        identity(plain, (TOOL,)),
    }
    assert len(ids) == 5


def test_answers_that_are_not_learned_teach_nothing() -> None:
    last = [ASK, ANSWER, {"role": "user", "content": "z"}, {"role": "assistant", "content": "bad", "weight": 0}]
    assert to_messages({"messages": last}, "")[0] == [ASK, ANSWER]
    with pytest.raises(BadInput, match="every answer of 'messages' has weight 0"):
        to_messages({"messages": [ASK, {**ANSWER, "weight": 0}]}, "line 1")
    prompt = [ASK, {"role": "assistant", "content": "shown"}, {"role": "user", "content": "z"}]
    learned = to_messages({"prompt": prompt, "completion": [ANSWER]}, "")[0]
    assert [m.get("weight", 1) for m in learned if m["role"] == "assistant"] == [0, 1]  # TRL: the completion is in the loss


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({"messages": [ASK, {**ANSWER, "thinking": "hm"}]}, "thinking"),
        ({"messages": [ASK, {**ANSWER, "function_call": {"name": "f"}}]}, "function_call"),
        ({"messages": [ASK, {**ANSWER, "train": False}]}, "train"),
        ({"messages": [ASK, {**ANSWER, "weight": 0.5}]}, "weight=0.5"),
        ({"messages": [ASK, {**ANSWER, "weight": "0"}]}, "weight=0"),
        ({"messages": [{**ASK, "tool_calls": [CALL]}, ANSWER]}, "tool_calls"),
        ({"messages": [ASK, {**ANSWER, "tool_calls": [{"id": 1}]}]}, "tool_calls"),
        ({"messages": [ASK, {**ANSWER, "tool_calls": "no json"}]}, "tool_calls"),
        ({"messages": [ASK, {"role": "assistant", "content": None}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, ANSWER]}, "'image'"),
        ({"messages": [{"role": "user", "content": ["q"]}, ANSWER]}, "content"),
        ({"messages": [{"role": ["user"], "content": "q"}, ANSWER]}, "role"),
        ({"messages": [ASK, {"role": "function", "content": "1"}, ANSWER]}, "function"),
        ({**GOOD, "images": ["x.png"]}, "images"),
        ({**GOOD, "functions": [TOOL]}, "functions"),
        ({**GOOD, "tools": [1]}, "tools"),
        ({**GOOD, "tools": "{"}, "tools"),
        ({**GOOD, "chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        ({**GOOD, "weight": 0}, "weight"),
        ({**GOOD, "reasoning_content": "because"}, "reasoning_content"),
        ({**GOOD, "context": "needed"}, "context"),
        ({"prompt": "q", "completion": "a", "label": False}, "label"),
        ({"prompt": "q", "completion": "a", "history": [["x", "y"]]}, "history"),
        ({**GOOD, "system": ["x"]}, "system"),
    ],
)
def test_what_is_not_used_and_matters_is_refused_by_name(raw: dict, names: str) -> None:
    with pytest.raises(BadInput, match="f: line 3: ") as error:
        build([("line 3", raw)], "f")
    assert names in str(error.value)
    assert "\n" not in str(error.value)
    assert "--skip-bad-rows" in str(error.value)


def test_other_fields_are_told() -> None:
    raws = [{**GOOD, "id": 1, "category": "x", "score": 2.0, "task": "t", "weight": 1, "images": []}, {**GOOD, "lang": "de"}]
    loaded = build([("", raw) for raw in raws], "f")
    assert set(loaded.unused) == {"id", "category", "lang", "weight", "images"}


# What is damaged

ROWS = [{"instruction": f"question {i}", "output": f"answer {i}"} for i in range(40)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
PLACED = '{"instruction": "x", "output": "y", "m": %s}'


def load(path: Path, data: bytes, skip_bad: bool = False) -> Any:
    path.write_bytes(data)
    return kinds.load("data.source", str(path), Pool(skip_bad=skip_bad))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (json.dumps({"instruction": "cut \ud83d", "output": "a"}).encode(), r"half a character \(U\+D83D at character 5\)"),
        (json.dumps({"instruction": "q", "output": "cut \udc00"}).encode(), "half a character"),
        (json.dumps({**GOOD, "task": "\ud83d"}).encode(), "half a character"),
        (json.dumps({**GOOD, "tools": [{"name": "\ud83d"}]}).encode(), "half a character"),
        ((PLACED % ("[" * 50_000 + "]" * 50_000)).encode(), "nested too deeply"),
        ((PLACED % ("9" * 5_000)).encode(), "more digits"),
        (b'{"instruction": "q", "output": NaN}', "'output' must be text, not float"),
        (b'{"instruction": "q", "output": 1e999}', "'output' must be text, not float"),
        (b'{"instruction": "caf\xe9", "output": "a"}', "not UTF-8 text .byte 0xe9."),
        (b"\0\0\0\0", "not JSON"),
        (b"null", "must be an object"),
        (b"7", "must be an object"),
        (b"[]", "must be an object"),
        (b'{"instruction": "q"', "not JSON"),
        (b"{}", r"fields \(none\)"),
    ],
)
def test_a_bad_line_is_named_or_skipped_and_counted(line: bytes, says: str, tmp_path: Path) -> None:
    data = LINES.encode() + line + b"\n" + LINES.replace("question", "other").encode()
    with pytest.raises(BadInput, match=f"data.source=.*a.jsonl: line 41: .*{says}.*--skip-bad-rows") as error:
        load(tmp_path / "a.jsonl", data)
    assert error.value.field == "data.source"
    loaded = load(tmp_path / "a.jsonl", data, skip_bad=True)
    assert (len(loaded.rows), loaded.n_bad) == (80, 1)
    with pytest.raises(BadInput, match="nor is any other row right"):
        load(tmp_path / "a.jsonl", line + b"\n", skip_bad=True)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", LINES.encode("utf-16"), "UTF-16 or UTF-32 text; save it as UTF-8"),
        ("a.jsonl", LINES.encode("utf-16-le"), "UTF-16 or UTF-32"),
        ("a.csv", "instruction,output\nq,a\n".encode("utf-32"), "UTF-16 or UTF-32"),
        ("a.json", b"[" + b"[" * 50_000, "line 1: nested too deeply"),
        ("a.json", b'[{"a": ' + b"9" * 5_000 + b"}]", "line 1: has a number of more digits"),
        (
            "a.json",
            b'[{"instruction": "q", "output": "a"}]\n[{"instruction": "q2", "output": "a"}]',
            "follows the end of the list",
        ),
        (
            "a.json",
            b'{\n "rows": [{"instruction": "q", "output": "a"}]\n}',
            "is one JSON object (fields: rows), not a list of rows",
        ),
        ("a.json", b'[{"instruction": "q", "output": "a"}', "line 1: not JSON"),
        ("a.json", b"[]", "has no row"),
        ("a.json", b'["q"]', "must be an object with fields, not str"),
        ("a.json", b'[{"instruction": "caf\xe9"}]', "line 1: not UTF-8"),
        ("a.csv", b'instruction,output\nq,"a\nq2,a2\n', "line 2: not CSV"),
        ("a.csv", b'instruction,output\n"q"x,a\n', "not CSV"),
        ("a.csv", b"instruction,output,output\nq,a,b\n", "two columns are called 'output'"),
        ("a.csv", b"instruction,output\nq\n", "line 2: fewer fields"),
        ("a.csv", b"instruction;output\nq;a\n", "of no known shape"),
        ("a.csv", b"instruction,output\n", "has no row"),
        ("a.tsv", b"\n\n", "has no row"),
        ("a.txt", LINES.encode(), "unknown ending '.txt'"),
        ("a", LINES.encode(), "unknown ending ''"),
        ("a.jsonl.zst", LINES.encode(), "unknown ending '.zst'"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-12], "not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(random.Random(0).randbytes(50_000), mtime=0)[:100] + b"x" * 500, "not a whole gzip file"),
        ("a.jsonl.gz", LINES.encode(), "not a whole gzip file"),
        ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "not a Parquet file"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), "not a Parquet file"),
        ("a.parquet", LINES.encode(), "not a Parquet file"),
    ],
)
def test_a_damaged_file_is_one_line(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        load(tmp_path / name, data)
    assert f"data.source={tmp_path / name}" in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.field == "data.source"


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "UNPACKED_BYTES", 1 << 20)
    with pytest.raises(BadInput, match="bytes unpack to more than 1 MiB; unpack it if that is right"):
        load(tmp_path / "a.jsonl.gz", gzip.compress(b" " * (4 << 20)))
    assert len(load(tmp_path / "a.jsonl.gz", gzip.compress(LINES.encode())).rows) == 40


def test_more_than_the_memory_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.truncate(100 << 30)  # sparse: takes no room
    with pytest.raises(BadInput, match="has 100 GiB"):
        kinds.load("data.source", str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet_is_read_with_all_that_its_columns_fill_in(name: str, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    raws = [
        {"messages": [ASK, {**ANSWER, "tool_calls": [CALL]}], "tools": [TOOL], "images": None},
        {"messages": [ASK, ANSWER], "tools": None, "images": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(raws), tmp_path / "b.parquet")
    data = (tmp_path / "b.parquet").read_bytes()
    loaded = load(tmp_path / name, gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    assert [row.messages[-1].get("tool_calls") for row in loaded.rows] == [[CALL], None]
    assert [row.tools is None for row in loaded.rows] == [False, True]


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pipe.jsonl", "loop.jsonl", "folder.jsonl", "none.jsonl", "x" * 5_000 + ".jsonl", "a\0b.jsonl"):
        with pytest.raises(BadInput, match=r"^data.source=") as error:
            kinds.load("data.source", str(tmp_path / name))
        assert len(str(error.value)) < 6_000
    for source in ("/dev/zero", "/proc/self/mem", "~nobody-of-this-name/a.jsonl", "/"):
        with pytest.raises(BadInput, match=r"^data.source="):
            kinds.load("data.source", source)
        with pytest.raises(BadInput, match=r"^evaluation.base_text="):
            files.read_text("evaluation.base_text", source)
    assert not sources.is_file("x" * 5_000)


@pytest.mark.parametrize("value", ["~nobody-of-this-name/a.jsonl", "x" * 5_000 + ".jsonl", "a\0b.jsonl"])
def test_what_cannot_be_a_path_is_refused_as_an_option_too(value: str) -> None:
    with pytest.raises(BadInput, match=r"^data.source="):
        preflight.inspect(overrides.with_input(experiments.load("learning_rate"), "--data", value).base)


def test_a_path_whose_bytes_are_no_utf8_can_be_read_and_hashed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl"))
    load(path, LINES.encode())
    assert len(kinds.kind_of(str(path)).content_hash("data.source", str(path))) == 16


@pytest.mark.parametrize("data", [LINES.encode(), json.dumps(ROWS).encode(), json.dumps(ROWS, indent=1).encode()])
def test_rows_are_no_base_text(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(BadInput, match=r"evaluation.base_text=.*: holds JSON rows; give their text alone"):
        files.read_text("evaluation.base_text", str(tmp_path / "t.txt"))
    (tmp_path / "t.txt").write_text("[1] {as} a text may begin\n" * 9)
    assert files.read_text("evaluation.base_text", str(tmp_path / "t.txt")).text.startswith("[1]")


def test_skipped_rows_are_counted_in_both_sources(tmp_path: Path) -> None:
    for name, word in (("a.jsonl", "question"), ("e.jsonl", "asked")):
        (tmp_path / name).write_text(LINES.replace("question", word) + "{}\n")
    data = Data(source=str(tmp_path / "a.jsonl"), eval_source=str(tmp_path / "e.jsonl"), skip_bad_rows=True)
    assert selection.select(data, Evaluation(), 0).n_bad == 2


# Anything

TEXT = some.text(some.characters(codec=None), max_size=20) | some.sampled_from(
    ["q", "\ud83d", "\0", "\u200b", "assistant", "text"]
)
LEAVES = some.none() | some.booleans() | some.integers() | some.floats() | TEXT | some.just(10**400)
NAMES = some.sampled_from(
    [
        *(
            "messages",
            "conversations",
            "prompt",
            "completion",
            "instruction",
            "output",
            "input",
            "response",
            "context",
            "history",
        ),
        *("role", "content", "from", "value", "weight", "tools", "tool_calls", "name", "type", "text", "system", "task"),
    ]
)
VALUES = some.recursive(
    LEAVES | some.just(ASK) | some.just(ANSWER),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES | TEXT, inner, max_size=5),
    max_leaves=25,
)
RAWS = some.lists(some.dictionaries(NAMES, VALUES, max_size=6) | VALUES, max_size=4)
QUICK = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


def check_line(error: BadInput, begins: str) -> None:
    assert "\n" not in str(error)
    assert str(error).startswith(begins)


@QUICK
@given(RAWS)
def test_any_rows_load_or_are_bad_input(raws: list) -> None:
    for skip_bad in (False, True):
        try:
            loaded = build([(f"line {i}", raw) for i, raw in enumerate([*raws, GOOD], 1)], "f", skip_bad)
        except BadInput as error:
            check_line(error, "f: line ")
            continue
        for row in loaded.rows:
            assert row.id
            assert row.answers
            assert row.prompt is not None
            json.dumps([row.messages, row.tools]).encode()
        assert len(loaded.rows) + loaded.n_empty + loaded.n_bad == len(raws) + 1


ENDINGS = some.sampled_from([*sources.READERS, *(f"{ending}.gz" for ending in sources.READERS)])
DAMAGE = some.lists(some.tuples(some.integers(0, 10_000), some.binary(max_size=4)), max_size=3)


@QUICK
@given(ending=ENDINGS, raws=RAWS, damage=DAMAGE, cut=some.integers(0, 200), packed=some.booleans())
def test_any_file_loads_or_is_bad_input(
    ending: str, raws: list, damage: list, cut: int, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    whole = "".join(json.dumps(raw) + "\n" for raw in raws) if "jsonl" in ending else json.dumps(raws)
    data = bytearray(whole.encode())
    for at, new in damage:
        data[at % (len(data) + 1) : at % (len(data) + 1) + len(new)] = new
    data = data[: len(data) - cut] if cut < len(data) // 2 else data
    written = gzip.compress(bytes(data), mtime=0) if ending.endswith(".gz") and packed else bytes(data)
    path.write_bytes(written)
    try:
        kinds.load("data.source", str(path), Pool(skip_bad=cut % 2 == 0))
    except BadInput as error:
        check_line(error, "data.source=")
