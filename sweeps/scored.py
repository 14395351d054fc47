"""Whether the arms of a sweep are scored alike: by the same tasks, on the same questions, rows and texts, in the same tokens.

Arms that are not cannot be compared. Where one option makes them so, the plan is refused and names it; where nothing does (models
with other tokenizers), it is a caution. `evaluation.chat` is no such field: it puts the same questions in other words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core import base, chat, preflight, tasks, writing
from core.base import BaseFiles
from core.data.kinds import kind_of
from core.data.rows import is_lab
from core.errors import BadInput
from core.fields import content_hash, flatten
from core.preflight import Inputs
from core.settings import Trial
from sweeps.plan import Plan

ROWS = ("data.source", "data.eval_source", "data.eval_share", "evaluation.max_rows")  # what decides which rows are held out
QUESTIONS = ("evaluation.items_per_task", "data.held_out_fold")  # of tasks that make their questions
# How answers are written and compared, and what is asked beside.
ANSWERS = tuple(
    f"evaluation.{name}" for name in ("max_new_tokens", "answer", "choices", "choices_dev", "ifeval", "lm_eval", "lm_eval_chat")
)
TEXTS = ("evaluation.base_text", "evaluation.drift_samples", "evaluation.drift_tokens")  # that forgetting is measured on
TASKS = ("data.source", "evaluation.tasks")
LENGTH = ("data.seq_len_tokens", "model.name")


@dataclass(frozen=True)
class Ruler:
    """What a trial is scored with: two trials with the same can be compared."""

    tasks: tuple[str, ...]
    questions: tuple[object, ...]
    rows: str
    texts: tuple[object, ...]


def check(plan: Plan, inputs: Mapping[Trial, Inputs]) -> None:
    """Every arm is scored as the first one is, with each entry of `with_seed`. `inputs`: of the plan's probes.

    Raises:
        BadInput: one is not; the message says which field makes the difference and what to give.
    """
    for first, other in _pairs(plan):
        one, two = ruler(first, inputs[first]), ruler(other, inputs[other])
        if one.tasks != two.tasks:
            names = " and ".join(", ".join(names) for names in (one.tasks, two.tasks))
            raise _refusal(plan, TASKS, f"arms would be scored by different tasks ({names}); compare sources of one kind")
        if one.questions != two.questions:
            raise _refusal(
                plan, (*QUESTIONS, *ANSWERS, "data.source"), "arms would be asked different questions; give all arms one value"
            )
        if one.rows != two.rows:
            raise _other_rows(plan, inputs[first], inputs[other])
        if one.texts != two.texts:
            raise _refusal(plan, TEXTS, "forgetting would be measured on different texts; give all arms one value")
        if (first.train.loss_on == "last") != (other.train.loss_on == "last") and not kind_of(first.data.source).own_questions:
            why = "arms with last are scored on last answers alone, others on all answers; give all arms last, or none"
            raise _refusal(plan, ("train.loss_on",), why)
        _check_lengths(plan, first, other, inputs)


def ruler(trial: Trial, inputs: Inputs) -> Ruler:
    """What the trial is scored with."""
    flat, kind = flatten(trial), kind_of(trial.data.source)
    texts: tuple[object, ...] = ()
    if not kind.laboratory:
        texts = (inputs.provenance.get("base_text"), trial.evaluation.drift_samples, trial.evaluation.drift_tokens)
        if trial.evaluation.base_text is not None:  # read in windows of a sequence, so many of them
            texts += (trial.evaluation.max_rows,)
    asked = () if not kind.own_questions else QUESTIONS if kind.laboratory else (*QUESTIONS, "data.source")
    questions = tuple(flat[name] for name in (*asked, *ANSWERS))
    return Ruler(tasks.chosen(trial), questions, inputs.evaluation_rows_hash, texts)


def cautions(plan: Plan) -> list[str]:
    """What is measured alike and still cannot be compared: nats per token of different tokenizers."""
    for index in range(plan.n_probed):
        trials = {plan.trial(index, arm.overrides) for arm in plan.arms}
        models = sorted({trial.model.name: trial.model for trial in trials if not is_lab(trial.model.name)}.items())
        vocabularies = {_vocabulary(base.read(model)) for _, model in models} if len(models) > 1 else set()
        if len(vocabularies) > 1:
            names = ", ".join(name for name, _ in models)
            return [
                f"caution: model.name={names}: {len(vocabularies)} different tokenizers, whose nats per token are not of the same"
                " tokens; compare each arm with its own base, not arms of one tokenizer with those of another"
            ]
    return []


def _vocabulary(files: BaseFiles) -> str:
    """A hash of the tokenizer's vocabulary; of one that must be converted first, the model's."""
    inner = chat.tokenizer(files.directory)
    return content_hash(inner.get_vocab()) if inner is not None else files.hash


def _pairs(plan: Plan) -> Iterator[tuple[Trial, Trial]]:
    """The first arm with each other one, with the same entry of `with_seed`."""
    for index in range(plan.n_probed) if plan.arms else ():
        first, *others = [plan.trial(index, arm.overrides) for arm in plan.arms]
        yield from ((first, other) for other in dict.fromkeys(others) if other != first)


def _refusal(plan: Plan, names: tuple[str, ...], why: str) -> BadInput:
    """The refusal that names the field of these in which the arms differ, with its values."""
    name = next((name for name in names if len(_values(plan, name)) > 1), names[0])
    return BadInput(f"{name}={','.join(_values(plan, name))}: {why}", field=name)


def _values(plan: Plan, name: str) -> list[str]:
    return list(dict.fromkeys(str(flatten(plan.trial(0, arm.overrides)).get(name)) for arm in plan.arms))


def _other_rows(plan: Plan, one: Inputs, two: Inputs) -> BadInput:
    counts = f"{one.n_eval_rows} and {two.n_eval_rows} of them"
    if len(_values(plan, "data.source")) > 1 and not any(plan.trial(0, arm.overrides).data.eval_source for arm in plan.arms):
        why = f"each arm would be scored on held-out rows of its own source ({counts}, not the same)"
        return _refusal(plan, ROWS, f"{why}; give --eval-data FILE, rows on which all arms are scored")
    return _refusal(plan, ROWS[1:], f"arms would be scored on different rows ({counts}); give all arms one value")


def _check_lengths(plan: Plan, one: Trial, two: Trial, inputs: Mapping[Trial, Inputs]) -> None:
    """Sequences of different lengths leave out, or cut, different evaluation rows and divide a text in other windows."""
    lengths = [inputs[one].seq_len_tokens, inputs[two].seq_len_tokens]
    if kind_of(one.data.source).own_questions or lengths[0] == lengths[1]:
        return
    if one.evaluation.base_text is None:
        (none, cut), (none_too, cut_too) = _left_out(one, lengths[0]), _left_out(two, lengths[1])
        if none == none_too and not cut | cut_too:
            return
    remedy = f"give all arms one: --set data.seq_len_tokens={min(lengths)}"
    why = f"arms with sequences of {lengths[0]} and {lengths[1]} tokens would be scored on different rows or parts of them"
    raise _refusal(plan, LENGTH, f"{why}; {remedy}")


def _left_out(trial: Trial, seq_len: int) -> tuple[set[str], set[str]]:
    """The evaluation rows of which nothing of the answer fits, and those that are cut."""
    rows = preflight.selected(trial).evaluation
    counted = list(zip(rows, writing.counts(trial, base.read(trial.model), rows), strict=True))
    none = {row.id for row, (count, before) in counted if count > seq_len and before >= seq_len}
    return none, {row.id for row, (count, _) in counted if count > seq_len} - none
