"""Rows → token ids and a loss mask over the assistant's tokens, through the tokenizer's own chat template.

Where the template carries {% generation %} marks, they tell the assistant's characters. Where it does not, each turn's
characters are found by rendering the conversation up to it, with and without the answer; that is right only if what was
rendered before stays a prefix of what is rendered later, which is verified for every row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.data.rows import Row
from core.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
IM_START, IM_END = "<|im_start|>", "<|im_end|>"

# ChatML for tokenizers that bring no template. The end-of-turn token belongs to the answer: the model learns to stop.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Encoded:
    """Token ids of a conversation, and 1 where the assistant speaks."""

    id: str
    ids: list[int]
    mask: list[int]


@dataclass(frozen=True)
class Batch:
    """Encoded rows, and how many did not fit."""

    rows: tuple[Encoded, ...]
    n_truncated: int  # cut at seq_len, some of the response kept
    n_too_long: int  # skipped: the prompt alone fills seq_len


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], answer_next: bool = False) -> str:
    """The conversation as text; `answer_next` ends it with the assistant's opening."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer_next))


def _marked_spans(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    special: dict[str, Any] = dict(tokenizer.special_tokens_map)
    rendered: Any = render_jinja_template(
        conversations=[list(messages)],
        chat_template=tokenizer.chat_template,
        return_assistant_tokens_mask=True,
        **special,
    )
    (text,), (spans,) = rendered
    return text, spans


def _found_spans(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    whole, spans = render(tokenizer, messages), []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, after = render(tokenizer, messages[:i], answer_next=True), render(tokenizer, messages[: i + 1])
        if not (whole.startswith(after) and after.startswith(before)):
            raise BadInput(
                "the tokenizer's chat template rewrites earlier turns, so the assistant's tokens cannot be told;"
                " give it {% generation %} marks",
                field="model.name",
            )
        spans.append((len(before), _end_of_turn(after, len(before), tokenizer)))
    return whole, spans


def _end_of_turn(text: str, start: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Where the answer ends: white space after a special token (ChatML's newline) is no part of it."""
    end = len(text.rstrip())
    return end if end > start and text[:end].endswith(tuple(tokenizer.all_special_tokens)) else len(text)


def encode(tokenizer: PreTrainedTokenizerBase, row: Row) -> Encoded:
    """The row's tokens and mask; a token that overlaps the assistant's characters is the assistant's."""
    find = _marked_spans if GENERATION_MARK.search(_template(tokenizer)) else _found_spans
    try:
        text, spans = find(tokenizer, row.messages)
    except BadInput as error:
        raise BadInput(f"{row.place}: {error}", field=error.field) from None
    except Exception as error:  # a template may raise anything (roles that must alternate, no system role)
        raise BadInput(
            f"{row.place}: the tokenizer's chat template refuses this conversation ({error})", field="data.source"
        ) from None
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    mask = [0] * len(encoding["input_ids"])
    for i, (start, end) in enumerate(encoding["offset_mapping"]):
        mask[i] = int(any(start < stop and end > begin for begin, stop in spans))
    return Encoded(row.id, list(encoding["input_ids"]), mask)


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise BadInput("the tokenizer has several chat templates or none; one is needed", field="model.name")
    return template


def encode_all(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], seq_len: int) -> Batch:
    """Every row encoded. Too long ones are cut at `seq_len` if some response tokens remain, skipped otherwise."""
    kept, n_truncated, n_too_long = [], 0, 0
    for row in rows:
        one = encode(tokenizer, row)
        if not any(one.mask[1:]):
            raise BadInput(f"{row.place}: the tokenizer leaves no token of the response", field="data.source")
        if len(one.ids) > seq_len:
            one = Encoded(one.id, one.ids[:seq_len], one.mask[:seq_len])
            if not any(one.mask[1:]):  # the first token is never predicted
                n_too_long += 1
                continue
            n_truncated += 1
        kept.append(one)
    return Batch(tuple(kept), n_truncated, n_too_long)


def documents(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[Encoded, ...]:
    """Plain documents between end-of-text tokens, as in pretraining, every token in the loss."""
    end = [tokenizer.eos_token_id]
    encoded = [[*end, *tokenizer(text, add_special_tokens=False)["input_ids"], *end] for text in texts]
    return tuple(Encoded(f"document {i}", ids, [1] * len(ids)) for i, ids in enumerate(encoded))


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a beginning-of-text token before a text by itself."""
    return tokenizer.bos_token is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def give_template(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Gives a tokenizer without a chat template ChatML; returns the ids of tokens that had to be added.

    Raises:
        BadInput: the tokenizer cannot hold a template (no offsets, or no single token for the turn marks).
    """
    if not tokenizer.is_fast:
        raise BadInput(
            "the model's tokenizer cannot hold a chat template: it is not a fast one and gives no character offsets",
            field="model.name",
        )
    if tokenizer.chat_template is not None:
        return []
    size = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [IM_START, IM_END]})
    tokenizer.chat_template = ("{{ bos_token }}" if adds_bos(tokenizer) else "") + CHATML
    for mark in (IM_START, IM_END):
        if tokenizer(mark, add_special_tokens=False)["input_ids"] != [tokenizer.convert_tokens_to_ids(mark)]:
            raise BadInput(
                f"the model's tokenizer cannot hold a chat template: {mark} does not stay one token", field="model.name"
            )
    return list(range(size, len(tokenizer)))
