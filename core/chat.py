"""A tokenizer's files without transformers: its chat template rendered, its tokens counted. For estimates before a sweep."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.encode import CHATML, IM_END, IM_START
from core.data.turns import Message
from core.errors import BadInput

if TYPE_CHECKING:
    import jinja2
    from tokenizers import Tokenizer

GENERATION_TAGS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
SLOW_FILES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")  # transformers converts them to fast tokenizers


@functools.lru_cache(maxsize=8)
def tokenizer(directory: Path) -> Tokenizer | None:
    """The fast tokenizer, or None if its files must first be converted by transformers.

    Raises:
        BadInput: there is no tokenizer, or it cannot be read.
    """
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        if any((directory / name).is_file() for name in SLOW_FILES):
            return None
        raise BadInput(
            f"model: {directory} has no tokenizer (tokenizer.json), so it cannot hold a chat template", field="model.name"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise BadInput(f"model: {path} cannot be read as a tokenizer ({error})", field="model.name") from None


def chat_template(directory: Path) -> str | None:
    """The tokenizer's own template; None if it has none and gets ChatML."""
    file = directory / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = _settings(directory).get("chat_template")
    if template is not None and not isinstance(template, str):
        raise BadInput(f"model: the tokenizer in {directory} has several chat templates; one is needed", field="model.name")
    return template


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise BadInput(f"model: {path} is not JSON ({error})", field="model.name") from None
    return settings


def n_new_tokens(directory: Path) -> int:
    """How many tokens ChatML has to add: 0, 1 or 2."""
    inner = tokenizer(directory)
    if inner is None or chat_template(directory) is not None:
        return 0
    return sum(inner.token_to_id(mark) is None for mark in (IM_START, IM_END))


@functools.lru_cache(maxsize=8)
def _with_marks(directory: Path) -> Tokenizer | None:
    """A tokenizer for counting: with the tokens that ChatML will add."""
    inner = tokenizer(directory)
    if inner is None or not n_new_tokens(directory):
        return inner
    counting = type(inner).from_str(inner.to_str())
    counting.add_special_tokens([IM_START, IM_END])
    return counting


@functools.lru_cache(maxsize=8)
def _compiled(directory: Path) -> tuple[jinja2.Template, dict[str, str]]:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: ""}
    special = {name: value for name, value in _settings(directory).items() if name.endswith("_token")}
    special = {name: value["content"] if isinstance(value, dict) else str(value) for name, value in special.items() if value}
    try:
        return environment.from_string(GENERATION_TAGS.sub("", chat_template(directory) or CHATML)), special
    except jinja2.TemplateError as error:
        raise BadInput(f"model: the chat template in {directory} is not a Jinja template ({error})", field="model.name") from None


def n_tokens(directory: Path, messages: Sequence[Message]) -> tuple[int, int]:
    """About how many tokens the conversation has, and how many of them come before its last answer.

    Raises:
        BadInput: the template refuses the conversation.
    """
    template, special = _compiled(directory)
    try:
        whole = template.render(messages=list(messages), add_generation_prompt=False, **special)
    except Exception as error:  # templates raise what they like
        raise BadInput(f"the tokenizer's chat template refuses this conversation ({error})", field="data.source") from None
    inner, answer = _with_marks(directory), messages[-1]["content"]
    if inner is None:
        return max(1, len(whole) // 4), max(1, (len(whole) - len(answer)) // 4)  # four characters a token: assumption
    count = len(inner.encode(whole, add_special_tokens=False).ids)
    return count, count - len(inner.encode(answer, add_special_tokens=False).ids)


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


def count_base_text(directory: Path, path: str, text: str, seq_len: int) -> None:
    """The same, told before a sweep from the text's beginning: 16 characters for each token that is needed are plenty.

    Raises:
        BadInput: the text is too short.
    """
    inner = tokenizer(directory)
    if inner is None:
        return
    window = seq_len - (inner.encode("a").ids[:1] != inner.encode("a", add_special_tokens=False).ids[:1])
    beginning = text[: 2 * seq_len * 16]
    if len(inner.encode(beginning, add_special_tokens=False).ids) < 2 * window:
        check_base_text(path, len(inner.encode(text, add_special_tokens=False).ids), window)
