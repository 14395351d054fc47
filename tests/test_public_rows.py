"""Row files as public data sets have them: each goes in with the right turns and the right part to be learned, or is refused in
one line that says what to do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data import kinds, rows
from core.data.rows import Loaded
from core.errors import BadInput

Turns = list[tuple[str, str]]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(*rows: dict) -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()


def said(loaded: Loaded, at: int = 0) -> Turns:
    return [(message["role"][0], message["content"]) for message in loaded.rows[at].messages]


def learned(loaded: Loaded, at: int = 0) -> list[str]:
    return [m["content"] for m in loaded.rows[at].messages if m["role"] == "assistant" and m.get("weight") != 0]


def load(folder: Path, name: str, data: bytes) -> Loaded:
    (folder / name).write_bytes(data)
    return kinds.load("data.source", str(folder / name))


# name of the data set whose form it is → file, content, turns of the first row, what of it is learned, fields not used
GOES_IN: dict[str, tuple[str, Callable[[], bytes], Turns, list[str], set[str]]] = {
    "Dolly": (
        "dolly.jsonl",
        lambda: lines({"instruction": "Who won?", "context": "Ann won.", "response": "Ann.", "category": "closed_qa"}),
        [("u", "Who won?\n\nAnn won."), ("a", "Ann.")], ["Ann."], {"category"},
    ),
    "Alpaca, empty input": (
        "alpaca.json",
        lambda: json.dumps([{"instruction": "Name a colour.", "input": "", "output": "Red.", "text": "Below is …"}], indent=4).encode(),
        [("u", "Name a colour."), ("a", "Red.")], ["Red."], {"text"},
    ),
    "Alpaca, null input": (
        "alpaca.parquet",
        lambda: parquet({"instruction": "Add.", "input": "1 2", "output": "3"}, {"instruction": "Go.", "input": None, "output": "Ok"}),
        [("u", "Add.\n\n1 2"), ("a", "3")], ["3"], set(),
    ),
    "ShareGPT with a system turn and a tool": (
        "sharegpt.json",
        lambda: json.dumps([{"id": "x_0", "conversations": [
            {"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Looking."},
            {"from": "tool", "value": "12"}, {"from": "gpt", "value": "12 it is."}, {"from": "human", "value": "thanks"}]}]).encode(),
        [("s", "Be brief."), ("u", "Hi"), ("a", "Looking."), ("t", "12"), ("a", "12 it is.")], ["Looking.", "12 it is."], {"id"},
    ),
    "SlimOrca, weights of ShareGPT turns": (
        "slimorca.jsonl",
        lambda: lines({"conversations": [
            {"from": "system", "value": "S", "weight": None}, {"from": "human", "value": "Q", "weight": 0.0},
            {"from": "gpt", "value": "shown", "weight": 0.0}, {"from": "human", "value": "R", "weight": 0.0},
            {"from": "gpt", "value": "A", "weight": 1.0}]}),
        [("s", "S"), ("u", "Q"), ("a", "shown"), ("u", "R"), ("a", "A")], ["A"], set(),
    ),
    "OpenAI with tool calls and content parts": (
        "openai.jsonl",
        lambda: lines({"tools": [WEATHER], "messages": [
            {"role": "developer", "content": "Use tools."}, {"role": "user", "content": [{"type": "text", "text": "Bonn?"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
            {"role": "assistant", "content": [{"type": "text", "text": "Sunny."}]}]}),
        [("s", "Use tools."), ("u", "Bonn?"), ("a", ""), ("t", "sun"), ("a", "Sunny.")], ["", "Sunny."], set(),
    ),
    "UltraChat 200k": (
        "ultrachat.parquet",
        lambda: parquet({"prompt": "Q", "prompt_id": "f0", "messages": [
            {"content": "Q", "role": "user"}, {"content": "A", "role": "assistant"}]}),
        [("u", "Q"), ("a", "A")], ["A"], {"prompt", "prompt_id"},
    ),
    "UltraChat, as first published": (
        "ultra.jsonl", lambda: lines({"id": "0", "data": ["Q", "A", "Q2", "A2"]}),
        [("u", "Q"), ("a", "A"), ("u", "Q2"), ("a", "A2")], ["A", "A2"], {"id"},
    ),
    "Open Assistant, flattened": (
        "oasst.jsonl",
        lambda: lines({"conversations": [{"role": "prompter", "text": "Q"}, {"role": "assistant", "text": "A"}], "lang": "en"}),
        [("u", "Q"), ("a", "A")], ["A"], {"lang"},
    ),
    "LIMA": (
        "lima.jsonl", lambda: lines({"conversations": ["Q", "A"], "source": "stackexchange"}, {"conversations": ["Q", "A", "R", "B"]}),
        [("u", "Q"), ("a", "A")], ["A"], {"source"},
    ),
    "FLAN": (
        "flan.jsonl", lambda: lines({"inputs": "Is it so?", "targets": "yes", "task_source": "Flan2021", "template_type": "zs_opt"}),
        [("u", "Is it so?"), ("a", "yes")], ["yes"], {"task_source", "template_type"},
    ),
    "T0": (
        "p3.parquet", lambda: parquet({"inputs_pretokenized": "Q", "targets_pretokenized": "A"}),
        [("u", "Q"), ("a", "A")], ["A"], set(),
    ),
    "Super-NaturalInstructions": (
        "ni.jsonl", lambda: lines({"definition": "Answer.", "inputs": "2+2?", "targets": "4", "task_name": "task1"}),
        [("u", "Answer.\n\n2+2?"), ("a", "4")], ["4"], {"task_name"},
    ),
    "No Robots": (
        "norobots.jsonl",
        lambda: lines({"prompt": "Q", "prompt_id": "1", "category": "Chat", "messages": [
            {"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}),
        [("s", "S"), ("u", "Q"), ("a", "A")], ["A"], {"prompt", "prompt_id", "category"},
    ),
    "OpenHermes 2.5": (
        "openhermes.json",
        lambda: json.dumps([{"system_prompt": None, "category": "orca", "views": None, "weight": None, "conversations": [
            {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}]).encode(),
        [("u", "Q"), ("a", "A")], ["A"], {"category", "views", "weight"},
    ),
    "Tulu 3, gzipped": (
        "tulu.jsonl.gz",
        lambda: gzip.compress(lines({"id": "t", "source": "flan", "messages": [
            {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]})),
        [("u", "Q"), ("a", "A")], ["A"], {"id", "source"},
    ),
    "prompt and response": (
        "pairs.jsonl", lambda: lines({"prompt": "Q", "response": "A", "model": "m"}),
        [("u", "Q"), ("a", "A")], ["A"], {"model"},
    ),
    "OpenOrca": (
        "orca.parquet", lambda: parquet({"id": "niv.1", "system_prompt": "S", "question": "Q", "response": "A"}),
        [("s", "S"), ("u", "Q"), ("a", "A")], ["A"], {"id"},
    ),
    "GSM8K": (
        "gsm8k.jsonl", lambda: lines({"question": "2+2?", "answer": "2+2=<<2+2=4>>4\n#### 4"}),
        [("u", "2+2?"), ("a", "2+2=<<2+2=4>>4\n#### 4")], ["2+2=<<2+2=4>>4\n#### 4"], set(),
    ),
    "MATH, the solution beside its result": (
        "math.jsonl", lambda: lines({"problem": "2+2?", "solution": "It is \\boxed{4}.", "answer": "4", "level": "Level 1"}),
        [("u", "2+2?"), ("a", "It is \\boxed{4}.")], ["It is \\boxed{4}."], {"level"},
    ),
    "LIMO, a question with its solution and what that comes to": (
        "limo.jsonl", lambda: lines({"question": "2+2?", "solution": "It is \\boxed{4}.", "answer": "4"}),
        [("u", "2+2?"), ("a", "It is \\boxed{4}.")], ["It is \\boxed{4}."], set(),
    ),
    "MetaMathQA": (
        "metamath.json", lambda: json.dumps([{"query": "Q", "response": "A", "type": "MATH_AnsAug", "original_question": "Q0"}]).encode(),
        [("u", "Q"), ("a", "A")], ["A"], {"type", "original_question"},
    ),
    "Capybara": (
        "capybara.jsonl", lambda: lines({"source": "s", "conversation": [{"input": "Q", "output": "A"}, {"input": "R", "output": "B"}]}),
        [("u", "Q"), ("a", "A"), ("u", "R"), ("a", "B")], ["A", "B"], {"source"},
    ),
    "LMSYS Chat": (
        "lmsys.parquet", lambda: parquet({"conversation_id": "c", "turn": 1, "conversation": [
            {"content": "Q", "role": "user"}, {"content": "A", "role": "assistant"}]}),
        [("u", "Q"), ("a", "A")], ["A"], {"conversation_id", "turn"},
    ),
    "a table from a spreadsheet, with a mark at its beginning": (
        "rows.csv", lambda: b"\xef\xbb\xbf" + b'instruction,input,output\r\n"Say ""hi"",\r\ntwice",,"hi, hi"\r\n',
        [("u", 'Say "hi",\r\ntwice'), ("a", "hi, hi")], ["hi, hi"], set(),
    ),
    "columns with capitals and spaces": (
        "caps.csv", lambda: b"Instruction , Context,Response,Source Task\nQ,,A,x\n",
        [("u", "Q"), ("a", "A")], ["A"], {"Source Task"},
    ),
    "turns as JSON text in a table": (
        "nested.tsv", lambda: b'messages\tid\n"[{""role"": ""user"", ""content"": ""Q""}, {""role"": ""assistant"", ""content"": ""A""}]"\t1\n',
        [("u", "Q"), ("a", "A")], ["A"], {"id"},
    ),
    "lists of structures with all that a column fills in": (
        "structs.parquet",
        lambda: parquet({"conversations": [
            {"from": "human", "value": "Q", "tool_calls": None, "weight": None},
            {"from": "gpt", "value": "A", "tool_calls": None, "weight": 1}], "tools": None, "images": None}),
        [("u", "Q"), ("a", "A")], ["A"], {"images"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOES_IN)
def test_it_goes_in(name: str, tmp_path: Path) -> None:
    file, content, turns, answers, unused = GOES_IN[name]
    loaded = load(tmp_path, file, content())
    assert said(loaded) == turns
    assert learned(loaded) == answers
    assert set(loaded.unused) == unused
    assert (loaded.n_empty, loaded.n_bad) == (0, 0)


# columns, which of them are named → question, what is learned, final answers, columns not used
NAMED: dict[str, tuple[dict[str, Any], dict[str, str], str, str, tuple[str, ...], set[str]]] = {
    "OpenMathInstruct": (
        {"question": "Q", "generated_solution": "so 18", "expected_answer": "18"},
        {"response": "generated_solution", "answer": "expected_answer"}, "Q", "so 18", ("18",), set()),
    "a final answer beside a response": (
        {"question": "Q", "response": "so 18", "final": 18.0}, {"answer": "final"}, "Q", "so 18", ("18",), set()),
    "a final answer alone": ({"question": "Q", "final": "18"}, {"answer": "final"}, "Q", "18", ("18",), set()),
    "no final answer in this row": (
        {"question": "Q", "solution": "R", "answer": float("nan")}, {"task": "t"}, "Q", "R", (), set()),
    "an answer, and a column called as responses are": (
        {"question": "Q", "answer": "long #### 4", "target": "4", "assistant": "claude-2"}, {}, "Q", "long #### 4",
        ("long #### 4",), {"target", "assistant"}),
    "another response than Alpaca's": (
        {"instruction": "I", "input": "more", "output": "O", "better": "B"}, {"response": "better"}, "I\n\nmore", "B", (), {"output"}),
    "another response than Dolly's": (
        {"instruction": "I", "context": "more", "response": "R", "better": "B"}, {"response": "better"}, "I\n\nmore", "B", (), {"response"}),
    "another prompt than Alpaca's": (
        {"instruction": "I", "input": "more", "output": "O", "frage": "F"}, {"prompt": "frage"}, "F\n\nmore", "O", (), {"instruction"}),
    "one of two prompts": (
        {"Input": "I", "frage": "F", "output": "O"}, {"prompt": "frage"}, "F", "O", (), {"Input"}),
    "a prompt that was known": ({"instruction": "I", "input": "x", "output": "O"}, {"prompt": "instruction"}, "I\n\nx", "O", (), set()),
    "a response that was known": ({"Instruction": "I", "Output": "O", "response": "R"}, {"response": "Output"}, "I", "O", (), {"response"}),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_column_that_is_named_is_taken_and_those_it_is_taken_for_are_told(name: str) -> None:
    raw, fields, asked, taught, answers, unused = NAMED[name]
    loaded = rows.build([("row 1", raw)], "rows", fields=fields)
    assert said(loaded) == [("u", asked), ("a", taught)]
    assert loaded.rows[0].solutions == answers
    assert set(loaded.unused) == unused


ROW = {"instruction": "Q", "output": "A"}
REFUSED: dict[str, tuple[str, Callable[[], bytes], tuple[str, ...]]] = {
    "HH-RLHF": ("hh.jsonl", lambda: lines({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "…"}), ("a preference", "--field")),
    "UltraFeedback": (
        "uf.jsonl", lambda: lines({"prompt": "Q", "chosen": [{"role": "user", "content": "Q"}], "rejected": []}),
        ("a preference", "--field messages=chosen"),
    ),
    "Guanaco": ("g.jsonl", lambda: lines({"text": "### Human: Q### Assistant: A"}), ("one text", "a prompt and a response")),
    "Open Assistant, one message a row": (
        "oasst.jsonl", lambda: lines({"message_id": "1", "parent_id": None, "text": "Q", "role": "prompter"}),
        ("one turn of a conversation", "'messages'"),
    ),
    "MMLU": (
        "mmlu.jsonl", lambda: lines({"question": "Q", "choices": ["a", "b"], "answer": 1}),
        ("multiple choice", "evaluation.choices=FILE"),
    ),
    "two prompts": ("two.jsonl", lambda: lines({"question": "Q", "prompt": "P", "response": "A"}), ("--field prompt=COLUMN",)),
    "two responses": ("two.jsonl", lambda: lines({"prompt": "Q", "response": "A", "solution": "B"}), ("--field response=COLUMN",)),
    "columns of its own": ("own.csv", lambda: b"ask,say\nQ,A\n", ("ask, say", "--field prompt=COLUMN --field response=COLUMN")),
    "Python's own lists in a table": (
        "repr.csv", lambda: b"messages\n\"[{'role': 'user', 'content': 'Q'}]\"\n", ("no JSON", "save it as jsonl"),
    ),
    "a null answer": ("null.jsonl", lambda: lines({"prompt": "Q", "response": None}), ("'response' must be text, not null",)),
    "LIMA's test rows": ("lima.jsonl", lambda: lines({"conversations": ["Q"]}), ("without a response",)),
    "a file that was not fetched": (
        "lfs.parquet",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
        b"size 12345\n",
        ("Git LFS pointer", "git lfs pull"),
    ),
    "a file that was not fetched, under the name of a gzipped one": (
        "lfs.jsonl.gz", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ("Git LFS pointer",),
    ),
    "a page in the place of the file": (
        "page.json", lambda: b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", ("HTML page", "/resolve/"),
    ),
    "a page as a table": ("page.csv", lambda: b"<html>\n<head>\n", ("HTML page",)),
    "an error of a storage": ("error.jsonl", lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ("XML",)),
    "gzipped twice": ("twice.jsonl.gz", lambda: gzip.compress(gzip.compress(lines(ROW))), ("gzipped twice", "unpack it once")),
    "gzipped without saying so": ("hidden.jsonl", lambda: gzip.compress(lines(ROW)), ("rename it to hidden.jsonl.gz",)),
    "Parquet under another name": ("table.jsonl", lambda: parquet(ROW), ("rename it to table.parquet",)),
    "a zip archive": ("rows.csv", lambda: b"PK\x03\x04" + b"\0" * 99, ("zip archive", "unpack it")),
    "two commas": ("list.json", lambda: b'[{"instruction": "Q", "output": "A"},\n, {"instruction": "R", "output": "A"}]', ("line 2", "two commas")),
    "a comma first": ("list.json", lambda: b'[, {"instruction": "Q", "output": "A"}]', ("line 1", "comma before the first row")),
    "a comma last": ("list.json", lambda: b'[{"instruction": "Q", "output": "A"},\n]', ("comma after the last row",)),
    "no comma": ("list.json", lambda: b'[{"instruction": "Q", "output": "A"}\n{"instruction": "R", "output": "A"}]', ("line 2", "no comma")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    file, content, says = REFUSED[name]
    with pytest.raises(BadInput) as error:
        load(tmp_path, file, content())
    text = str(error.value)
    assert text.startswith(f"data.source={tmp_path / file}")
    assert "\n" not in text
    assert [word for word in says if word not in text] == [], text
