"""Measures for real data: held-out responses (quality), and what tells forgetting: the user's base text, and the drift from the
base (core/tasks/drift.py)."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from core import chat, replay, unchanged, warm
from core.data import files
from core.data.encode import adds_bos
from core.tasks import drift
from core.tasks.measurement import Measurement, Subject, sequence_nll

BASE_TEXT = "evaluation.base_text"


def forgetting(subject: Subject) -> list[Measurement]:
    """What tells forgetting of every base but the laboratory's: the NLL of the base text if one is given, else the drift."""
    base_text = [_base_text(subject)] if subject.trial.evaluation.base_text is not None else []
    return base_text + drift.measure(subject)


def measure(subject: Subject) -> list[Measurement]:
    """Quality is the log-likelihood of held-out responses."""
    rows, size = subject.rows, subject.trial.evaluation.batch_size
    nll, n_tokens, correct = sequence_nll(subject.model, [row.ids for row in rows], [row.mask for row in rows], size)
    origins = {row.id: row.origin for row in subject.asked}
    groups, items = tuple(origins.get(row.id) or "held-out" for row in rows), tuple(row.id for row in rows)
    return [
        Measurement("log_likelihood/response", "quality", groups, items, -nll / n_tokens, n_tokens),
        Measurement("accuracy/response_token", "other", groups, items, correct / n_tokens, n_tokens),
    ]


def _base_text(subject: Subject) -> Measurement:
    evaluation, seq_len = subject.trial.evaluation, subject.seq_len
    assert evaluation.base_text is not None
    most = replay.most_scored(evaluation, seq_len)
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
    ids = text_ids(tokenizer, text)
    begin = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
    window = seq_len - len(begin)
    chat.check_base_text(text.source, len(ids), window)
    starts = replay.scored_windows(len(ids), window, most, split)
    return [(f"token {start}", [*begin, *ids[start : start + window]]) for start in starts]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: files.Text) -> tuple[int, ...]:
    """All tokens of the text, kept for the next trials."""
    found: tuple[int, ...] = warm.TEXTS.get((tokenizer, text.content), lambda: _text_ids(tokenizer, text.text))
    return found


def _text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
