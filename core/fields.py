"""A trial's dotted fields and what makes it the same trial.

`flatten(trial)` gives the dotted fields that the command line, MLflow and the tables use; `from_flat` reads them back;
`replace_field` changes one of them; `fingerprint` hashes them with the hashes of what the trial reads.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from core.errors import BadInput, nearest
from core.settings import ADAPTERS, Adapter, Data, Evaluation, Model, Part, Prefer, Scalar, Train, Trial

# Part of every fingerprint: raise it when a change of code changes what a trial with the same settings measures.
RESULT_VERSION = 5
# Fields that came after trials had been run under this version: at its default such a field is no part of a trial's identity,
# so that what has been run stays found; and a store from before them is read with their defaults, which must never change.
ADDED_LATER = (
    "adapter.alpha",
    "adapter.init",
    "data.replay_domain",
    "data.best_share",
    "data.noise_share",
    "evaluation.tasks",
    "data.skip_bad_rows",
    "data.fields",
    "evaluation.max_new_tokens",
    "model.chat_template",
    "evaluation.answer",
    "evaluation.shots",
    "evaluation.generations",
    "evaluation.choices",
    "evaluation.choices_dev",
    "train.checkpointing",
    "evaluation.every",
    "train.keep",
    "evaluation.ifeval",
    "evaluation.lm_eval",
    "evaluation.lm_eval_chat",
    "model.double_quantization",
    "data.select",
    "data.n_candidates",
    "data.budget",
    "data.order",
    "data.scorer",
    "train.optimizer",
    "prefer.method",
    "prefer.source",
    "prefer.n_pairs",
    "prefer.beta",
    "prefer.rate_ratio",
    "prefer.epochs",
    "data.shares",
    "data.amount",
    "data.replay_text",
    "train.kl_to_base",
    "train.kl_on",
    "train.l2_to_base",
    "evaluation.scales",
)


def flatten(trial: Trial) -> dict[str, Scalar]:
    """The trial as {"model.name": ..., "adapter.rank": ..., "seed": ...}, in the order of the definitions."""
    flat: dict[str, Scalar] = {}
    for part in dataclasses.fields(trial):
        value = getattr(trial, part.name)
        if isinstance(value, Part):
            flat |= {dotted: getattr(value, name) for name, dotted in _dotted(type(value), part.name)}  # type: ignore[arg-type]
        else:
            flat[part.name] = value
    return flat


@functools.cache
def _dotted(part: type[Part], prefix: str) -> tuple[tuple[str, str], ...]:
    """A part's fields with their dotted names, in the order of the definitions."""
    return tuple((field.name, f"{prefix}.{field.name}") for field in dataclasses.fields(part))


def from_flat(flat: Mapping[str, Scalar]) -> Trial:
    """The inverse of `flatten`: builds and validates the trial."""
    parts: dict[str, dict[str, Scalar]] = {}
    top: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, tail = name.partition(".")
        if tail:
            parts.setdefault(head, {})[tail] = value
        else:
            top[head] = value
    adapter = dict(parts.get("adapter", {}))
    adapter_class = ADAPTERS[str(adapter.pop("method", "lora"))]
    known = {"model": Model, "data": Data, "train": Train, "prefer": Prefer, "evaluation": Evaluation}
    built: dict[str, Any] = {name: cls(**parts.get(name, {})) for name, cls in known.items()}
    return Trial(adapter=adapter_class(**adapter), **built, **top)


@functools.cache
def _names(part: type[Part] | type[Trial]) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(part))


def _has(trial: Trial, name: str) -> bool:
    """Whether the trial has this dotted field."""
    head, _, tail = name.partition(".")
    if head not in _names(Trial):
        return False
    part = getattr(trial, head)
    return tail in _names(type(part)) if isinstance(part, Part) else not tail and name == head  # type: ignore[arg-type]


def reads(trial: Trial, name: str) -> bool:
    """Whether anything reads this field of the trial: without a second stage its settings say nothing."""
    return trial.prefer.on or name == "prefer.method" or not name.startswith(Prefer.PREFIX)


def replace_field(trial: Trial, name: str, value: Scalar | Adapter) -> Trial:
    """The trial with one dotted field changed; `adapter` itself, or `adapter.method`, changes the method.

    Raises:
        BadInput: the field does not exist (with the nearest name) or the value is out of range.
    """
    if name == "adapter" and isinstance(value, Adapter):
        return dataclasses.replace(trial, adapter=value)
    if name == "adapter.method":
        if value not in ADAPTERS:
            raise BadInput(f"adapter.method={value!r}: {nearest(str(value), list(ADAPTERS))}", field="adapter.method")
        return trial if trial.adapter.method == value else dataclasses.replace(trial, adapter=ADAPTERS[str(value)]())
    if not _has(trial, name):
        raise BadInput(
            f"{name}: no such field with adapter.method={trial.adapter.method}; {nearest(name, list(flatten(trial)))}", field=name
        )
    head, _, tail = name.partition(".")
    changed: dict[str, Any] = {head: dataclasses.replace(getattr(trial, head), **{tail: value}) if tail else value}
    return dataclasses.replace(trial, **changed)


def parse_value(trial: Trial, name: str, text: str) -> Scalar:
    """Text from the command line as the type of the field `name` ("none" is None where the field allows it)."""
    head, _, tail = name.partition(".")
    owner = getattr(trial, head, None) if tail else trial
    hints = typing.get_type_hints(type(owner)) if owner is not None else {}
    kind = hints.get(tail or head)
    if kind is None or (not tail and head not in ("seed",)):
        choices = list(flatten(trial))
        raise BadInput(f"{name}: no such field with adapter.method={trial.adapter.method}; {nearest(name, choices)}", field=name)
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in options and text.lower() in ("none", "null"):
        return None
    wanted = next(option for option in options if option is not type(None))
    try:
        if wanted is not str and not text.isascii():
            raise ValueError(text)  # digits of other scripts
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        if wanted is int:
            return int(text)  # 25_000 is one; 25,000 would be two levels
        if wanted is float:
            number = float(text)
            if not math.isfinite(number):
                raise ValueError(text)
            return number
    except (ValueError, KeyError):
        words = {bool: "true or false", int: "a whole number", float: "a number"}[wanted]
        raise BadInput(f"{name}={text!r}: must be {words}", field=name) from None
    return text


def content_hash(value: object) -> str:
    """A short stable hash (16 hex digits) of any JSON-able value; a path whose bytes are no UTF-8 is hashed by its bytes."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def identity(trial: Trial) -> dict[str, Scalar]:
    """The trial's settings as far as they tell it from others: without fields of ADDED_LATER at their defaults."""
    defaults = flatten(Trial())
    values = flatten(trial)
    later = {name for name in ADDED_LATER if values.get(name) == defaults[name] or not reads(trial, name)}
    return {name: value for name, value in values.items() if name not in later}


def fingerprint(trial: Trial, provenance: Mapping[str, str]) -> str:
    """What makes a trial the same trial: its settings, the content hashes of its inputs, and RESULT_VERSION."""
    return content_hash({"trial": identity(trial), "provenance": dict(provenance), "version": RESULT_VERSION})
