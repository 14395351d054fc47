"""Whether a model and rows speak the same language: the laboratory's tokenizer has one token a word of its world."""

from __future__ import annotations

from collections.abc import Sequence

from core import chat
from core.base import BaseFiles
from core.data.kinds import kind_of
from core.data.rows import Row
from core.errors import BadInput
from core.lab.tokenizer import vocabulary

MAX_UNKNOWN_SHARE = 0.05  # of words: assumption; other text is nearly all unknown to the laboratory's tokenizer


def check(model: tuple[str, str, BaseFiles], source: str, sample: Sequence[Row]) -> None:
    """The laboratory's data and models understand only each other. `model`: the field that names it, its name, its files.

    Raises:
        BadInput: one of both is the laboratory's, and the other is not.
    """
    field, name, base = model
    known = frozenset(vocabulary())
    inner = chat.tokenizer(base.directory)
    lab_model = inner is not None and known <= inner.get_vocab().keys()
    blamed = "data.source" if field == "model.name" else field
    if kind_of(source).laboratory and not lab_model:
        what = f"data.source={source}: only a laboratory model reads it, not {name}, which needs rows of another source"
        raise BadInput(what if blamed == "data.source" else f"{field}={name}: only a laboratory model reads {source}", blamed)
    words = [word for row in sample for message in row.messages for word in message["content"].split()]
    unknown = sum(word not in known for word in words) / max(1, len(words))
    if lab_model and unknown > MAX_UNKNOWN_SHARE:
        own = field == "model.name"
        remedy = "give --model with --data" if own else "give a model that reads them, or none for the base itself"
        raise BadInput(f"{field}={name}: knows {1 - unknown:.0%} of the words of {source}; {remedy}", field=field)
