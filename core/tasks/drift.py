"""How far a tuned model has gone from its base: KL(base || tuned), exact over the vocabulary, in nats a token.

It is taken on three kinds of texts. `documents` and `answers` are the base's own, drawn at temperature 1: what it begins as its
pretraining documents began, and what it answers to prompts through its chat template, where it brings one (a base that was only
just given ChatML has no answers of its own). There KL is 0 before training and tells what the base has lost: forgetting.
`responses` are the right answers to the tuning task's held-out prompts; how much is forgotten was found to follow from the KL
there (Shenfeld et al. 2025, RL's Razor, arXiv 2509.04259).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from core import checkpoint, head
from core.data import encode
from core.data.kinds import kind_of
from core.data.rows import Row
from core.errors import BadInput
from core.tasks import generation, own_texts, prompts
from core.tasks.measurement import Measurement, Subject, context_of, device_of, together

DIVERGENCE_SHARE = 8  # of the logits that are made at a time elsewhere: of each of the two models, with six values more
DRIFT = "kl/documents"  # measured for every base but the laboratory's
SAMPLING_SEED = 20_000  # the same texts for every trial of a base, so that arms are paired
SHORTEST_SAMPLE = 8  # tokens; a base may end its text at once
# What models end or begin a document of their pretraining with, where no variable of the tokenizer says so: chat models often
# name the tokens of turns instead.
DOCUMENT_MARKS = ("<|endoftext|>", "<|end_of_text|>", "<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "</s>", "<eos>")
FIRST_WORDS = ("The", "In", "A", "It", "This", "We", "He", "When")  # of documents, where no mark begins one


@dataclass(frozen=True)
class Texts:
    """Sequences of token ids, with 1 in the mask where KL is taken."""

    ids: list[list[int]]
    masks: list[list[int]]


def measure(subject: Subject) -> list[Measurement]:
    """KL and the tuned model's NLL on every kind of text; forgetting is on the base's own, unless a base text tells it."""
    own = "forgetting" if subject.trial.evaluation.base_text is None else "other"
    found = _measured(subject, "documents", documents(subject), own)
    if encode.brings_template(subject.tokenizer):
        found += _measured(subject, "answers", answers(subject), own)
    return found + on_the_task(subject)


def on_the_task(subject: Subject) -> list[Measurement]:
    """KL on the right answers to the tuning task's held-out prompts, which is told of every trial."""
    return _measured(subject, "responses", responses(subject), "other")


def texts(subject: Subject) -> list[list[int]]:
    """The tokens of the base's own texts that the trial's drift is measured on; a trial records their hash. The workers of a
    sweep share them (core/tasks/own_texts.py)."""
    own = documents(subject).ids
    return [*own, *answers(subject).ids] if encode.brings_template(subject.tokenizer) else own


def _measured(subject: Subject, name: str, found: Texts, axis: str) -> list[Measurement]:
    """None where there is no such text."""
    if not found.ids:
        return []
    kl, nll, n_tokens = _divergence(subject.model, subject.reference, found, subject.trial.evaluation.batch_size)
    groups, items = (name,) * len(kl), tuple(f"{name} {i}" for i in range(len(kl)))
    scores = {"kl": (axis, kl), "nll": ("other", nll)}
    if name == "responses":
        del scores["nll"]  # which the tasks measure, on all of them
    return [Measurement(f"{what}/{name}", on, groups, items, score / n_tokens, n_tokens) for what, (on, score) in scores.items()]


# Documents


def documents(subject: Subject) -> Texts:
    """Texts that the base goes on with from where its documents began."""
    n, longest = subject.trial.evaluation.drift_samples, _longest(subject)
    drawn: list[tuple[list[int], int]] = own_texts.kept(
        subject.reference, ("documents", n, longest), lambda: _documents(subject.reference, subject.tokenizer, n, longest)
    )
    return Texts([ids for ids, _ in drawn], [[0] * n_begun + [1] * (len(ids) - n_begun) for ids, n_begun in drawn])


def _longest(subject: Subject) -> int:
    return checkpoint.drift_tokens(subject.trial.evaluation.drift_tokens, context_of(subject.reference))


def beginnings(tokenizer: PreTrainedTokenizerBase, n_known: int) -> list[list[int]]:
    """The tokens that documents begin with: a mark that no turn of a chat has, else the first words of texts, of several kinds.
    `n_known`: how many tokens the model has embeddings of."""
    known, taken = tokenizer.get_vocab(), _of_turns(tokenizer)
    marks = [tokenizer.bos_token, tokenizer.eos_token, *(mark for mark in DOCUMENT_MARKS if mark in known)]
    for mark in marks:
        if mark is not None and mark not in taken and known.get(str(mark), n_known) < n_known:
            return [[known[str(mark)]]]
    first = [tokenizer.bos_token_id] if encode.adds_bos(tokenizer) else []
    words = [list(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in FIRST_WORDS]
    return [[*first, *ids] for ids in words if ids] or [[0]]


def _of_turns(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The special tokens that open or close turns. What stands once, before all turns, belongs to documents too."""
    template, turn = encode.template_of(tokenizer), encode.template_of(tokenizer).turn
    user, answer = ({"role": role, "content": "a"} for role in ("user", "assistant"))
    later = ""
    for messages in ([user, answer, user], [user, answer], [user]):
        with contextlib.suppress(BadInput):  # templates of one turn, or that refuse an open question
            text, marks = template.located(messages)
            begun = [mark.at for mark in marks or () if mark.message == 0 and mark.is_end and len(messages) > 1]
            later = text[begun[0] :] if begun else text
            break
    later += turn.opening + "".join(turn.closings)
    return {token for token in template.special.tokens if token in later}


def _documents(model: nn.Module, tokenizer: PreTrainedTokenizerBase, n: int, n_tokens: int) -> list[tuple[list[int], int]]:
    """`n` texts with at most `n_tokens` tokens after their beginnings, each with how many tokens its beginning has."""
    begun = beginnings(tokenizer, model.get_input_embeddings().num_embeddings)  # type: ignore[operator,union-attr]
    starts = [begun[i % len(begun)] for i in range(n)]
    ends = _document_ends(tokenizer)
    settings = GenerationConfig(
        **generation.DRAWN,
        max_new_tokens=n_tokens,
        min_new_tokens=min(SHORTEST_SAMPLE, n_tokens),
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    found: list[tuple[list[int], int]] = [([], 0)] * n
    device = device_of(model)
    with generation.own_settings_aside(model), generation.seeded(device, SAMPLING_SEED):
        for mine in _written_together(model, starts, n_tokens):
            length = len(starts[mine[0]])
            first = torch.tensor([starts[i] for i in mine], device=device)
            drawn = model.generate(first, attention_mask=torch.ones_like(first), generation_config=settings).tolist()  # type: ignore[operator,union-attr]
            for i, ids in zip(mine, drawn, strict=True):
                end = next((at for at in range(length, len(ids)) if ids[at] in ends), len(ids) - 1)
                found[i] = ids[: end + 1], length
    return found


def _written_together(model: nn.Module, starts: list[list[int]], n_tokens: int) -> Iterator[list[int]]:
    """Indices of beginnings that are gone on with at a time: of one length, and as many as there is room for."""
    for length in sorted(set(map(len, starts))):
        of_length = [i for i, start in enumerate(starts) if len(start) == length]
        size = generation.most_together(model, length + n_tokens)
        yield from (of_length[at : at + size] for at in range(0, len(of_length), size))


def _document_ends(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    known = tokenizer.get_vocab()
    marks = [tokenizer.eos_token, *(mark for mark in ("<|endoftext|>", "<|end_of_text|>") if mark in known)]
    return list(dict.fromkeys(known[str(mark)] for mark in marks if mark is not None and str(mark) in known))


# Answers


def answers(subject: Subject) -> Texts:
    """The base's own answers to held-out prompts, each with the token that ended it. Prompts that leave no room are left out."""
    evaluation, tokenizer, longest = subject.trial.evaluation, subject.tokenizer, _longest(subject)
    asked = [prompt for prompt, _ in prompts.held_out(subject, shots=False)][: evaluation.drift_samples]
    most = min(subject.seq_len, (context_of(subject.reference) or subject.seq_len + longest) - longest)
    ids = [one for one in generation.prompt_ids(tokenizer, asked) if len(one) <= most]
    how = generation.Decoding(encode.end_ids(tokenizer), longest, evaluation.batch_size, SAMPLING_SEED)
    key = ("answers", how, tuple(map(tuple, ids)))
    said: list[list[int]] = own_texts.kept(subject.reference, key, lambda: _answers(subject.reference, ids, how))
    pairs = [(prompt, answer) for prompt, answer in zip(ids, said, strict=True) if answer]
    return Texts([[*prompt, *answer] for prompt, answer in pairs], [[0] * len(one) + [1] * len(own) for one, own in pairs])


def _answers(model: nn.Module, ids: list[list[int]], how: generation.Decoding) -> list[list[int]]:
    found = generation.write(model, ids, how)
    return [[*one.ids, *([one.end] if one.end is not None else [])] for one in found]


# Responses


def responses(subject: Subject) -> Texts:
    """The right answers to the tuning task's prompts, as rows to train on are written; what does not fit is left out."""
    most = subject.trial.evaluation.drift_samples
    rows = list(subject.rows[:most])
    if kind_of(subject.trial.data.source).own_questions:
        asked = prompts.held_out(subject, shots=False)[:most]
        told = [Row(str(i), (*one.messages, {"role": "assistant", "content": right})) for i, (one, right) in enumerate(asked)]
        rows = list(encode.encode_all(subject.tokenizer, told, subject.seq_len).rows)
    return Texts([row.ids for row in rows], [row.mask for row in rows])


def _divergence(
    model: nn.Module, reference: nn.Module, found: Texts, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL(reference || model) and the model's NLL, each (n,) summed over the masked tokens of each text, and their number."""
    n = len(found.ids)
    kl, nll, counts = np.zeros(n), np.zeros(n), np.zeros(n)
    for one in together(model, found.ids, found.masks, batch_size):
        batch, tuned = one.batch, head.scored(model, one.ids, one.at)
        base = tuned if model is reference else head.scored(reference, one.ids, one.at)
        divergence, losses = [], []
        for piece in base.pieces(DIVERGENCE_SHARE):
            found_kl, q = head.divergence(base.logits(piece), tuned.logits(piece))
            divergence.append(found_kl.double())
            losses.append(-q.gather(-1, one.targets[piece, None]).squeeze(-1).double())
        places = one.at[0].cpu().numpy()
        kl[batch] = np.bincount(places, torch.cat(divergence).cpu().numpy(), len(batch))
        nll[batch] = np.bincount(places, torch.cat(losses).cpu().numpy(), len(batch))
        counts[batch] = np.bincount(places, minlength=len(batch))
    return kl, nll, counts
