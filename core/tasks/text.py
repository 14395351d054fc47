"""Measures for real data: held-out responses (quality), the user's base text and drift from the base (forgetting).

Drift is measured where the base itself lives: on texts sampled from it. KL(base || tuned) there is 0 before training and
grows as the tuned model leaves the base's distribution; the NLL of the same texts is beside it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from core import chat, checkpoint, head, unchanged, warm
from core.data import files
from core.data.encode import adds_bos
from core.tasks.costs import MOST_BASE_TEXT_TOKENS
from core.tasks.generation import own_settings_aside
from core.tasks.measurement import Measurement, Subject, batches_by_length, context_of, device_of, padded, sequence_nll

BASE_TEXT = "evaluation.base_text"
DRIFT = "kl/drift"
SAMPLING_SEED = 20_000  # the same texts for every trial of a base, so that arms are paired
SHORTEST_SAMPLE = 8  # tokens; a base may end its text at once


def forgetting(subject: Subject) -> list[Measurement]:
    """What tells forgetting of every base but the laboratory's: the NLL of the base text if one is given, else the drift."""
    base_text = [_base_text(subject)] if subject.trial.evaluation.base_text is not None else []
    return base_text + _drift(subject)


def measure(subject: Subject) -> list[Measurement]:
    """Quality is the log-likelihood of held-out responses."""
    rows, size = subject.rows, subject.trial.evaluation.batch_size
    nll, n_tokens, correct = sequence_nll(subject.model, [row.ids for row in rows], [row.mask for row in rows], size)
    groups, items = tuple("held-out" for _ in rows), tuple(row.id for row in rows)
    return [
        Measurement("log_likelihood/response", "quality", groups, items, -nll / n_tokens, n_tokens),
        Measurement("accuracy/response_token", "other", groups, items, correct / n_tokens, n_tokens),
    ]


def _base_text(subject: Subject) -> Measurement:
    evaluation, seq_len = subject.trial.evaluation, subject.seq_len
    assert evaluation.base_text is not None
    most = min(evaluation.max_rows, max(1, MOST_BASE_TEXT_TOKENS // seq_len))
    text = files.read_text(BASE_TEXT, evaluation.base_text)
    unchanged.check(BASE_TEXT, evaluation.base_text, subject.base_text, text.content)
    windows = text_windows(subject.tokenizer, text, evaluation.split, seq_len, most)
    items, pieces = [name for name, _ in windows], [ids for _, ids in windows]
    nll, n_tokens, _ = sequence_nll(subject.model, pieces, [[1] * len(ids) for ids in pieces], evaluation.batch_size)
    groups = ("base text",) * len(items)
    return Measurement("nll/base_text", "forgetting", groups, tuple(items), nll / n_tokens, n_tokens)


def text_windows(
    tokenizer: PreTrainedTokenizerBase, text: files.Text, split: str, seq_len: int, most: int
) -> list[tuple[str, list[int]]]:
    """The text in windows of tokens, evenly spread over it; even windows are for validation, odd ones for test.

    Each begins with the beginning-of-text token where the tokenizer puts one before a text, as the base was trained.

    Raises:
        BadInput: the text has less than a whole window for each split.
    """
    ids = warm.TEXTS.get((tokenizer, text.content), lambda: _text_ids(tokenizer, text.text))
    begin = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
    window = seq_len - len(begin)
    chat.check_base_text(text.source, len(ids), window)
    mine = range(0, len(ids) - 1, window)[0 if split == "validation" else 1 :: 2]
    step = max(1, len(mine) // most)
    return [(f"token {start}", [*begin, *ids[start : start + window]]) for start in mine[::step][:most]]


def _text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _drift(subject: Subject) -> list[Measurement]:
    evaluation, reference, samples = subject.trial.evaluation, subject.reference, drift_texts(subject)
    kl, nll, n_tokens = _divergence(subject.model, reference, samples, evaluation.batch_size)
    groups, items = ("base samples",) * len(samples), tuple(f"sample {i}" for i in range(len(samples)))
    axis = "forgetting" if evaluation.base_text is None else "other"
    return [
        Measurement(DRIFT, axis, groups, items, kl / n_tokens, n_tokens),
        Measurement("nll/drift", "other", groups, items, nll / n_tokens, n_tokens),
    ]


def drift_texts(subject: Subject) -> list[list[int]]:
    """The tokens of the texts that the trial's drift is measured on. Sampled by each worker: another kind of processor may round
    another way and draw others, so a trial records their hash."""
    longest = checkpoint.drift_tokens(subject.trial.evaluation.drift_tokens, context_of(subject.reference))
    return sample_base(subject.reference, subject.tokenizer, subject.trial.evaluation.drift_samples, longest)


def sample_base(model: nn.Module, tokenizer: PreTrainedTokenizerBase, n: int, n_tokens: int) -> list[list[int]]:
    """Texts drawn from the model at temperature 1 from its beginning-of-text token; once for each kept base."""
    kept = warm.SAMPLES.setdefault(model, {})
    if (n, n_tokens) not in kept:
        kept[n, n_tokens] = _generate(model, tokenizer, n, n_tokens)
    return kept[n, n_tokens]


def _generate(model: nn.Module, tokenizer: PreTrainedTokenizerBase, n: int, n_tokens: int) -> list[list[int]]:
    device = device_of(model)
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    start = torch.full((n, 1), begin if begin is not None else 0, device=device)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else -1
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=n_tokens,
        min_new_tokens=min(SHORTEST_SAMPLE, n_tokens),
        eos_token_id=None if end == -1 else end,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=begin,
    )
    with own_settings_aside(model), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SAMPLING_SEED)
        drawn = model.generate(start, attention_mask=torch.ones_like(start), generation_config=settings).tolist()  # type: ignore[operator,union-attr]
    return [ids[: ids.index(end, 1) + 1] if end in ids[1:] else ids for ids in drawn]


def _divergence(
    model: nn.Module, reference: nn.Module, samples: list[list[int]], batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL(reference || model) and the model's NLL, summed over the tokens of each sample, and the number of tokens."""
    kl, nll, counts = np.zeros(len(samples)), np.zeros(len(samples)), np.array([len(s) - 1.0 for s in samples])
    for batch in batches_by_length([len(s) for s in samples], batch_size):
        ids, attention = padded([samples[i] for i in batch], device_of(model))
        rows, columns = attention[:, 1:].nonzero(as_tuple=True)
        targets, base, tuned = ids[rows, columns + 1], *(head.scored(one, ids, (rows, columns)) for one in (reference, model))
        divergence, losses = [], []
        for piece in base.pieces():
            p, q = base.logits(piece).log_softmax(-1), tuned.logits(piece).log_softmax(-1)
            divergence.append((p.exp() * (p - q)).sum(-1).double())
            losses.append(-q.gather(-1, targets[piece, None]).squeeze(-1).double())
        places = rows.cpu().numpy()
        kl[batch] = np.bincount(places, torch.cat(divergence).cpu().numpy(), len(batch))
        nll[batch] = np.bincount(places, torch.cat(losses).cpu().numpy(), len(batch))
    return kl, nll, counts
