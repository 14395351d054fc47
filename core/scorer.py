"""The model that scores rows before they are selected or put in order: which it is, and what can be told of it without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core import base as bases
from core import chat, checkpoint, language, rehearsal
from core.base import BaseFiles
from core.data import encode
from core.data.choices import CHOICES, RANDOM, Score, reads_scorer
from core.data.rows import Row
from core.errors import BadInput
from core.settings import Data, Model, Trial
from core.tasks import costs
from core.tasks.costs import Cost

FIELD = "data.scorer"


class Counts(costs.Counts, Protocol):
    """What is known of a trial's rows before it runs: core.preflight.Inputs, which imports this."""

    @property
    def n_available(self) -> int: ...
    @property
    def n_train_examples(self) -> int: ...


def model_of(trial: Trial) -> Model:
    """The model that scores: the one that is named, in the precision of the trial's base; without a name that base."""
    own = trial.model
    if trial.data.scorer is None:
        return own
    return Model(name=trial.data.scorer, dtype=own.dtype, trust_remote_code=own.trust_remote_code)


def seq_len(asked: int, context: int | None) -> int:
    """How many tokens of a row are scored: those that are trained on, as far as the scorer's context reaches."""
    return min(asked, checkpoint.resolve_seq_len(None, context) if context is not None else asked)


def files_of(trial: Trial) -> BaseFiles:
    """The scorer's files.

    Raises:
        BadInput: there is no such model, or it cannot be used.
    """
    try:
        return bases.read(model_of(trial))
    except BadInput as error:
        raise _blamed(trial, error) from None


def _blamed(trial: Trial, error: BadInput) -> BadInput:
    """The error of a model that the trial names as its scorer."""
    if trial.data.scorer is None:
        return error
    return BadInput(f"{FIELD}={trial.data.scorer}: {error.text.removeprefix(f'model.name={trial.data.scorer}: ')}", field=FIELD)


def check(trial: Trial, rows: Sequence[Row]) -> None:
    """Rows can be selected and put in order as the trial asks. `rows`: some of them.

    Raises:
        BadInput: nothing says how many rows are selected, or the scorer is of another world, or cannot take the rows.
    """
    data = trial.data
    if data.select != RANDOM and data.n_examples is None:
        text = "selects nothing where all rows are taken; give data.n_examples"
        raise BadInput(f"data.select={data.select}: {text}", field="data.select")
    if data.scorer is None or not reads_scorer(data.select, data.order):
        return
    files = files_of(trial)
    language.check((FIELD, data.scorer, files), data.source, rows)
    try:
        template = chat.conversations(files.directory, None, files.hash).template
        for row in chat.kinds_of(rows):
            encode.rendered(template, row)
        rehearsal.check(model_of(trial), files)
    except BadInput as error:
        raise _blamed(trial, error) from None


def cost(trial: Trial, inputs: Counts) -> Cost:
    """What the scorer reads, with its base's tokens."""
    data, n_rows = trial.data, 0.0
    mean, taught = inputs.mean_tokens, inputs.mean_taught
    if data.order != RANDOM:
        n_rows += inputs.n_train_examples
    if data.select == RANDOM or CHOICES[data.select].score is Score.LENGTH:
        return Cost(n_rows * mean, n_rows * taught, mean)
    n_rows += inputs.n_available
    alone = inputs.n_available if CHOICES[data.select].score is Score.IFD else 0
    return Cost(n_rows * mean + alone * taught, (n_rows + alone) * taught, mean)


def scores_each_seed(data: Data) -> bool:
    """Whether each seed has rows of its own to be scored; else what is scored once serves all."""
    return data.n_candidates is not None or data.order != RANDOM
