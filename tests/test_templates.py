"""Chat templates as they are in use: which tokens are taught, what is left out and told, what is refused, and what is saved."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import make_tokenizer

from core import chat, preflight, spans
from core.data import encode
from core.data.rows import Row, identity
from core.errors import BadInput
from core.fields import replace_field
from core.settings import Data, Evaluation, Full, Lora, Model, Train, Trial
from core.template import Special, Template

SPECIAL = (
    *("<pad>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"),
    *("<|user|>", "<|assistant|>", "<|end|>", "<|start|>", "<|message|>", "<|channel|>", "<|return|>"),
)
ASK = "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
CHATML = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
QWEN3 = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role=='user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}{% for m in messages %}{% if m.role=='assistant' and loop.index0 > ns.last %}{{'<|im_start|>assistant\n'}}"
    "{{'<think>\n\n</think>\n\n' + m.content + '<|im_end|>\n'}}"
    "{% else %}{{'<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n'}}"
    "{% endif %}{% endfor %}" + ASK
)
PHI3 = (
    "{% for m in messages %}{{'<|' + m.role + '|>\n' + m.content + '<|end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|assistant|>\n'}}{% else %}{{'<|endoftext|>'}}{% endif %}"
)
MISTRAL = (
    "{{bos_token}}{% if messages[0].role=='system' %}{% set sm = messages[0].content %}{% set ms = messages[1:] %}{% else %}"
    "{% set ms = messages %}{% endif %}{% for m in ms %}{% if m.role=='user' %}{{'[INST] ' + (sm + '\n\n' if loop.last and sm is "
    "defined else '') + m.content + '[/INST]'}}{% else %}{{' ' + m.content + eos_token}}{% endif %}{% endfor %}"
)
R1 = (
    "{% for m in messages %}{{'<|' + m.role + '|>' + m.content + (eos_token if m.role=='assistant' else '')}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|assistant|><think>\n'}}{% endif %}"
)
CUTTING = (  # as R1: the reasoning of an answer and the system turn are left out
    "{{bos_token}}{% for m in messages %}{% if m.role=='user' %}{{'<|user|>' + m.content}}{% elif m.role=='assistant' %}"
    "{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
    "{{'<|assistant|>' + c + eos_token}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{'<|assistant|>'}}{% endif %}"
)
OUTSIDE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n'}}{% if m['role']=='assistant' %}{% generation %}{{m['content']}}"
    "{% endgeneration %}{% else %}{{m['content']}}{% endif %}{{'<|im_end|>\n'}}{% endfor %}" + ASK
)
NO_END = (
    "{% for m in messages %}{{('### Instruction:\n' if m['role']=='user' else '### Response:\n') + m['content'] + '\n\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'### Response:\n'}}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role=='user' %}{{bos_token + '[INST] ' + m.content.strip() + ' [/INST]'}}{% else %}"
    "{{' ' + m.content.strip() + ' ' + eos_token}}{% endif %}{% endfor %}"
)
HARMONY = (  # as gpt-oss: the last answer ends otherwise than earlier ones
    "{{'<|start|>system<|message|>x<|end|>'}}{% for m in messages %}{% if m.role=='assistant' %}"
    "{{'<|start|>assistant<|channel|>final<|message|>' + m.content + ('<|return|>' if loop.last else '<|end|>')}}{% else %}"
    "{{'<|start|>' + m.role + '<|message|>' + m.content + '<|end|>'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|start|>assistant'}}{% endif %}"
)
TOOLS = (
    "{% if tools %}{{'<|im_start|>system\n' + tools|tojson + '<|im_end|>\n'}}{% endif %}{% for m in messages %}"
    "{{'<|im_start|>' + m.role + '\n' + (m.content or '')}}{% for c in m.tool_calls or [] %}{{'<tool_call>' + "
    "{'name': c.function.name, 'arguments': c.function.arguments}|tojson + '</tool_call>'}}{% endfor %}{{'<|im_end|>\n'}}"
    "{% endfor %}" + ASK
)
PARTICULAR = (  # looks at how an answer begins
    "{% for m in messages %}{{'<|im_start|>' + m.role + '\n'}}{% if m.content.startswith('Gr') %}{{'!'}}{% endif %}"
    "{{m.content + '<|im_end|>\n'}}{% endfor %}" + ASK
)


def row(*turns: tuple[str, str], **more: object) -> Row:
    messages = tuple({"role": role, "content": content} for role, content in turns)
    return Row(identity(messages), messages, place="row 1", **more)


ONE = row(("user", "Hi?"), ("assistant", "Grey."))
TWO = row(("user", "Hi?"), ("assistant", "Grey."), ("user", "More?"), ("assistant", "Blue."))
SYSTEM = row(("system", "Be brief."), ("user", "Hi?"), ("assistant", "Grey."))
THINKS = row(("system", "Be brief."), ("user", "Hi?"), ("assistant", "<think>\nlong reasoning\n</think>\n\nGrey."))


def tokenizer_with(template: str):
    tokenizer = make_tokenizer(None, SPECIAL)
    tokenizer.chat_template = template
    return tokenizer


def taught(template: str, one: Row, **options: bool) -> list[str]:
    """The text of each run of tokens in the loss."""
    tokenizer = tokenizer_with(template)
    encoded = encode.encode(tokenizer, one, **options)
    runs: list[list[int]] = []
    for i, (token, mask) in enumerate(zip(encoded.ids, encoded.mask, strict=True)):
        if mask:
            if not (i and encoded.mask[i - 1]):
                runs.append([])
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize(
    ("template", "one", "expected"),
    [
        (CHATML + ASK, TWO, ["Grey.<|im_end|>", "Blue.<|im_end|>"]),
        (CHATML, TWO, ["Grey.<|im_end|>", "Blue.<|im_end|>"]),  # ignores add_generation_prompt
        (OUTSIDE, TWO, ["Grey.<|im_end|>", "Blue.<|im_end|>"]),
        (NO_END, TWO, ["Grey.", "Blue."]),
        (QWEN3, ONE, ["<think>\n\n</think>\n\nGrey.<|im_end|>"]),
        (QWEN3, TWO, ["Grey.<|im_end|>", "<think>\n\n</think>\n\nBlue.<|im_end|>"]),
        (PHI3, ONE, ["Grey.<|end|>"]),
        (PHI3, TWO, ["Grey.<|end|>", "Blue.<|end|>"]),
        (MISTRAL, TWO, [" Grey.</s>", " Blue.</s>"]),
        (MISTRAL, SYSTEM, [" Grey.</s>"]),
        (LLAMA2, TWO, [" Grey. </s>", " Blue. </s>"]),
        (R1, ONE, ["Grey.</s>"]),
        (R1, row(("user", "Hi?"), ("assistant", "<think>\nwhy\n</think>Grey.")), ["why\n</think>Grey.</s>"]),
        (CUTTING, THINKS, ["\n\nGrey.</s>"]),
        (HARMONY, TWO, ["<|channel|>final<|message|>Grey.<|end|>", "<|channel|>final<|message|>Blue.<|return|>"]),
        (PARTICULAR, TWO, ["!Grey.<|im_end|>", "Blue.<|im_end|>"]),
        (CHATML + ASK, row(("user", "Hi?"), ("assistant", "  Grey. \n")), ["  Grey. \n<|im_end|>"]),
        (CHATML + ASK, row(("user", "Hi?"), ("assistant", "😀 naïve <|im_end|> x")), ["😀 naïve <|im_end|> x<|im_end|>"]),
        (CHATML.replace("m['content']", "m['content']|trim") + ASK, row(("user", "Hi?"), ("assistant", "\n Grey. ")),
         ["Grey.<|im_end|>"]),
    ],
)  # fmt: skip
def test_the_answers_and_what_ends_them_are_taught(template: str, one: Row, expected: list[str]) -> None:
    assert taught(template, one) == expected


@pytest.mark.parametrize("template", [CHATML + ASK, QWEN3, PHI3, OUTSIDE, HARMONY])
def test_the_last_answer_alone(template: str) -> None:
    assert taught(template, TWO, last_only=True) == taught(template, TWO)[1:]


def test_a_turn_of_weight_0_is_not_taught() -> None:
    messages = tuple(dict(one) for one in TWO.messages)
    messages[1]["weight"] = 0
    assert taught(CHATML + ASK, Row("x", messages)) == ["Blue.<|im_end|>"]
    messages[3]["weight"] = 0
    with pytest.raises(BadInput, match="row 7: every answer has weight 0"):
        taught(CHATML + ASK, Row("x", messages, place="row 7"))


def test_a_call_is_taught_as_the_template_writes_it() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}
    messages = (
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "warm"},
        {"role": "assistant", "content": "Warm."},
    )
    tools = ({"type": "function", "function": {"name": "weather", "parameters": {}}},)
    written = '<tool_call>{"name": "weather", "arguments": {"place": "Rome"}}</tool_call><|im_end|>'
    assert taught(TOOLS, Row("x", messages, tools=tools)) == [written, "Warm.<|im_end|>"]
    template = Template(TOOLS, Special((), SPECIAL))
    assert spans.render(template, messages, tools).dropped == frozenset()
    assert spans.render(Template(CHATML + ASK, Special((), SPECIAL)), messages[2:], tools).dropped == {"tools"}
    with pytest.raises(BadInput, match="leaves out the answer of turn 2"):
        spans.render(Template(CHATML + ASK, Special((), SPECIAL)), messages, tools)


@pytest.mark.parametrize(
    ("template", "one", "dropped"),
    [
        (CUTTING, THINKS, {"a part of an answer", "text of a system turn"}),
        (CUTTING, ONE, set()),
        (MISTRAL, SYSTEM, {"text of a system turn"}),
        (QWEN3, TWO, set()),
        (CHATML + ASK, THINKS, set()),
        (CHATML.replace("m['content']", "m['content']|tojson") + ASK, THINKS, set()),
        (CHATML.replace("m['content']", "m['content'][:9]") + ASK, THINKS, {"a part of an answer"}),
        (CHATML + ASK, Row("x", (ONE.messages[0], ONE.messages[1] | {"reasoning_content": "as it is"})), {"reasoning_content"}),
    ],
)
def test_what_a_template_leaves_out_is_told(template: str, one: Row, dropped: set[str]) -> None:
    batch = encode.encode_all(tokenizer_with(template), [one, one], 128)
    assert dict(batch.dropped) == dict.fromkeys(dropped, 2)
    assert batch.n_dropped == 2 * bool(dropped)


MARKED_ALL = "{% generation %}" + CHATML + "{% endgeneration %}" + ASK
MARKED_HEADER = (
    "{% for m in messages %}{% if m.role=='assistant' %}{% generation %}{{'<|im_start|>assistant\n' + m.content + '<|im_end|>'}}"
    "{% endgeneration %}{% else %}{{'<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>'}}{% endif %}{{'\n'}}{% endfor %}"
    + ASK
)


@pytest.mark.parametrize("template", [MARKED_ALL, MARKED_HEADER])
def test_marks_around_more_than_answers_teach_answers(template: str) -> None:
    assert [one.strip() for one in taught(template, TWO)] == ["Grey.<|im_end|>", "Blue.<|im_end|>"]


def test_an_answer_whose_beginning_is_changed_is_taught_with_its_end() -> None:
    template = CHATML.replace("m['content']", "m['content']|title") + ASK
    assert taught(template, row(("user", "hi?"), ("assistant", "grey. so 😀"))) == ["Grey. So 😀<|im_end|>"]


AS_TEXT = TOOLS.replace(
    "{'name': c.function.name, 'arguments': c.function.arguments}|tojson", "c.function.name + c.function.arguments"
)
NAMES = TOOLS.replace("{'name': c.function.name, 'arguments': c.function.arguments}|tojson", "c.function.name")


@pytest.mark.parametrize(
    "call",
    [
        {"type": "function", "function": {"name": "weather", "arguments": {"place": "Rome"}}},
        {"function": {"name": "weather", "arguments": '{"place": "Rome"}'}},
        {"name": "weather", "arguments": {"place": "Rome"}},
    ],
)
def test_calls_are_written_in_the_form_that_a_template_takes(call: dict) -> None:
    messages = ({"role": "user", "content": "Rome?"}, {"role": "assistant", "content": "", "tool_calls": [call]})
    assert taught(TOOLS, Row("x", messages)) == [
        '<tool_call>{"name": "weather", "arguments": {"place": "Rome"}}</tool_call><|im_end|>'
    ]
    assert taught(AS_TEXT, Row("x", messages)) == ['<tool_call>weather{"place": "Rome"}</tool_call><|im_end|>']
    dropped = spans.render(Template(NAMES, Special((), SPECIAL)), messages).dropped
    assert dropped == {"arguments of a tool call"}


def test_an_answer_that_is_left_out_is_refused() -> None:
    with pytest.raises(BadInput, match=r"row 1: the chat template leaves out the answer of turn 2; take another"):
        taught("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}", ONE)


def test_a_date_is_the_same_every_day_and_nothing_is_random() -> None:
    dated = "{{ strftime_now('%d %b %Y') }}" + CHATML + ASK
    assert encode.render(tokenizer_with(dated), ONE.messages).startswith("01 Jan 2025<|im_start|>")
    for source in ("{{ [1, 2]|random }}", "{{ lipsum() }}", "{{ now() }}"):
        with pytest.raises(BadInput, match=r"not a Jinja template|refuses this conversation"):
            taught(source + CHATML, ONE)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{{ 'a' * 10 ** 10 }}",
        "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}",
        "{{ '{:>10000000000}'.format(1) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ 'x'.center(10 ** 10) }}",
        "{{ 7 ** 1000000000 }}",
        "{{ " + "(" * 5_000,
        "{% for m in messages %}{{ loop(messages) }}{% endfor %}",
        "{% set n = namespace(__class__=1) %}",
        "{{ messages[0].content.__class__.__mro__ }}{{ nothing.at_all }}",
    ],
)
def test_a_template_that_never_ends_or_fills_the_memory_is_refused_in_seconds(source: str) -> None:
    began = time.process_time()
    with pytest.raises(BadInput) as error:
        taught(source + CHATML, ONE)
    assert time.process_time() - began < 10
    assert "\n" not in str(error.value)


def test_rendering_is_that_of_transformers() -> None:
    templates = [CHATML, QWEN3, PHI3, MISTRAL, R1, CUTTING, OUTSIDE, NO_END, LLAMA2, HARMONY, PARTICULAR]
    odd = "{%- for m in messages -%}\n  {%- if loop.first %}\n  {{ m | tojson(indent=2) }}\n  {% continue %}\n  {% endif %}\n" \
          "    {{ loop.index }}{{ m.content[::-1] | upper }}\n{% if loop.last %}{% break %}{% endif %}{%- endfor %}"  # fmt: skip
    for template in [*templates, odd]:
        tokenizer = tokenizer_with(template)
        for one in (ONE, TWO, SYSTEM, THINKS):
            for answer_next in (False, True):
                theirs = tokenizer.apply_chat_template(list(one.messages), tokenize=False, add_generation_prompt=answer_next)
                assert encode.render(tokenizer, one.messages, answer_next) == theirs


def test_later_bytes_of_a_character_belong_to_its_turn() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<unk>", "</s>", "▁", "a", ":", *(f"<0x{i:02X}>" for i in range(256))])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", pad_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role[0] + ':' + m.content + eos_token }}{% endfor %}" \
                              "{% if add_generation_prompt %}{{ 'a:' }}{% endif %}"  # fmt: skip
    encoded = encode.encode(tokenizer, row(("user", "é😀"), ("assistant", "😀é")))
    assert tokenizer.decode([i for i, mine in zip(encoded.ids, encoded.mask, strict=True) if mine]) == "😀é</s>"
    assert sum(encoded.mask) == 4 + 2 + 1


# What a base's files hold, before a sweep and in a trial.


@pytest.fixture
def base(make_model: Callable[..., str], tmp_path: Path) -> Callable[..., Path]:
    """A base whose tokenizer has no template, its tokenizer_config.json changed."""

    def make(**settings: object) -> Path:
        directory = tmp_path / "base"
        shutil.copytree(make_model("llama"), directory)
        file = directory / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
        return directory

    return make


@pytest.fixture
def trial(rows_file: str) -> Callable[..., Trial]:
    def make(directory: Path, adapter: Lora | Full | None = None, **model: object) -> Trial:
        return Trial(
            model=Model(name=str(directory), **model), data=Data(source=rows_file, n_examples=24, eval_share=0.4),
            adapter=adapter or Lora(rank=2), train=Train(epochs=1, batch_size=8),
            evaluation=Evaluation(drift_samples=2, drift_tokens=12, split="validation"),
        )  # fmt: skip

    return make


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"chat_template": 7}, "no text as its chat template"),
        ({"chat_template": [{"name": "rag", "template": CHATML}]}, "named rag and none named default"),
        ({"chat_template": {"tool_use": CHATML}}, "--set model.chat_template="),
        ({"chat_template": "{{ messages[0].none.such }}"}, "refuses this conversation"),
        ({"chat_template": ""}, "leaves out the answer"),
        ({"chat_template": CHATML, "bos_token": ["<s>"]}, "bos_token must be text"),
        ({"chat_template": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"}, "more than 2 s"),
    ],
)
def test_templates_that_cannot_be_used_are_refused_beforehand(
    base: Callable[..., Path], trial: Callable[..., Trial], settings: dict, says: str
) -> None:
    with pytest.raises(BadInput) as error:
        preflight.inspect(trial(base(**settings)))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.field


def test_template_files(base: Callable[..., Path], trial: Callable[..., Trial], tmp_path: Path) -> None:
    directory, file = base(chat_template={"default": CHATML + ASK, "rag": "x"}), tmp_path / "own.jinja"
    told = preflight.inspect(trial(directory))
    assert told.new_tokens == 0
    assert any('of its 2 named ones "default"' in note for note in told.notes)
    assert "chat_template" not in told.provenance
    for text in (NO_END, OUTSIDE.replace("<|im_end|>", "</s>")):
        file.write_text(text)
        again = preflight.inspect(trial(directory, chat_template=str(file)))
        assert again.provenance["chat_template"] not in ("", told.provenance)
        assert any("does not stop by itself" in note for note in again.notes) == (text == NO_END)
    assert preflight.inspect(trial(directory, chat_template="chatml")).new_tokens == 2
    file.write_bytes(b"\xff\xfe")
    for name, says in ((str(file), "text in UTF-8"), (str(tmp_path), "not a file but a folder"), ("none.jinja", "no such file")):
        with pytest.raises(BadInput, match=says) as error:
            preflight.inspect(trial(directory, chat_template=name))
        assert error.value.field == "model.chat_template"
    (directory / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(BadInput, match=r"chat_template\.jinja: cannot be read as text in UTF-8"):
        preflight.inspect(trial(directory))


def test_a_dry_run_meets_the_kinds_of_rows_that_a_trial_would_refuse(
    base: Callable[..., Path], trial: Callable[..., Trial], tmp_path: Path
) -> None:
    strict = "{% if messages|length > 2 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML + ASK
    file = tmp_path / "rows.jsonl"
    long = [{"role": role, "content": "hello"} for role in ("user", "assistant", "user", "assistant")]
    lines = [{"prompt": f"say {i}", "completion": "so"} for i in range(700)] + [{"messages": long}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = trial(base(chat_template=strict))
    everything = Data(source=str(file), n_examples=None, eval_share=0.1)
    with pytest.raises(BadInput, match=r"rows\.jsonl: line 701: .*one turn only"):
        preflight.inspect(Trial(model=asked.model, data=everything, evaluation=asked.evaluation))


def test_earlier_answers_that_are_written_otherwise_are_told() -> None:
    template = Template(QWEN3, Special((), SPECIAL))
    conversation = chat.Conversations(template, None, "")
    texts = [spans.render(template, one.messages) for one in (ONE, TWO)]
    (note,) = chat.notes(conversation, [ONE, TWO], texts, last_only=False)
    assert "writes earlier answers otherwise than last ones in 1 of 2 rows" in note
    assert "train.loss_on=last" in note
    assert chat.notes(conversation, [ONE, TWO], texts, last_only=True) == ()


@pytest.mark.parametrize("adapter", [Lora(rank=2), Full()], ids=["lora", "full"])
def test_what_is_saved_ends_where_answers_do_and_loads_as_its_readme_says(
    base: Callable[..., Path], trial: Callable[..., Trial], tmp_path: Path, adapter: Lora | Full
) -> None:
    transformers = pytest.importorskip("transformers")
    from core import trial as trials
    from core.hardware import Device

    asked, folder = replace_field(trial(base(), adapter), "evaluation.split", "test"), tmp_path / "out" / "adapter"
    told = preflight.inspect(asked)
    result = trials.run(asked, told.provenance, tmp_path / "out", Device())
    assert (result.state, result.facts["template"]) == ("finished", "ChatML, as the tokenizer brings none")
    assert (result.facts["turn_end"], result.facts["template_leaves_out"]) == ("<|im_end|>", "nothing")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", end)
    assert transformers.GenerationConfig.from_pretrained(folder).eos_token_id == [end, 2]
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    known: dict[str, object] = {"FOLDER": str(folder), "BASE": asked.model.name}
    for block in blocks:
        exec(block, known)
    assert len(blocks) == (2 if isinstance(adapter, Lora) else 1)


def test_chatml_whose_tokens_a_tokenizer_has_is_recorded_as_such(make_model: Callable[..., str]) -> None:
    tokenizer = make_tokenizer(None, SPECIAL)
    chosen = chat.choose(tokenizer.chat_template, None)
    assert encode.give_template(tokenizer, chosen.source) == []
    assert chosen.origin == "ChatML, as the tokenizer brings none"
    assert chat.choose(CHATML, None).origin == "the tokenizer's own"
    assert chat.choose(CHATML, "chatml").origin == "ChatML (model.chat_template=chatml)"
