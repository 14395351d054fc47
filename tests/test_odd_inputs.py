"""Rows and templates that are odd or far too large: refused in one line, or read in seconds and rightly."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import UNMARKED, make_tokenizer

from core import preflight, spans, tracking
from core.data import encode, kinds
from core.data.rows import Row, identity
from core.errors import BadInput
from core.fields import parse_value, replace_field
from core.result import Result
from core.settings import Data, Model, Trial
from sweeps import ledger


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"instruction": "x", "output": "y", "output": "z"}\n'),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "content": "b"}]}\n'),
        ("a.json", '[{"instruction": "x", "output": "y", "output": "z"}]'),
    ],
)
def test_a_field_that_stands_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=r"line 1: field '\w+' stands twice in one object; keep one"):
        kinds.load("data.source", str(tmp_path / name))


def test_a_text_many_times_too_long_has_the_tokens_that_its_beginning_has() -> None:
    tokenizer = make_tokenizer(UNMARKED)
    inner, template = tokenizer.backend_tokenizer, encode.template_of(tokenizer)
    for prompt, answer in (("hello", "red green blue " * 3_000), ("red green blue " * 3_000, "hello")):
        messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
        row = Row(identity(messages), messages)
        text = encode.rendered(template, row)
        beginning = encode.tokens(inner, text, row, seq_len=24)
        whole = encode.tokens(inner, text, row)
        assert 48 < len(beginning.ids) < len(whole.ids) / 10
        assert encode.cut(beginning, 24) == encode.cut(whole, 24)


def test_a_conversation_of_thousands_of_turns_is_read_in_seconds() -> None:
    messages = tuple({"role": role, "content": f"{role} {i}"} for i in range(4_000) for role in ("user", "assistant"))
    row, template = Row(identity(messages), messages), encode.template_of(make_tokenizer(UNMARKED))
    began = time.perf_counter()
    text = encode.rendered(template, row)
    assert not spans.changed_later(template, messages, None, text)
    assert time.perf_counter() - began < 10  # under one; it was minutes
    assert [text.text[a:b] for a, b in text.answers[7_999]] == ["assistant 3999</s>"]


def test_a_template_that_says_the_same_to_every_conversation_is_refused() -> None:
    messages = ({"role": "user", "content": "hello"}, {"role": "assistant", "content": "red"})
    with pytest.raises(BadInput, match=r"leaves out the answers: it writes the same of others; take another template"):
        encode.rendered(encode.template_of(make_tokenizer("red green blue")), Row(identity(messages), messages))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (
            "evaluation.shots",
            "3",
            r"evaluation\.shots=3: used by answers, choices, gym, lab, lm-eval alone, and text measures here",
        ),
        ("evaluation.answer", "exact", r"evaluation\.answer=exact: used by answers alone, .*add answers in evaluation\.tasks"),
        ("evaluation.choices", "quiz.jsonl", r"evaluation\.choices=quiz\.jsonl: used by choices alone"),
        ("model.revision", "main", r"model\.revision=main: revisions are the hub's, .*leave it out"),
    ],
)
def test_what_nothing_would_use_is_refused(
    make_model: Callable[..., str], rows_file: str, field: str, value: str, says: str
) -> None:
    trial = Trial(model=Model(name=make_model("llama")), data=Data(source=rows_file, eval_share=0.4))
    with pytest.raises(BadInput, match=says) as error:
        preflight.inspect(replace_field(trial, field, parse_value(trial, field, value)))
    assert error.value.field == field


def test_a_rate_that_trains_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match=r"train\.learning_rate=1e-300: must be at least 1e-12"):
        replace_field(Trial(), "train.learning_rate", 1e-300)


@pytest.mark.parametrize("damage", ["[" * 100_000, None])
def test_a_damaged_result_is_one_line(tmp_path: Path, damage: str | None) -> None:
    path = tmp_path / "result.json"
    path.write_text(damage) if damage else path.mkdir()
    with pytest.raises(BadInput, match=r"result\.json is damaged .*delete it and the trial runs again"):
        Result.read(path)


def test_a_result_without_measures_or_of_another_trial_is_damaged(tmp_path: Path) -> None:
    found = Result("0123456789abcdef", metrics={"quality": 1.0})
    for folder, metrics, says in (
        ("0123456789abcdef-0", {}, "it has no measures"),
        ("fedcba9876543210-0", {"quality": 1.0}, "result of trial 0123456789abcdef, in the folder of fedcba9876543210"),
        ("0123456789abcdef-0", {"quality": 1.0}, ""),
    ):
        replace(found, metrics=metrics).write(tmp_path / folder)
        with pytest.raises(BadInput, match=says) if says else nullcontext():
            assert Result.read(tmp_path / folder / "result.json") == found


def test_a_directory_in_the_place_of_the_lock_is_held_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    assert not ledger.holder(tmp_path)
    with pytest.raises(BadInput, match=r"cannot be written to"), ledger.locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "data", "read"),
    [
        ("items.csv.gz", gzip.compress(b"a,b" * 99, mtime=0)[:-9], tracking.read_items),
        ("items.csv.gz", b"hello", tracking.read_items),
        ("generations.json", b"{bad", tracking.read_generations),
        ("generations.json", b"[]", tracking.read_generations),
        ("generations.json", b'{"columns": ["a"], "data": [[1, 2]]}', tracking.read_generations),
    ],
)
def test_a_stored_file_that_was_cut_is_one_line(
    tmp_path: Path, name: str, data: bytes, read: Callable[[str, str, str], object]
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=rf"{name} of run r1 is damaged .*delete this run"):
        read("sqlite:///none.db", "r1", f"file://{tmp_path}")


def test_a_report_that_cannot_be_written_is_told_before_it_is_made(tmp_path: Path) -> None:
    from analysis import report

    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"--report .*file: cannot be written to .*give another directory"):
        report.check_makes("--report", tmp_path / "file")
