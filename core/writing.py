"""How a base's tokenizer writes a trial's rows, from its files: lengths of a sample, and every kind of conversation tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from core import chat, refused, shown
from core.base import BaseFiles
from core.data import encode, selection
from core.data.choices import RANDOM
from core.data.drawing import Means
from core.data.rows import Row
from core.data.selection import Selection
from core.errors import BadInput
from core.settings import Trial

CHARACTERS_A_TOKEN = 4  # assumption, for a tokenizer that must be converted first
SAMPLED_ROWS = 128  # tokenized for the estimates of lengths


@dataclass(frozen=True)
class Written:
    """Of a sample: mean and most tokens of the kept rows, the shares that are too long and that are cut; and what may not be
    meant about how rows are written."""

    mean_tokens: float
    longest_tokens: int
    too_long: float
    truncated: float
    notes: tuple[str, ...]
    lengths: tuple[int, ...]  # of the kept rows, in the order of the sample
    mean_taught: float  # tokens of a kept row that are taught
    longest_taught: int
    shown: shown.Pieces  # one row as it is written, what is learnt of it apart


def select(trial: Trial, base: BaseFiles, seq_len: int) -> Selection:
    """The rows that the trial takes, without those that the base's chat template refuses where they may be left out. What a
    model's scores would choose is not known here: as many rows in the seed's order stand for them."""
    asked = trial.data, trial.evaluation, trial.seed
    means = Means(n_tokens=lambda row: _n_kept(trial, base, row, seq_len))
    if trial.data.skip_bad_rows:
        return refused.select(_conversations(trial, base).template, *asked, means)
    return selection.select(*asked, means=means)


def _n_kept(trial: Trial, base: BaseFiles, row: Row, seq_len: int) -> int:
    """How many of the row's tokens are trained on."""
    n, before = next(counts(trial, base, [row]))
    return min(n, seq_len) if n <= seq_len or before < seq_len else 0


def look(trial: Trial, base: BaseFiles, chosen: Selection, seq_len: int) -> Written:
    """The rows as the trial will write them.

    Raises:
        BadInput: the tokenizer has no template that can be used, or it refuses rows.
    """
    conversation = _conversations(trial, base)
    train, evaluation = chosen.train, chosen.evaluation
    _check(trial, conversation, chosen)
    sample = train[:SAMPLED_ROWS]
    written = _sample(trial, conversation, sample, seq_len)
    told = [_near(train, evaluation)] if evaluation else []
    told.append(_selected(trial, chosen))
    if chosen.n_refused:
        told.append(f"the chat template refuses {chosen.n_refused:,} rows, which are left out ({chosen.refused})")
    return replace(written, notes=(*written.notes, *filter(None, told)))


def _selected(trial: Trial, chosen: Selection) -> str:
    """What may not be meant about which rows are selected."""
    data = trial.data
    if data.select != RANDOM and len(chosen.train) == chosen.n_available:
        return f"data.select={data.select}: all {chosen.n_available:,} rows are taken, so nothing is selected"
    return ""


def _check(trial: Trial, conversation: chat.Conversations, chosen: Selection) -> None:
    """A row of every kind of conversation is written as a trial will write it."""
    asked_in = "data.eval_source" if trial.data.eval_source else "data.source"
    for name, rows in (("data.source", chosen.train), (asked_in, chosen.evaluation)):
        for row in chat.kinds_of(rows):
            try:
                encode.rendered(conversation.template, row)
            except BadInput as error:
                whole = refused.refusal(conversation.template, error, row, rows)
                source = trial.data.eval_source if name == "data.eval_source" else trial.data.source
                field = name if error.field == "data.source" else error.field
                raise BadInput(f"{name}={source}: {whole.text}", field=field) from None


def _near(train: Sequence[Row], evaluation: Sequence[Row]) -> str:
    """What is told of near-duplicates."""
    from core.data import near  # numpy, which the laboratory's rows do without

    return near.between(train, evaluation).told


def _conversations(trial: Trial, base: BaseFiles) -> chat.Conversations:
    asked = trial.model.chat_template
    return chat.conversations(base.directory, asked, base.hash + chat.template_hash(asked))


def counts(trial: Trial, base: BaseFiles, rows: Iterable[Row]) -> Iterator[tuple[int, int]]:
    """Of each row how many tokens it has, and how many of them come before what is taught.

    Raises:
        BadInput: the template refuses a row.
    """
    conversation, last_only = _conversations(trial, base), trial.train.loss_on == "last"
    for row in rows:
        text = encode.rendered(conversation.template, row)
        if conversation.inner is None:
            first = min(start for start, _ in text.taught(row.messages, last_only))
            yield len(text.text) // CHARACTERS_A_TOKEN, first // CHARACTERS_A_TOKEN
        else:
            whole = encode.tokens(conversation.inner, text, row, last_only)
            yield len(whole.ids), whole.mask.index(1)


def _sample(trial: Trial, conversation: chat.Conversations, sample: Sequence[Row], seq_len: int) -> Written:
    kept, taught, too_long, truncated, texts = [], [0], 0, 0, []
    last_only = trial.train.loss_on == "last"
    for row in sample:
        try:
            text = encode.rendered(conversation.template, row)
            whole = encode.tokens(conversation.inner, text, row, last_only, seq_len) if conversation.inner is not None else None
        except BadInput as error:
            raise BadInput(f"{trial.data.source}: {error}", field=error.field) from None
        texts.append(text)
        if whole is None:
            kept.append(min(len(text.text) // CHARACTERS_A_TOKEN, seq_len))
            taught.append(sum(end - start for start, end in text.taught(row.messages, last_only)) // CHARACTERS_A_TOKEN)
            continue
        one = encode.cut(whole, seq_len)
        if one is None:
            too_long += 1
            continue
        truncated += one is not whole
        kept.append(len(one.ids))
        taught.append(sum(one.mask))
    notes = (*chat.notes(conversation, sample, texts, last_only), *shown.persona_note(conversation.template, sample))
    one_row = shown.pieces(sample[0], texts[0], last_only)
    lengths = sum(kept) / max(1, len(kept)), max(kept, default=0)
    shares = too_long / len(sample), truncated / len(sample)
    return Written(*lengths, *shares, notes, tuple(kept), sum(taught) / max(1, len(kept)), max(taught), one_row)
