"""The loss is on the assistant's tokens and on nothing else: proven by decoding the unmasked tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MARKED, UNMARKED, make_tokenizer

from core.data import encode, kinds, rows
from core.errors import BadInput

SINGLE = ({"role": "user", "content": "hello there"}, {"role": "assistant", "content": "fine, thanks ."})
MULTI = (
    {"role": "system", "content": "be brief"},
    *SINGLE,
    {"role": "user", "content": "what is two plus three ?"},
    {"role": "assistant", "content": "it is five — naïve 😀"},
)


def row(messages: tuple[dict[str, str], ...]) -> rows.Row:
    return rows.Row("id", messages, place="line 1")


def spoken(tokenizer, encoded: encode.Encoded) -> list[str]:
    """The text of each unmasked run of tokens."""
    runs: list[list[int]] = []
    for i, (token, mask) in enumerate(zip(encoded.ids, encoded.mask, strict=True)):
        if mask:
            if i == 0 or not encoded.mask[i - 1]:
                runs.append([])
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize("template", [MARKED, UNMARKED], ids=["generation marks", "no marks"])
def test_unmasked_tokens_are_the_answers_and_their_end(template: str) -> None:
    tokenizer = make_tokenizer(template)
    assert encode.give_template(tokenizer) == []
    assert spoken(tokenizer, encode.encode(tokenizer, row(SINGLE))) == ["fine, thanks .</s>"]
    assert spoken(tokenizer, encode.encode(tokenizer, row(MULTI))) == ["fine, thanks .</s>", "it is five — naïve 😀</s>"]


def test_marks_and_prefixes_agree_token_for_token() -> None:
    marked, unmarked = make_tokenizer(MARKED), make_tokenizer(UNMARKED)
    assert encode.encode(marked, row(MULTI)) == encode.encode(unmarked, row(MULTI))


def test_chatml_default_adds_two_tokens_and_trains_the_end_of_turn() -> None:
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    assert encode.give_template(tokenizer) == [size, size + 1]
    encoded = encode.encode(tokenizer, row(MULTI))
    assert spoken(tokenizer, encoded) == ["fine, thanks .<|im_end|>", "it is five — naïve 😀<|im_end|>"]
    assert encode.give_template(tokenizer) == []  # it has one now
    whole = tokenizer.decode(encoded.ids)
    assert whole.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello there")


def test_a_newline_after_the_end_of_turn_is_not_the_answers() -> None:
    tokenizer = make_tokenizer()
    encode.give_template(tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert spoken(tokenizer, encode.encode(tokenizer, row(SINGLE))) == ["fine, thanks .<|im_end|>"]


def test_a_template_that_writes_earlier_turns_otherwise() -> None:
    rewriting = "{% for m in messages %}{{ '<u>' if not loop.last else '<a>' }}{{ m['content'] }}{% endfor %}"
    tokenizer = make_tokenizer(rewriting)
    assert spoken(tokenizer, encode.encode(tokenizer, row(MULTI))) == ["fine, thanks .", "it is five — naïve 😀"]


def test_what_a_template_refuses_is_bad_input() -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + UNMARKED
    with pytest.raises(BadInput, match=r"line 1: .*no system role"):
        encode.encode(make_tokenizer(strict), row(MULTI))


def test_too_long_rows_are_cut_or_skipped_and_counted() -> None:
    tokenizer = make_tokenizer(MARKED)
    long_answer = ({"role": "user", "content": "hello"}, {"role": "assistant", "content": "five " * 50})
    long_prompt = ({"role": "user", "content": "hello " * 50}, {"role": "assistant", "content": "five"})
    batch = encode.encode_all(tokenizer, [row(SINGLE), row(long_answer), row(long_prompt)], seq_len=24)
    assert (len(batch.rows), batch.n_truncated, batch.n_too_long) == (2, 1, 1)
    assert all(len(one.ids) <= 24 and any(one.mask) for one in batch.rows)


def test_laboratory_template() -> None:
    transformers = pytest.importorskip("transformers")
    from core.lab import base_path, names

    if not names() or not (base_path(names()[0]) / "tokenizer.json").exists():
        pytest.skip("no laboratory base yet")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_path(names()[0]))
    one = kinds.load("data.source", "lab:curated").rows[0]
    answer = " ".join(spoken(tokenizer, encode.encode(tokenizer, one))).split()
    assert answer == [*one.messages[-1]["content"].split(), "<|end|>"]


def test_real_rows_decode_to_their_answers(shared: Path, stories: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(stories)
    assert len(encode.give_template(tokenizer)) == 2
    lima = kinds.load("data.source", str(shared / "data" / "instruct" / "lima.jsonl.gz")).rows
    multi = next(one for one in lima if len(one.messages) > 2)
    for one in (lima[0], multi):
        encoded = encode.encode(tokenizer, one)
        answers = [m["content"] + "<|im_end|>" for m in one.messages if m["role"] == "assistant"]
        squeezed = ["".join(text.split()) for text in spoken(tokenizer, encoded)]
        assert squeezed == ["".join(text.split()) for text in answers]
        assert encoded.ids[0] == tokenizer.bos_token_id
