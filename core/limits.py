"""What the numbers in a model's JSON files may be: values that load, and then make every trial crash or every loss NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BadInput

# By the names that architectures give them: what they mean decides what they may be.
SHARE = re.compile(r"(dropout|pdrop|layerdrop|drop_rate|dropout_(prob|rate|p))$")  # of what is dropped
SMALL = re.compile(r"(_eps|_epsilon)$")
ABOVE_0 = re.compile(
    r"(^(final|attn)_logit_softcapping|^rope_theta|^layer_rope_theta|^rotary_emb_base|^rope_local_base_freq|^rotary_pct"
    r"|^partial_rotary_factor|^query_pre_attn_scalar|^logits_scaling)$"
)
FINITE = re.compile(r"(initializer_range|_multiplier|logit_scale|_std|_coef|^sliding_window)$")
ROPE = ("rope_scaling", "rope_parameters")  # objects: what is in them is above 0 by these names
OF_ROPE = re.compile(r"(^factor|_factor|^rope_theta|^original_max_position_embeddings)$")
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, said in words."""

    words: str
    least: float
    most: float = 1e30

    def __contains__(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most)


ABOVE, FROM_0 = Range("a finite number above 0", math.nextafter(0.0, 1.0)), Range("a finite number from 0", 0.0)
GENERATION = {
    **dict.fromkeys(("temperature", "top_k", "max_length", "max_new_tokens", "min_length"), FROM_0),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty"), ABOVE),
    **dict.fromkeys(("top_p", "typical_p"), Range("above 0 and at most 1", math.nextafter(0.0, 1.0), 1.0)),
    **dict.fromkeys(("min_p", "epsilon_cutoff"), Range("from 0 to 1", 0.0, 1.0)),
    "num_beams": Range("at least 1", 1.0),
}


def wrong(path: Path, name: str, value: object, must: str) -> BadInput:
    text = f"{name}={value!r:.80}: {must}; correct it or fetch the model again"
    return BadInput(f"model: {path}: {text}", field="model.name")


def check_config(path: Path, settings: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """The numbers of config.json; `whole`: with its text part over the rest.

    Raises:
        BadInput: one is no number, not finite, or out of its range.
    """
    _check_nan(path, settings)
    for name, value in whole.items():
        for one in value if isinstance(value, list) else [value]:
            _check_number(path, name, one, _range(name))
    for rope in ROPE:
        for name, one in _leaves(whole.get(rope)):
            _check_number(path, f"{rope}.{name}", one, ABOVE if OF_ROPE.search(name) else None)
    _check_names(path, settings)
    _check_tokens(path, whole, None)
    vocabulary, pad = whole.get("vocab_size"), whole.get("pad_token_id")
    if type(vocabulary) is int and type(pad) is int and pad >= vocabulary:
        raise wrong(path, "pad_token_id", pad, f"must be below vocab_size={vocabulary}")


def _check_names(path: Path, settings: Mapping[str, Any]) -> None:
    """Objects that name classes: of the model's own code, and of a classifier's labels, which transformers reads of any model."""

    def is_map(name: str, takes: Callable[[str, Any], bool]) -> bool:
        found = settings.get(name)
        return found is None or (isinstance(found, Mapping) and all(takes(key, value) for key, value in found.items()))

    if not is_map("auto_map", lambda _, value: isinstance(value, str) and "." in value):
        raise wrong(path, "auto_map", settings["auto_map"], 'must name classes, as {"AutoModelForCausalLM": "modeling.Model"}')
    if not is_map("id2label", lambda key, value: key.isascii() and key.isdigit() and isinstance(value, str)):
        raise wrong(path, "id2label", settings["id2label"], 'must name labels by numbers, as {"0": "LABEL_0"}')
    if not is_map("label2id", lambda _, value: type(value) is int):
        raise wrong(path, "label2id", settings["label2id"], 'must number labels, as {"LABEL_0": 0}')


def check_generation(path: Path, settings: Mapping[str, Any], vocabulary: int | None) -> None:
    """The numbers of generation_config.json, which is saved with a tuned model.

    Raises:
        BadInput: one is impossible.
    """
    _check_nan(path, settings)
    _check_tokens(path, settings, vocabulary)
    for name, wanted in GENERATION.items():
        _check_number(path, name, settings.get(name), wanted)
    if not isinstance(sampled := settings.get("do_sample"), bool | None):
        raise wrong(path, "do_sample", sampled, "must be true or false")


def check_tokenizer(path: Path, settings: Mapping[str, Any]) -> None:
    """The numbers of tokenizer_config.json.

    Raises:
        BadInput: one is impossible.
    """
    _check_nan(path, settings)
    _check_number(path, "model_max_length", settings.get("model_max_length"), Range("above 0", 1.0, math.inf))
    if (side := settings.get("padding_side", "right")) not in ("left", "right"):
        raise wrong(path, "padding_side", side, "must be left or right")
    end = settings.get("eos_token")
    end = end.get("content") if isinstance(end, Mapping) else end
    if isinstance(end, str) and (len(end.strip()) < 2 or (end.isalpha() and end.islower())):
        must = "an ordinary text, at which every text with it would end; give the token that ends texts, such as </s>"
        raise wrong(path, "eos_token", end, must)


def _check_nan(path: Path, settings: Mapping[str, Any]) -> None:
    for name, value in _leaves(settings):
        if isinstance(value, float) and math.isnan(value):
            raise wrong(path, name, value, "is no number")


def _leaves(value: object) -> Iterator[tuple[str, Any]]:
    """What lies in an object at any depth, with the name that it goes by (a list's elements: the list's)."""
    waiting = [("", value)]
    while waiting:
        name, one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += [(str(key), inner) for key, inner in one.items()]
        elif isinstance(one, list):
            waiting += [(name, inner) for inner in one]
        else:
            yield name, one


def _check_number(path: Path, name: str, value: object, wanted: Range | None) -> None:
    if value is None or wanted is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(path, name, value, "must be a number")
    if value not in wanted:
        raise wrong(path, name, value, f"must be {wanted.words}")


def _range(name: str) -> Range | None:
    """What a number of this name must be."""
    if SHARE.search(name):
        return Range("from 0 to below 1", 0.0, math.nextafter(1.0, 0.0))
    if SMALL.search(name):
        return Range("from 0 to 1", 0.0, 1.0)
    if ABOVE_0.search(name):
        return ABOVE
    return Range("a finite number", -1e30) if FINITE.search(name) else None


def _check_tokens(path: Path, settings: Mapping[str, Any], vocabulary: int | None) -> None:
    """Ids of tokens: whole numbers below the vocabulary's size; -1 has meant "none"."""
    for name in TOKENS:
        value = settings.get(name)
        for one in value if isinstance(value, list) else [value]:
            whole = type(one) is int and one >= -1
            if one is not None and not (whole and (vocabulary is None or one < vocabulary)):
                must = "must be the id of a token" + (f", below vocab_size={vocabulary}" if vocabulary is not None else "")
                raise wrong(path, name, value, must)
