"""Pairs of a chosen and a rejected answer: their shapes, what is refused, and that nothing scored is among them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import fields
from core.data import pairs, selection
from core.data.pairs import build
from core.errors import BadInput
from core.fields import fingerprint, flatten, from_flat, identity
from core.lab import instruct
from core.lab import pairs as lab
from core.preference_settings import Prefer
from core.settings import Data, Evaluation, Trial

U, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "why ?"), ("assistant", "so ."), ("assistant", "no ."))
)
SHARE = {"from": "human", "value": "why ?"}, {"from": "gpt", "value": "so ."}, {"from": "gpt", "value": "no ."}
TEXTS = {"chosen": "so .", "rejected": "no ."}
# Rows that say: why? so (chosen), no (rejected).
SHAPES: dict[str, dict[str, Any]] = {
    "TRL's, as text": {"prompt": "why ?", **TEXTS},
    "TRL's, as turns": {"prompt": [U], "chosen": [GOOD], "rejected": [BAD]},
    "TRL's, the prompt in both": {"chosen": [U, GOOD], "rejected": [U, BAD]},
    "UltraFeedback's": {
        "prompt": "why ?", "prompt_id": "1", "chosen": [U, GOOD], "rejected": [U, BAD], "messages": [U, GOOD],
        "score_chosen": 8.0, "score_rejected": 3.0,
    },
    "HH's": {"chosen": "\n\nHuman: why ?\n\nAssistant: so .", "rejected": "\n\nHuman: why ?\n\nAssistant: no ."},
    "Orca's": {"system": "", "question": "why ?", **TEXTS},
    "an instruction": {"instruction": "why ?", "input": "", "output": "so .", **TEXTS},
    "ShareGPT's turns": {"chosen": list(SHARE[:2]), "rejected": [SHARE[0], SHARE[2]]},
    "a prompt and one turn each": {"prompt": "why ?", "chosen": GOOD, "rejected": BAD},
    "a prompt and a list of one turn": {"prompt": "why ?", "chosen": [GOOD], "rejected": [BAD]},
    "turns and texts": {"messages": [U], **TEXTS},
    "turns as JSON text": {"chosen": json.dumps([U, GOOD]), "rejected": json.dumps([U, BAD])},
    "columns in capitals": {"Prompt": "why ?", "Chosen": "so .", "Rejected": "no ."},
    "other names": {"prompt": "why ?", "chosen_response": "so .", "rejected_response": "no ."},
}  # fmt: skip


def one(row: object, skip_bad: bool = False) -> pairs.Loaded:
    return build([("line 7", row)], "pairs.jsonl", skip_bad)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_the_same_pair(name: str) -> None:
    (pair,) = one(SHAPES[name]).pairs
    said = [[(message["role"], message["content"]) for message in row.messages] for row in (pair.chosen, pair.rejected)]
    assert said == [[("user", "why ?"), ("assistant", "so .")], [("user", "why ?"), ("assistant", "no .")]]
    assert pair.chosen.prompt == pair.rejected.prompt


def test_of_a_conversation_only_the_answers_that_differ_are_learned() -> None:
    system, more = {"role": "system", "content": "be short"}, {"role": "user", "content": "and ?"}
    (pair,) = one({"chosen": [system, U, GOOD, more, GOOD], "rejected": [system, U, GOOD, more, BAD]}).pairs
    for row in (pair.chosen, pair.rejected):
        assert [message.get("weight", 1) for message in row.messages if message["role"] == "assistant"] == [0, 1]
    (pair,) = one({"system": "be short", "prompt": "why ?", **TEXTS}).pairs
    assert [message["role"] for message in pair.rejected.messages] == ["system", "user", "assistant"]
    hh = "\n\nHuman: why ?\n\nAssistant: so .\n\nHuman: and ?\n\nAssistant:"
    (pair,) = one({"chosen": f"{hh} a", "rejected": f"{hh} b"}).pairs
    assert [message.get("weight", 1) for message in pair.chosen.messages] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "why ?", "completion": "so ."}, "no pair (fields: prompt, completion)"),
        ({"prompt": "why ?", "chosen": "so ."}, "no pair"),
        ({"prompt": "why ?", "chosen": "so .", "rejected": None}, "field 'rejected' must be text"),
        ({"prompt": "why ?", "chosen": 3, "rejected": "no ."}, "field 'chosen' must be text"),
        ({"prompt": "why ?", "chosen": "so .", "rejected": "So  ."}, "say the same"),
        (TEXTS, "no prompt beside 'chosen'"),
        ({"prompt": "", **TEXTS}, "no prompt"),
        ({"chosen": [U, GOOD], "rejected": [{**U, "content": "who ?"}, BAD]}, "different prompts"),
        ({"chosen": [U, GOOD], "rejected": [U, GOOD, U, BAD]}, "beginning of the other"),
        ({"chosen": [U, GOOD, U, GOOD], "rejected": [U, GOOD, {**U, "content": "x"}, BAD]}, "part at turn 3"),
        ({"chosen": [U], "rejected": [U, BAD]}, "chosen: row without a response"),
        ({"prompt": "why ?", **TEXTS, "image": "a.png"}, "field 'image' would change"),
        ({"query": "why ?", "question": "who ?", **TEXTS}, "could each be the prompt"),
        ("text", "must be an object with fields"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_line(row: object, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        one(row)
    assert caught.value.field == "prefer.source"
    assert "pairs.jsonl: line 7" in caught.value.text
    assert told in caught.value.text
    found = build([("line 1", SHAPES["HH's"]), ("line 2", row)], "pairs.jsonl", skip_bad=True)
    assert (len(found.pairs), found.n_bad) == (1, 1)


def test_a_pair_with_an_empty_answer_is_left_out_and_counted() -> None:
    found = build([("line 1", SHAPES["HH's"]), ("line 2", {"prompt": "why ?", "chosen": "so .", "rejected": " "})], "pairs.jsonl")
    assert (len(found.pairs), found.n_empty) == (1, 1)


def test_nothing_scored_is_drawn_and_more_pairs_contain_the_fewer(rows_file: str, tmp_path: Path) -> None:
    data, lines = Data(source=rows_file, eval_share=0.4), []
    for row in map(json.loads, Path(rows_file).read_text().splitlines()):  # the very prompts of the rows
        prompt = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
        lines.append({"prompt": prompt.upper(), "chosen": "x", "rejected": row["output"]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    prefer = Prefer(method="dpo", source=str(path), n_pairs=None)
    found = pairs.select(data, prefer, seed=0)
    asked = {
        row.prompt for split in ("validation", "test") for row in selection.select(data, Evaluation(split=split), 0).evaluation
    }
    assert asked
    assert asked.isdisjoint(pair.chosen.prompt for pair in found.pairs)
    assert len(found.pairs) == found.n_available == 60 - len(asked)
    assert found.n_in_evaluation == len(asked)
    some = pairs.select(data, replace(prefer, n_pairs=7), seed=0)
    assert some.pairs == found.pairs[:7]
    assert pairs.select(data, replace(prefer, n_pairs=7), seed=1).pairs != some.pairs


def test_the_laboratorys_wrong_answers_are_of_the_right_kind_and_its_prompts_are_never_scored() -> None:
    found = pairs.select(Data(), Prefer(method="dpo", n_pairs=300), seed=0).pairs
    asked = {one.prompt for split in ("validation", "test") for one in instruct.questions(split, 10)}
    words = [[len(row.messages[-1]["content"].split()) for row in (pair.chosen, pair.rejected)] for pair in found]
    assert all(pair.chosen.messages[:-1] == pair.rejected.messages[:-1] for pair in found)
    assert all(pair.chosen.messages[-1] != pair.rejected.messages[-1] for pair in found)
    assert sum(right == wrong for right, wrong in words) > 290
    assert asked.isdisjoint(pair.chosen.messages[-2]["content"] for pair in found)
    alone = next(row for row in instruct.training_rows("lab:curated", 0) if len(lab.read(row).results) == 1)
    assert lab.with_wrong_answers([alone, alone]) == []


def test_a_wrong_answer_is_the_right_one_but_for_its_results() -> None:
    rows = instruct.training_rows("lab:curated", 0)[:600]
    for row, (chosen, rejected) in zip(rows, lab.with_wrong_answers(rows), strict=True):
        one, told = lab.read(row), rejected["messages"][-1]["content"]
        assert chosen is row
        assert lab.answer(one, one.results) == row["messages"][-1]["content"]
        assert told != lab.answer(one, one.results)
        assert all(imperative in told for imperative in one.imperatives) or one.style.name in ("bare", "list")
    assert {lab.read(row).style.name for row in rows} == {"bare", "sentence", "list", "steps"}


@pytest.mark.parametrize(
    ("data", "source", "told"),
    [
        ("lab:curated", "pairs.jsonl", "go with lab:pairs alone"),
        ("rows.jsonl", "lab:pairs", "only for the laboratory's rows"),
        ("reasoning-gym:easy", "pairs.jsonl", "makes its own questions"),
        ("rows.jsonl", "a.jsonl=0.5,b.jsonl=0.5", "must be one file"),
    ],
)
def test_pairs_go_with_the_rows(data: str, source: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        pairs.check(Data(source=data), Prefer(method="dpo", source=source))
    assert caught.value.field == "prefer.source"


def test_a_trial_without_a_second_stage_is_the_trial_that_it_was() -> None:
    plain, unread = Trial(), Trial(prefer=Prefer(beta=0.3, rate_ratio=0.5))
    assert not any(name.startswith("prefer.") for name in identity(plain))
    assert fingerprint(plain, {}) == fingerprint(unread, {})  # nothing reads it
    trained = Trial(prefer=Prefer(method="dpo", beta=0.3))
    assert identity(trained).items() - identity(plain).items() == {("prefer.method", "dpo"), ("prefer.beta", 0.3)}
    assert from_flat(flatten(trained)) == trained
    assert {f"prefer.{name}" for name in ("method", "beta", "source", "n_pairs", "rate_ratio", "epochs")} <= {*fields.ADDED_LATER}


@pytest.mark.parametrize("name", ["method", "beta", "rate_ratio", "epochs", "n_pairs"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        Prefer(**{name: "kto" if name == "method" else 0})  # type: ignore[arg-type]
    assert caught.value.field == f"prefer.{name}"
