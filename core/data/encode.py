"""Rows → token ids and a loss mask over the assistant's tokens, through the tokenizer's own chat template (core/spans.py).

The same functions tell a dry run what a trial will meet: `tokens` needs no more than the tokenizers library.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core import spans
from core.data.rows import Row
from core.data.turns import Message
from core.errors import BadInput
from core.template import Special, Template

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

CHARACTERS_A_TOKEN = 64  # many more than a token of any language has on average
IM_START, IM_END = "<|im_start|>", "<|im_end|>"
OWN, DEFAULT_CHATML = "the tokenizer's own", "ChatML, as the tokenizer brings none"

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
    """Token ids of a conversation, and 1 where the assistant speaks. `kl_mask`: 1 where the tuned model is held near its base
    (`train.kl_to_base`); empty: nowhere."""

    id: str
    ids: list[int]
    mask: list[int]
    kl_mask: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class EncodedPair:
    """Two answers to one prompt; `number`: the pair's place among those of a training."""

    number: int
    chosen: Encoded
    rejected: Encoded

    @property
    def ids(self) -> list[int]:
        """Of both."""
        return self.chosen.ids + self.rejected.ids


@dataclass(frozen=True)
class Batch:
    """Encoded rows, and how many did not fit."""

    rows: tuple[Encoded, ...]
    n_truncated: int  # cut at seq_len, some of the response kept
    n_too_long: int  # skipped: the prompt alone fills seq_len
    n_dropped: int = 0  # rows of which the template leaves out text
    dropped: Mapping[str, int] = field(default_factory=dict)  # what it leaves out: in how many rows, by kind


def plain(inner: Tokenizer) -> Tokenizer:
    """The tokenizer without what its file may have kept of one use of it: cutting texts, padding them, splitting its own special
    tokens, and merges that are left out at random (BPE dropout). Rows are encoded whole, each time the same."""
    inner.no_truncation()
    inner.no_padding()
    inner.encode_special_tokens = False
    if getattr(inner.model, "dropout", None) is not None:
        inner.model.dropout = None
    return inner


def special_tokens(inner: Tokenizer, variables: Mapping[str, Any]) -> Special:
    """What a template is told of special tokens, and those that may end a turn."""
    added = [token for _, token in sorted(inner.get_added_tokens_decoder().items())]
    known = [token.content for token in added if token.special] + [str(variables.get("eos_token") or "")]
    as_values = {name: tuple(value) if isinstance(value, list) else value for name, value in variables.items()}
    return Special(tuple(sorted(as_values.items())), tuple(dict.fromkeys(token for token in known if token)))


@functools.lru_cache(maxsize=16)
def compiled(source: str, special: Special) -> Template:
    """The template, compiled once in a process."""
    return Template(source, special)


def template_of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template that the tokenizer holds (`give_template` has seen to it that it holds one)."""
    variables: dict[str, Any] = dict(tokenizer.special_tokens_map)
    return compiled(str(tokenizer.chat_template), special_tokens(tokenizer.backend_tokenizer, variables))


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], answer_next: bool = False) -> str:
    """The conversation as text; `answer_next` ends it with the assistant's opening."""
    return template_of(tokenizer).render(messages, answer_next=answer_next)


def end_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end an answer: those that the template ends turns with, and the end of text."""
    stops: list[Any] = [tokenizer.convert_tokens_to_ids(stop) for stop in template_of(tokenizer).turn.stops]
    return tuple(dict.fromkeys(int(token) for token in (*stops, tokenizer.eos_token_id) if token is not None))


def ending(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer whose end of text is the token that ends a turn, which is all that others look at."""
    own = copy.deepcopy(tokenizer)
    if stops := template_of(tokenizer).turn.stops:
        own.eos_token = stops[0]
    return own


def rendered(template: Template, row: Row) -> spans.Rendered:
    """The row as text.

    Raises:
        BadInput: the template refuses it, leaves an answer out, or the answers cannot be told.
    """
    try:
        return spans.render(template, row.messages, row.tools)
    except BadInput as error:  # of its own type: an Endless one is told once for all rows
        raise type(error)(f"{row.place}: {error}", field=error.field) from None


def _encoding(inner: Tokenizer, text: str, seq_len: int | None) -> Any:
    """The text's encoding, or that of a beginning which has twice the tokens that are kept: where it was cut changes none of
    those."""
    most = CHARACTERS_A_TOKEN * seq_len if seq_len is not None else len(text)
    if len(text) > most:
        beginning = inner.encode(text[:most], add_special_tokens=False)
        if len(beginning.ids) > 2 * seq_len:  # type: ignore[operator]
            return beginning
    return inner.encode(text, add_special_tokens=False)


def tokens(inner: Tokenizer, text: spans.Rendered, row: Row, last_only: bool = False, seq_len: int | None = None) -> Encoded:
    """The row's tokens and mask; a token that overlaps the assistant's characters is the assistant's. `seq_len`: how many tokens
    will be kept, so that of a text many times as long the beginning alone has to be looked at.

    Raises:
        BadInput: no token is left to be taught.
    """
    encoding = _encoding(inner, text.text, seq_len)
    taught = bytearray(len(text.text) + 1)
    for start, end in text.taught(row.messages, last_only):
        taught[start:end] = b"\1" * (end - start)
    # a token without characters of its own (the later bytes of one) belongs to the character that it stands at
    mask = [int(taught[start] or 1 in taught[start:end]) for start, end in encoding.offsets]
    if not any(mask[1:]) and not (seq_len is not None and len(mask) > seq_len and any(taught)):  # else it is cut off
        text_ = "every answer has weight 0" if not any(taught) else "the tokenizer leaves no token of the response"
        raise BadInput(f"{row.place}: {text_}; nothing would be taught", field="data.source")
    return Encoded(row.id, encoding.ids, mask)


def cut(one: Encoded, seq_len: int) -> Encoded | None:
    """The row's first `seq_len` tokens; None if no token of the response is among them (the first is never predicted)."""
    if len(one.ids) <= seq_len:
        return one
    short = Encoded(one.id, one.ids[:seq_len], one.mask[:seq_len])
    return short if any(short.mask[1:]) else None


def encode(tokenizer: PreTrainedTokenizerBase, row: Row, last_only: bool = False) -> Encoded:
    """One row's tokens and mask."""
    return tokens(tokenizer.backend_tokenizer, rendered(template_of(tokenizer), row), row, last_only)


def encode_all(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], seq_len: int, last_only: bool = False) -> Batch:
    """Every row encoded. Too long ones are cut at `seq_len` if some response tokens remain, skipped otherwise."""
    template, inner = template_of(tokenizer), tokenizer.backend_tokenizer
    kept, n_truncated, n_too_long, n_dropped, dropped = [], 0, 0, 0, Counter[str]()
    for row in rows:
        text = rendered(template, row)
        dropped.update(text.dropped)
        n_dropped += bool(text.dropped)
        whole = tokens(inner, text, row, last_only, seq_len)
        one = cut(whole, seq_len)
        if one is None:
            n_too_long += 1
        else:
            n_truncated += one is not whole
            kept.append(one)
    return Batch(tuple(kept), n_truncated, n_too_long, n_dropped, dict(dropped))


def documents(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[Encoded, ...]:
    """Plain documents between end-of-text tokens, as in pretraining, every token in the loss."""
    end = [tokenizer.eos_token_id]
    encoded = [[*end, *tokenizer(text, add_special_tokens=False)["input_ids"], *end] for text in texts]
    return tuple(Encoded(f"document {i}", ids, [1] * len(ids)) for i, ids in enumerate(encoded))


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a beginning-of-text token before a text by itself."""
    return tokenizer.bos_token is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def chatml(bos_first: bool) -> str:
    """ChatML for a tokenizer that puts a beginning-of-text token before a text by itself, or does not."""
    return ("{{ bos_token }}" if bos_first else "") + CHATML


def brings_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether its template is its own, or a file's, and not the ChatML that bases without one are given."""
    return tokenizer.chat_template not in (chatml(True), chatml(False))


def give_template(tokenizer: PreTrainedTokenizerBase, source: str | None = None) -> list[int]:
    """Gives the tokenizer the chat template `source`; with None it keeps its own one, and gets ChatML where it has none. Returns
    the ids of tokens that had to be added.

    Raises:
        BadInput: the tokenizer cannot hold a template (no offsets, or no single token for the turn marks).
    """
    if not tokenizer.is_fast:
        raise BadInput(
            "the model's tokenizer cannot hold a chat template: it is not a fast one and gives no character offsets",
            field="model.name",
        )
    if source is not None or tokenizer.chat_template is not None:
        tokenizer.chat_template = source if source is not None else tokenizer.chat_template
        return []
    known = tokenizer.get_vocab()
    tokenizer.add_special_tokens({"additional_special_tokens": [IM_START, IM_END]})
    tokenizer.chat_template = chatml(adds_bos(tokenizer))
    for mark in (IM_START, IM_END):
        if tokenizer(mark, add_special_tokens=False)["input_ids"] != [tokenizer.convert_tokens_to_ids(mark)]:
            raise BadInput(
                f"the model's tokenizer cannot hold a chat template: {mark} does not stay one token", field="model.name"
            )
    return [tokenizer.get_vocab()[mark] for mark in (IM_START, IM_END) if mark not in known]
