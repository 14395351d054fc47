"""What a dry run shows of the rows: one as it is written, a template's own system turn, near-duplicates of evaluation rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core import preflight, shown, spans
from core.data import near
from core.data.encode import CHATML, compiled
from core.data.rows import build
from core.settings import Data, Evaluation, Model, Train, Trial
from core.template import Special, Template

OPEN = "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
QWEN = (
    "{% if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{% if message['role'] != 'system' %}" + OPEN + "{% endif %}{% endfor %}" + ASK
)
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    + OPEN + "{% endfor %}" + ASK
)  # fmt: skip
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = 'You are a helpful, respectful and honest assistant.' %}{% endif %}"
    "{% for message in rest %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% if loop.first %}{{ '<<SYS>>\n' + system + '\n<</SYS>>\n\n' }}{% endif %}{{ message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' </s>' }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML


def template(source: str) -> Template:
    return compiled(source, Special((), ("<|im_start|>", "<|im_end|>", "</s>")))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (QWEN, "You are Qwen, created by Alibaba Cloud."),
        (SMOLLM, "<|im_start|>system You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>"),
        (LLAMA2, "You are a helpful, respectful and honest assistant."),
        (CHATML, ""),
        (NO_SYSTEM, ""),
    ],
)
def test_a_templates_own_system_turn_is_told(source: str, says: str) -> None:
    found = shown.persona(template(source))
    assert found in (says, says.removeprefix("<|im_start|>system ").removesuffix("<|im_end|>"))
    plain = build([("1", {"prompt": "q", "response": "a"})], "f").rows
    given = build([("1", {"prompt": "q", "response": "a", "system": "s"})], "f").rows
    notes = shown.persona_note(template(source), [*plain, *given])
    assert len(notes) == bool(says)
    assert not shown.persona_note(template(source), given)
    if says:
        assert "1 of 2 rows that were looked at" in notes[0]


def test_a_row_is_shown_with_what_is_learnt_apart() -> None:
    turns = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]
    row = build([("1", {"messages": turns})], "f").rows[0]
    text = spans.render(template(CHATML), row.messages)
    found = shown.pieces(row, text, last_only=False)
    assert "".join(piece for piece, _ in found) == text.text
    assert [piece for piece, learnt in found if learnt] == ["assistant 0<|im_end|>", "assistant 1<|im_end|>"]
    assert [piece for piece, learnt in shown.pieces(row, text, last_only=True) if learnt] == ["assistant 1<|im_end|>"]


def test_a_long_row_is_cut_to_a_few_lines() -> None:
    long = "\n".join(["word " * 50] * 200)
    turns = [{"role": role, "content": long} for _ in range(20) for role in ("user", "assistant")]
    row = build([("1", {"messages": turns})], "f").rows[0]
    found = shown.pieces(row, spans.render(template(CHATML), row.messages), last_only=False)
    assert len("".join(piece for piece, _ in found)) < 3_000
    assert "".join(piece for piece, _ in found).count("\n") < 40
    assert {learnt for _, learnt in found} == {True, False}


TEXT = "the old harbour town has {} bridges over its {} canals , and the {} one was built by a miller in the year {} ."


def test_near_duplicates_are_found_and_no_others() -> None:
    raws = [{"prompt": f"question {i} about {TEXT.format(i, i, i, i)}", "response": f"{i} " * 30} for i in range(9)]
    other = [{"prompt": f"what is {i} plus {i * 7} ? please .", "response": f"it is {i * 8} , of course ."} for i in range(200)]
    same = {"prompt": f"Question 4 about {TEXT.format(4, 4, 4, 4)} Please!", "response": "4 " * 30}
    asked, train = (build([(str(i), raw) for i, raw in enumerate(rows)], "f").rows for rows in (raws, [*other, same]))
    found = near.between(train, asked)
    assert (found.n, found.n_looked_at) == (1, 201)
    assert found.asked.startswith("question 4 about")
    assert found.trained.startswith("question 4 about")
    assert "1 evaluation row says nearly the same as a training row" in found.told
    assert near.between(train[:-1], asked) == near.Near(0, 200)
    assert near.between(train, ()).n == 0


@pytest.mark.parametrize("text", ["", "a", "ab cd", "\ud83d", "漢字かな交じり文"])
def test_short_and_odd_texts_have_pieces(text: str) -> None:
    assert len(near.pieces(text)) >= 1


def test_a_dry_run_tells_them_and_a_trial_records_them(make_model, tmp_path: Path) -> None:
    from core import trial

    words = [f"say {i} and {i * 3} in words , slowly and loudly ." for i in range(60)]
    raws = [{"prompt": text, "response": f"number {i} , then {i * 3} ."} for i, text in enumerate(words)]
    again = [{**raw, "prompt": f"{raw['prompt']} now"} for raw in raws[:5]]
    for name, rows in (("train", raws), ("asked", again)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = Trial(
        model=Model(name=make_model("llama-tied", QWEN.replace(", created by Alibaba Cloud", ""))),
        data=Data(source=str(tmp_path / "train.jsonl"), eval_source=str(tmp_path / "asked.jsonl"), n_examples=60),
        train=Train(epochs=1, batch_size=60),
        evaluation=Evaluation(drift_samples=2, drift_tokens=8, generations=0),
    )
    inputs = preflight.inspect(asked)
    assert any("nearly the same as a training row" in note for note in inputs.notes)
    assert any("You are Qwen" in note for note in inputs.notes)
    assert preflight.inspect(dataclasses.replace(asked)).notes == inputs.notes  # also from what is remembered
    assert "number" in "".join(piece for piece, learnt in inputs.shown if learnt)
    assert "say" not in "".join(piece for piece, learnt in inputs.shown if learnt)
    result = trial.run(asked, inputs.provenance, tmp_path / "t", trial.Device("cpu"))
    assert result.state == "finished", result.reason
    assert result.metrics["rows/evaluated_near_duplicates"] >= 1
    assert "nearly the same" in result.facts["near_duplicates"]
