"""What a model writes by itself: greedy continuations in left-padded batches with a key-value cache, by which every task asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from core.adapters import virtual
from core.data import encode
from core.data.rows import Row
from core.tasks import costs
from core.tasks.measurement import Measurement, Subject, batches_by_length, context_of, device_of, shape_of
from core.tasks.prompts import Prompt
from core.thoughts import after_thoughts, begins

N_LONGEST = 8  # right answers, by their characters, whose tokens are counted
DRAWN: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}  # from the model as it is


@dataclass(frozen=True)
class Written:
    """One continuation: its token ids without the end, whether it ended by itself (else it was cut), and by which token."""

    ids: tuple[int, ...]
    stopped: bool
    end: int | None = None


@dataclass(frozen=True)
class Decoding:
    """How continuations are written: the tokens that end one, at most how many tokens, how many prompts at a time. `seed`: they
    are drawn at temperature 1; None: greedy."""

    ends: tuple[int, ...]
    most: int
    batch_size: int
    seed: int | None = None


def prompt_ids(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Prompt]) -> list[list[int]]:
    """The conversations through the tokenizer's chat template, up to where the assistant's next words begin."""
    template = encode.template_of(tokenizer)
    texts = [template.render(one.messages, one.tools, answer_next=True) for one in asked]
    return [list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in texts]


@dataclass(frozen=True)
class Answers:
    """What was written to n questions: `texts` without special tokens, white space at the ends and thoughts before the answer."""

    texts: tuple[str, ...]
    written: tuple[Written, ...]

    def measurements(self, groups: tuple[str, ...], ids: tuple[str, ...], of: str = "") -> list[Measurement]:
        """How many answers end by themselves, and how long they are, by the groups and ids of the questions. `of`: the task,
        where it may stand beside another that lets the model write."""
        stopped = np.array([one.stopped for one in self.written], dtype=float)
        tokens = np.array([len(one.ids) for one in self.written], dtype=float)
        scores = {"/".join(filter(None, ("written", what, of))): n for what, n in {"stopped": stopped, "tokens": tokens}.items()}
        return [Measurement(name, "other", groups, ids, score, np.ones(len(ids))) for name, score in scores.items()]


def answers(subject: Subject, asked: Sequence[Prompt], right: Sequence[str], most: int | None = None) -> Answers:
    """The model's answers to prompts, each up to the end of its turn and as long as `room` says."""
    tokenizer = subject.tokenizer
    how = Decoding(encode.end_ids(tokenizer), room(subject, right, most), subject.trial.evaluation.batch_size)
    found = write(subject.model, prompt_ids(tokenizer, asked), how)
    return Answers(tuple(answers_in(tokenizer, texts(tokenizer, found))), tuple(found))


def answers_in(tokenizer: PreTrainedTokenizerBase, written: Sequence[str]) -> list[str]:
    """What was written in chats, without the thoughts before it."""
    begun = begins(encode.template_of(tokenizer).turn.opening)
    return [after_thoughts(text, begun) for text in written]


def room(subject: Subject, right: Sequence[str], most: int | None = None) -> int:
    """How many tokens an answer may have: `evaluation.max_new_tokens`, else `most`, else by the longest of the `right` ones as it
    is taught, with its end and what the template puts before it."""
    if (asked := subject.trial.evaluation.max_new_tokens or most) is not None:
        return asked
    turns = ({"role": "user", "content": "a"},)
    longest = sorted(right, key=len)[-N_LONGEST:]
    rows = [Row("", (*turns, {"role": "assistant", "content": text})) for text in longest]
    taught = max(sum(encode.encode(subject.tokenizer, row).mask) for row in rows)
    return costs.room_for(taught, subject.seq_len)


def texts(tokenizer: PreTrainedTokenizerBase, found: Sequence[Written]) -> list[str]:
    """The continuations as text, without special tokens and white space at the ends."""
    return [str(tokenizer.decode(list(one.ids), skip_special_tokens=True)).strip() for one in found]


@torch.no_grad()
def write(model: nn.Module, prompts: Sequence[Sequence[int]], how: Decoding) -> list[Written]:
    """Continuations of the prompts, in their order; what a prompt gets does not depend on its neighbours' lengths, if greedy.

    A prompt that leaves less room than `how.most` in the model's context goes on as far as there is room; one that fills it
    gets nothing.
    """
    context = context_of(model)
    found = [Written((), stopped=False)] * len(prompts)
    drawing = contextlib.nullcontext() if how.seed is None else seeded(device_of(model), how.seed)
    with own_settings_aside(model), _contiguous(model), drawing:
        for batch, most in _batches(model, [len(prompt) for prompt in prompts], how, context):
            for i, one in zip(batch, _continued(model, [prompts[i] for i in batch], how, most), strict=True):
                found[i] = one
    return found


def _batches(model: nn.Module, lengths: Sequence[int], how: Decoding, context: int | None) -> Iterator[tuple[list[int], int]]:
    """Indices of prompts that are continued together, and by how many tokens: prompts with little room go alone."""
    rooms = [how.most if context is None else min(how.most, context - n) for n in lengths]
    easy = [i for i, room in enumerate(rooms) if room == how.most and lengths[i]]
    if easy:
        size = min(how.batch_size, most_together(model, max(lengths[i] for i in easy) + how.most))
        for batch in batches_by_length([lengths[i] for i in easy], size):
            yield [easy[i] for i in batch], how.most
    for i, room in enumerate(rooms):
        if 0 < room < how.most:
            yield [i], room


def most_together(model: nn.Module, n_tokens: int) -> int:
    """How many texts of so many tokens may be written at a time, for their keys and values."""
    return shape_of(model).written_together(next(model.parameters()).element_size(), n_tokens)


def _continued(model: nn.Module, prompts: Sequence[Sequence[int]], how: Decoding, most: int) -> list[Written]:
    ends = how.ends
    width, device = max(map(len, prompts)), device_of(model)
    padding = [width - len(prompt) for prompt in prompts]  # on the left, so that all go on at the same place; masked: any id
    ids = [[ends[0]] * n + list(prompt) for n, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * (width - n) for n in padding]
    drawn = {"do_sample": False} if how.seed is None else DRAWN
    settings = GenerationConfig(**drawn, max_new_tokens=most, use_cache=True, pad_token_id=ends[0], eos_token_id=list(ends))
    continued = virtual.continued(model, torch.tensor(ids, device=device), torch.tensor(mask, device=device), settings)
    return [_until_end(answer, ends) for answer in continued.tolist()]


def _until_end(answer: list[int], ends: tuple[int, ...]) -> Written:
    at = next((i for i, token in enumerate(answer) if token in ends), None)
    return Written(tuple(answer), False) if at is None else Written(tuple(answer[:at]), True, answer[at])


@contextlib.contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """The generators of torch begin at the seed inside, and go on outside as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _contiguous(model: nn.Module) -> Iterator[None]:
    """Gives the head in bfloat16 a copy of the last positions in place of a slice of all: of a slice, torch 2.13 on a CPU copies
    the head's weights for each row (64 prompts of 75 tokens, 49,152 words: 5.4 s and 3.4 GB, in place of 12 ms)."""
    head: Any = model.get_output_embeddings()  # type: ignore[operator]

    def copied(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (given[0].contiguous(), *given[1:]) if given and given[0].dtype == torch.bfloat16 else None

    hook = head.register_forward_pre_hook(copied)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def own_settings_aside(model: nn.Module) -> Iterator[None]:
    """What generation_config.json says (temperature, penalties, suppressed tokens) would fill in all that is not given. A mixture
    of experts that config.json asks for its routers' logits would balance the loads of a whole prompt at each token, and fail."""
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    config = bare.config.get_text_config()
    own, routers = bare.generation_config, getattr(config, "output_router_logits", None)
    bare.generation_config = GenerationConfig()
    if routers:
        config.output_router_logits = False
    try:
        yield
    finally:
        bare.generation_config = own
        if routers:
            config.output_router_logits = routers
