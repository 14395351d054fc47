"""A tokenizer's files without transformers: which chat template is used, how it writes rows, what they come to in tokens. A dry
run asks here what a trial does with the same functions (core/template.py, core/spans.py, core/data/encode.py)."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import checkpoint
from core.data.encode import DEFAULT_CHATML, IM_END, IM_START, OWN, chatml, compiled, plain, special_tokens
from core.data.rows import Row
from core.data.turns import Message
from core.errors import BadInput
from core.fields import content_hash
from core.naming import expanded
from core.spans import WAYS, Rendered, changed_later
from core.template import TODAY, Special, Template
from core.weights import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLOW_FILES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")  # transformers converts them to fast tokenizers
CHATML_ASKED = "chatml"  # model.chat_template
MOST_BYTES = 4_000_000  # of a template file
LONG_ANSWER = 12  # characters
MOST_KINDS = 512  # of conversations that are tried before a sweep


def tokenizer(directory: Path) -> Tokenizer | None:
    """The fast tokenizer, or None if its files must first be converted by transformers.

    Raises:
        BadInput: there is no tokenizer, or it cannot be read.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        if any((directory / name).is_file() for name in SLOW_FILES):
            return None
        text = "has no tokenizer (a file tokenizer.json), so it cannot hold a chat template; put the model's own there"
        raise BadInput(f"model: {directory} {text}", field="model.name")
    return _read(path, checkpoint.state(path))


@functools.lru_cache(maxsize=8)
def _read(path: Path, state: object) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return plain(Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises bare Exceptions
        raise BadInput(f"model: {path} cannot be read as a tokenizer ({error}); fetch it again", field="model.name") from None


@dataclass(frozen=True)
class Chosen:
    """A chat template and where it comes from, in words. `source` None: ChatML, whose tokens may have to be added."""

    source: str | None
    origin: str


def choose(own: object, asked: str | None) -> Chosen:
    """The template that is used: the one of `model.chat_template` (a file, or "chatml"), or the tokenizer's own (of several named
    ones "default"), or ChatML.

    Raises:
        BadInput: the file cannot be read, or the tokenizer has no template of which it could be said that it is meant.
    """
    if asked == CHATML_ASKED:
        return Chosen(None, "ChatML (model.chat_template=chatml)")
    if asked is not None:
        return Chosen(template_file(asked), f"{asked} (model.chat_template)")
    if own is None or isinstance(own, str):
        return Chosen(own, OWN if own is not None else DEFAULT_CHATML)
    named = own
    if isinstance(own, list) and all(isinstance(one, dict) for one in own):
        named = {one.get("name"): one.get("template") for one in own}
    if isinstance(named, dict) and isinstance(named.get("default"), str):
        return Chosen(named["default"], f'{OWN}, of its {len(named)} named ones "default"')
    names = f"chat templates named {', '.join(map(str, named))}" if isinstance(named, dict) else "no text as its chat template"
    raise BadInput(f"model.name: the tokenizer has {names} and none named default; {WAYS}", field="model.chat_template")


def template_file(name: str) -> str:
    """The text of a template file.

    Raises:
        BadInput: there is no such file, or it is not UTF-8 text.
    """
    path = expanded("model.chat_template", name)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device"
        text = f"is not a file but {what}; give a file with a Jinja template, or chatml"
        text = text if path.exists() else "no such file (nor chatml)"
        raise BadInput(f"model.chat_template={name}: {text}", field="model.chat_template")
    return _text(path, f"model.chat_template={name}", "model.chat_template")


def template_hash(asked: str | None) -> str:
    """A hash of what `model.chat_template` holds; empty where it names no file."""
    return "" if asked in (None, CHATML_ASKED) else content_hash(template_file(str(asked)))


def _text(path: Path, where: str, name: str) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{where}: cannot be read as text in UTF-8 ({error})", field=name) from None


def own_template(directory: Path) -> object:
    """What the tokenizer's files hold as chat template: text, named ones, or None."""
    file = directory / "chat_template.jinja"
    own: object = _settings(directory).get("chat_template")
    return _text(file, f"model: {file}", "model.name") if file.is_file() else own


def _settings(directory: Path) -> dict[str, Any]:
    """What tokenizer_config.json says."""
    path = directory / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _special_variables(directory: Path) -> dict[str, Any]:
    """The special tokens by the names that templates know them under, as transformers gives them.

    Raises:
        BadInput: one is no text.
    """
    path = directory / "special_tokens_map.json"
    found = read_json(path) if path.is_file() else {}
    settings = found | _settings(directory)
    extra = settings.get("extra_special_tokens")
    settings |= extra if isinstance(extra, dict) else {}
    tokens = {}
    for name, value in settings.items():
        if not name.endswith("_token") or name.startswith(("add_", "use_")) or value is None or isinstance(value, bool):
            continue
        content = value.get("content") if isinstance(value, dict) else value
        if not isinstance(content, str):
            file = directory / "tokenizer_config.json"
            raise BadInput(f"model: {file}: {name} must be text, not {str(value)[:60]}", field="model.name")
        tokens[name] = content
    return tokens


def n_new_tokens(directory: Path, asked: str | None = None) -> int:
    """How many tokens ChatML has to add: 0, 1 or 2."""
    inner = tokenizer(directory)
    if inner is None or choose(own_template(directory), asked).source is not None:
        return 0
    return sum(inner.token_to_id(mark) is None for mark in (IM_START, IM_END))


@dataclass(frozen=True)
class Conversations:
    """How a base's tokenizer writes conversations, as far as its files tell. `inner` is None where transformers has to convert
    them first: then nothing can be counted."""

    template: Template
    inner: Tokenizer | None
    origin: str


@functools.lru_cache(maxsize=16)
def conversations(directory: Path, asked: str | None, content: str = "") -> Conversations:
    """The template that a trial on this base will use, and its tokenizer with the tokens that are added. `content`: a hash of the
    files, so that changed ones are read again.

    Raises:
        BadInput: it has no template that can be used.
    """
    chosen, inner = choose(own_template(directory), asked), tokenizer(directory)
    variables = _special_variables(directory)
    source = chosen.source
    if source is None:
        first = inner is not None and "bos_token" in variables and _adds(inner, variables["bos_token"])
        source = chatml(first)
        if inner is not None and not {IM_START, IM_END} <= set(special_tokens(inner, {}).tokens):
            inner = _copied(directory, inner)
            inner.add_special_tokens([IM_START, IM_END])
    special = (
        special_tokens(inner, variables)
        if inner is not None
        else Special(tuple(sorted(variables.items())), tuple(variables.values()))
    )
    try:
        return Conversations(compiled(source, special), inner, chosen.origin)
    except BadInput as error:
        name = "model.chat_template" if asked is not None else "model.name"
        raise BadInput(f"{asked or directory}: {error}", field=name) from None


def _copied(directory: Path, inner: Tokenizer) -> Tokenizer:
    try:
        return type(inner).from_str(inner.to_str())
    except Exception as error:  # the library raises bare Exceptions, of two tokens with one id for example
        text = f"{directory / 'tokenizer.json'} cannot be copied as a tokenizer ({error}); fetch the model again"
        raise BadInput(f"model: {text}", field="model.name") from None


def _adds(inner: Tokenizer, token: str) -> bool:
    """Whether the tokenizer puts this token before a text by itself."""
    return inner.encode("a").ids[:1] == [inner.token_to_id(token)]


def kinds_of(rows: Iterable[Row]) -> list[Row]:
    """One row for each kind of conversation (which roles speak, in which order, with what beside text): templates refuse by kind,
    so that trying these tells what a trial will meet."""
    found: dict[object, Row] = {}
    for row in rows:
        found.setdefault(kind_of(row), row)
    return list(itertools.islice(found.values(), MOST_KINDS))


def kind_of(row: Row) -> tuple[object, ...]:
    """The kind of the row's conversation."""
    return (tuple(map(_kind, row.messages)), row.tools is not None)


def _kind(message: Message) -> tuple[object, ...]:
    content = str(message.get("content"))
    return (message["role"], not content.strip(), "<think>" in content, "</think>" in content, len(message), *sorted(message)[2:])


def notes(conversation: Conversations, rows: Sequence[Row], texts: Sequence[Rendered], last_only: bool) -> tuple[str, ...]:
    """What may not be meant about how these rows are written, in sentences."""
    template, found, looked = conversation.template, [], f"of {len(rows)} rows that were looked at"
    for kind, count in sorted(Counter(kind for text in texts for kind in text.dropped).items()):
        found.append(f"the chat template leaves out {kind} in {count} {looked}; they are trained on without it")
    written = list(zip(rows, texts, strict=True))
    changed = 0 if last_only else sum(changed_later(template, row.messages, row.tools, text) for row, text in written)
    if changed:
        ways = "train.loss_on=last teaches last answers alone, model.chat_template=FILE takes another template"
        found.append(f"the chat template writes earlier answers otherwise than last ones in {changed} {looked}; --set {ways}")
    if twice := sum(_is_twice(row, text) for row, text in written):
        found.append(f"the chat template writes an answer more than once in {twice} {looked}; look at its loops")
    if not template.turn.stops:
        end = "no text" if not template.turn.closings else f"{template.turn.closings[0].strip()!r}, which is no token of its own"
        found.append(f"the chat template ends an answer with {end}: what is trained on it does not stop by itself")
    if template.is_dated:
        found.append(f"the chat template asks for the date: it is told {TODAY:%d %B %Y} always")
    if "named ones" in conversation.origin:
        found.append(f"chat template: {conversation.origin}")
    return tuple(found)


def _is_twice(row: Row, text: Rendered) -> bool:
    """Whether an answer, long enough to be no accident, stands in the text more often than in the row."""
    said = "\n".join(str(part) for message in row.messages for part in message.values()) + str(row.tools or "")
    answers = {str(message["content"]).strip() for message in row.messages if message["role"] == "assistant"}
    return any(len(answer) >= LONG_ANSWER and text.text.count(answer) > max(1, said.count(answer)) for answer in answers)


def check_base_text(path: str, n_tokens: int, window: int) -> None:
    """Validation and test need a window of the base text each.

    Raises:
        BadInput: the text is shorter.
    """
    if n_tokens < 2 * window:
        needs = f"needs {2 * window:,} (a window of {window:,} for validation and one for test)"
        raise BadInput(
            f"evaluation.base_text={path}: has {n_tokens:,} tokens, {needs}; give more, or less data.seq_len_tokens",
            field="evaluation.base_text",
        )


def window_of(inner: Tokenizer, seq_len: int) -> int:
    """How many tokens of a text fit into a sequence, beside the one that the tokenizer puts before it."""
    return seq_len - (inner.encode("a").ids[:1] != inner.encode("a", add_special_tokens=False).ids[:1])


def count_base_text(directory: Path, path: str, text: str, seq_len: int) -> None:
    """The same, told before a sweep from the text's beginning: 16 characters for each token that is needed are plenty.

    Raises:
        BadInput: the text is too short.
    """
    inner = tokenizer(directory)
    if inner is None:
        return
    window = window_of(inner, seq_len)
    beginning = text[: 2 * seq_len * 16]
    if len(inner.encode(beginning, add_special_tokens=False).ids) < 2 * window:
        check_base_text(path, len(inner.encode(text, add_special_tokens=False).ids), window)
