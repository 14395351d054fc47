"""Rows that a chat template refuses: told with how many there are and what can be done, or left out and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core import preflight, refused, spans
from core.data import selection
from core.data.encode import CHATML, compiled
from core.data.rows import Row, build
from core.errors import BadInput
from core.settings import Data, Evaluation, Model, Train, Trial
from core.template import Special, Template

SAID = "{{ '<' + message['role'] + '>' + message['content'] + '</s>' }}"
EACH = "{% for message in messages %}" + SAID + "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}" + SAID + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
GEMMA = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + ALTERNATE
NO_TOOLS = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + EACH
NO_CALLS = (
    "{% for message in messages %}{% if message['role'] == 'tool' or message.tool_calls %}{{ raise_exception('no') }}{% endif %}"
    + SAID + "{% endfor %}"
)  # fmt: skip
ONE_TURN = "{% if messages|length > 2 %}{{ raise_exception('single turn only') }}{% endif %}" + EACH
FALCON = (
    "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{{ {'system': 'System: ', 'user': 'User: ', 'assistant': 'Falcon: '}[message['role']] + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nFalcon:' }}{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "f", "arguments": {}}}


def turns(*said: str) -> list[dict]:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": names[word[0]], "content": word} for word in said]


def row(*said: str, **beside: object) -> Row:
    return build([("line 1", {"messages": turns(*said), **beside})], "f").rows[0]


def template(source: str) -> Template:
    return compiled(source, Special((), ("</s>",)))


CALLING = [*turns("u"), {"role": "assistant", "content": "", "tool_calls": [CALL]}, *turns("t", "a")]


@pytest.mark.parametrize(
    ("source", "one", "says"),
    [
        (GEMMA, row("s", "u", "a"), "it takes no system turn"),
        (ALTERNATE, row("s", "u", "a"), "it takes no system turn"),
        (ALTERNATE, row("u", "u", "a"), "it takes no two turns of one role in a row"),
        (ALTERNATE, row("u", "a", "a"), "it takes no two turns of one role in a row"),
        (ALTERNATE, row("a", "u", "a"), "it takes no conversation that an answer begins"),
        (GEMMA, row("s", "u", "u", "a"), "it takes no two turns of one role in a row after a system turn"),
        (NO_TOOLS, row("u", "a", tools=[TOOL]), "it takes no tools"),
        (NO_CALLS, build([("1", {"messages": CALLING})], "f").rows[0], "it takes no calls of tools and their results"),
        (ONE_TURN, row("u", "a", "u", "a"), "it takes no conversation of several turns"),
        ("{{ raise_exception('never') }}", row("u", "a"), "take another template"),
    ],
)
def test_a_refusal_says_what_the_template_does_not_take(source: str, one: Row, says: str) -> None:
    plain = row("u", "a")
    with pytest.raises(BadInput) as error:
        refused.parted(template(source), (one, one))
    assert "refuses this conversation" in str(error.value)
    assert says in str(error.value)
    assert "model.chat_template=chatml" in str(error.value)
    whole = refused.refusal(template(source), error.value, one, [plain, one, one])
    assert "and 1 more of 3 rows" in whole.text or "and 2 more of 3 rows" in whole.text
    assert "--skip-bad-rows" in whole.text


def test_rows_that_are_refused_go_before_others_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"say {i}", "response": f"{i} it is", **({"system": "s"} if i % 4 else {})} for i in range(200)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data, evaluation = Data(source=str(path), eval_share=0.2, n_examples=30), Evaluation(max_rows=3)
    plain, found = selection.select(data, evaluation, 0), refused.select(template(GEMMA), data, evaluation, 0)
    assert sum(len(one.messages) > 2 for one in plain.train) > 15
    assert (len(found.train), len(found.evaluation)) == (30, 3)
    assert {one.messages[0]["role"] for one in (*found.train, *found.evaluation)} == {"user"}
    assert found.n_available == sum(len(one.messages) == 2 for one in selection.trainable(data))
    assert "System role not supported" in found.refused
    assert refused.select(template(EACH), data, evaluation, 0) == plain
    left, gone = refused.parted(template(GEMMA), (right := row("u", "a"), row("s", "u", "a"), right))
    assert (left, len(gone)) == ((right, right), 1)


def test_a_kind_is_tried_row_by_row_once_one_of_it_is_refused() -> None:
    picky = template("{% if 'bad' in messages[0]['content'] %}{{ raise_exception('bad') }}{% endif %}" + CHATML)
    said = [{"prompt": text, "response": "a"} for text in ("bad one", "good one", "bad two", "good two")]
    rows = build([(str(i), raw) for i, raw in enumerate(said)], "f").rows
    assert [one.prompt for one, _ in refused.among(picky, rows)] == ["bad one", "bad two"]


@pytest.mark.parametrize("said", [("u", "a"), ("a", "u", "a"), ("s", "u", "a", "u", "a")])
def test_answers_begin_alike_wherever_they_stand(said: tuple[str, ...]) -> None:
    """Falcon's template writes a line and a name before an answer, but no line before the first turn."""
    one = row(*said)
    found = spans.render(template(FALCON), one.messages)
    learnt = [found.text[a:b] for a, b in found.taught(one.messages)]
    assert learnt == [" a"] * said.count("a")


def test_a_sweep_tells_it_or_leaves_rows_out(make_model, tmp_path: Path) -> None:
    from core import trial

    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"say {i}", "response": f"{i} it is", **({"system": "s"} if i % 4 == 0 else {})} for i in range(80)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def asked(skip: bool) -> Trial:
        return Trial(
            model=Model(name=make_model("llama-tied", GEMMA.replace("<assistant>", "<a>"))),
            data=Data(source=str(path), n_examples=40, eval_share=0.3, skip_bad_rows=skip),
            train=Train(epochs=1, batch_size=40),
            evaluation=Evaluation(drift_samples=2, drift_tokens=8, generations=0),
        )

    with pytest.raises(BadInput) as error:
        preflight.inspect(asked(False))
    for word in ("data.source=", str(path), "line ", "System role not supported", "more of"):
        assert word in str(error.value)
    assert "it takes no system turn" in str(error.value)
    assert "\n" not in str(error.value)
    inputs = preflight.inspect(asked(True))
    assert 0 < inputs.left_out.n_bad < 40
    assert inputs.n_train_examples == 40
    assert any("the chat template refuses" in note for note in inputs.notes)
    result = trial.run(asked(True), inputs.provenance, tmp_path / "t", trial.Device("cpu"))
    assert result.state == "finished", result.reason
    assert result.metrics["rows/skipped_bad"] == inputs.left_out.n_bad
    assert result.facts["train_rows_hash"] == inputs.train_rows_hash
    assert result.facts["evaluation_rows_hash"] == inputs.evaluation_rows_hash
