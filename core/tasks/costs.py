"""How much each task reads and writes, in tokens, known before anything runs and without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from core.data.gym import families
from core.data.kinds import kind_of
from core.tasks import examples, instructions, task_files
from core.tasks.constraints import CONSTRAINTS, TOPICS
from core.tasks.constraints import MOST_TOKENS as CONSTRAINT_TOKENS
from core.tasks.refusals import HARMLESS
from core.tasks.refusals import MOST_TOKENS as REFUSAL_TOKENS
from core.writing import CHARACTERS_A_TOKEN

if TYPE_CHECKING:
    from core.settings import Trial

PROBE_TOKENS = 40  # of a probe's prompt, with the template's marks
HARNESS_TOKENS = 400  # of an item, all its choices together: assumption
LEAST_ROOM = 16  # tokens of an answer, where evaluation.max_new_tokens does not say
MOST_ROOM = 512  # from which a budget lowers it then
MOST_BASE_TEXT_TOKENS = 65_536  # enough for a standard error of about 0.02 nats/token, a fraction of a trial's time
MOST_SHOWN_TOKENS = 128  # of a text that is shown: enough to see how it begins and whether it ends
# The laboratory's questions, counted: tasks, tokens a question, and of these the answer's; the base battery's; and what is read
# for relearning, where a token that is trained on costs three that are read, with the windows that are then read again.
LAB_TASKS, LAB_TOKENS, LAB_ANSWER_TOKENS, BATTERY_TOKENS = 47, 32, 12.6, 25_300
RELEARNING_TOKENS = 3 * 20_480 + 12_300
COMPOSED_TASKS, COMPOSED_TOKENS = 22, 21.3
COMPOSED_NEW_TOKENS = 20  # that a model may write: the longest trace has 15, and its end


class Counts(Protocol):
    """What is known of a trial's rows: by core.preflight.Inputs before it runs, about, and by core.trial_rows.Counted in it."""

    @property
    def n_eval_rows(self) -> int: ...
    @property
    def mean_tokens(self) -> float: ...
    @property
    def mean_taught(self) -> float: ...
    @property
    def longest_taught(self) -> int: ...
    @property
    def seq_len_tokens(self) -> int: ...
    @property
    def drift_tokens(self) -> int: ...
    @property
    def own_template(self) -> bool: ...


@dataclass(frozen=True)
class Cost:
    """What one model does to answer a task once. `read`: tokens that go through it together; `scored`: of these, through its
    head; `length`: of a text, which attention depends on. `written`: tokens that are written one after the other, in `passes`
    passes that cannot be put together; `most`: of these, by which one text goes on. `both`: the untouched base does it too, each
    time (drift). `whole`: a batch is scored in one pass, with all its logits."""

    read: float = 0.0
    scored: float = 0.0
    length: float = 1.0
    written: float = 0.0
    passes: float = 0.0
    most: float = 0.0
    both: bool = False
    whole: bool = False


CostOf = Callable[["Trial", Counts], Cost]


def nothing(trial: Trial, inputs: Counts) -> Cost:
    """Of a task that does not say."""
    return Cost()


def room(trial: Trial, inputs: Counts) -> int:
    """How many tokens an answer may have."""
    asked = trial.evaluation.max_new_tokens
    return asked or room_for(inputs.longest_taught, inputs.seq_len_tokens)


def room_for(longest: int, seq_len: int) -> int:
    """A quarter more than the longest right answer has; at least LEAST_ROOM tokens, and at most as many as rows have."""
    return min(max(LEAST_ROOM, seq_len), max(LEAST_ROOM, math.ceil(1.25 * longest)))


def _writing(trial: Trial, inputs: Counts, n: int, prompt: float, most: int) -> Cost:
    """`n` answers to prompts of so many tokens; a batch goes on until its last answer has ended."""
    passes = math.ceil(n / trial.evaluation.batch_size) * most
    return Cost(read=n * prompt, scored=0, length=prompt, written=n * most, passes=passes, most=most)


def text(trial: Trial, inputs: Counts) -> Cost:
    n = inputs.n_eval_rows
    return Cost(read=n * inputs.mean_tokens, scored=n * inputs.mean_taught, length=inputs.mean_tokens)


def answers(trial: Trial, inputs: Counts) -> Cost:
    return _writing(trial, inputs, inputs.n_eval_rows, _prompt(trial, inputs), room(trial, inputs))


def _prompt(trial: Trial, inputs: Counts) -> float:
    """Tokens of a prompt with its examples."""
    return inputs.mean_tokens - inputs.mean_taught + trial.evaluation.shots * inputs.mean_tokens


def gym(trial: Trial, inputs: Counts) -> Cost:
    """Each question is answered, and its right answer scored."""
    n = trial.evaluation.items_per_task * len(families("data.source", trial.data.source))
    found = _writing(trial, inputs, n, _prompt(trial, inputs), room(trial, inputs))
    return replace(found, read=found.read + n * inputs.mean_tokens, scored=n * inputs.mean_taught)


def choices(trial: Trial, inputs: Counts) -> Cost:
    asked = examples.choices(trial.evaluation, trial.evaluation.split)
    sizes = [(len(one.question), len(one.choices), max(map(len, one.choices))) for one in asked]
    questions = [(question + longest) / CHARACTERS_A_TOKEN + 4 for question, _, longest in sizes]
    shots = 1 + trial.evaluation.shots
    read = shots * sum(tokens * n for tokens, (_, n, _) in zip(questions, sizes, strict=True))
    scored = sum(n * longest for _, n, longest in sizes) / CHARACTERS_A_TOKEN
    return Cost(read=read, scored=scored, length=shots * sum(questions) / len(questions))


def ifeval(trial: Trial, inputs: Counts) -> Cost:
    asked = instructions.questions(trial.evaluation, trial.evaluation.split)
    prompt = sum(len(one.prompt) for one in asked) / len(asked) / CHARACTERS_A_TOKEN
    return _writing(trial, inputs, len(asked), prompt, trial.evaluation.max_new_tokens or instructions.MOST_TOKENS)


def constraints(trial: Trial, inputs: Counts) -> Cost:
    return _probe(trial, inputs, len(CONSTRAINTS) * len(TOPICS), CONSTRAINT_TOKENS)


def refusals(trial: Trial, inputs: Counts) -> Cost:
    return _probe(trial, inputs, sum(map(len, HARMLESS.values())), REFUSAL_TOKENS)


def _probe(trial: Trial, inputs: Counts, n: int, most: int) -> Cost:
    return _writing(trial, inputs, n, PROBE_TOKENS, trial.evaluation.max_new_tokens or most)


def lm_eval(trial: Trial, inputs: Counts) -> Cost:
    """Of tasks of likelihood, about; the harness alone knows."""
    n = len(task_files.names(trial.evaluation)) * trial.evaluation.max_rows * (1 + trial.evaluation.shots)
    return Cost(read=n * HARNESS_TOKENS, scored=n * HARNESS_TOKENS, length=HARNESS_TOKENS, whole=True)


def lab(trial: Trial, inputs: Counts) -> Cost:
    n = LAB_TASKS * trial.evaluation.items_per_task
    battery = _battery(trial)
    read = n * LAB_TOKENS * (1 + trial.evaluation.shots) + battery
    return Cost(read=read, scored=n * LAB_ANSWER_TOKENS + battery, length=LAB_TOKENS * (1 + trial.evaluation.shots))


def _battery(trial: Trial) -> float:
    return BATTERY_TOKENS + (RELEARNING_TOKENS if trial.evaluation.split == "test" else 0)


def composed(trial: Trial, inputs: Counts) -> Cost:
    n = COMPOSED_TASKS * trial.evaluation.items_per_task
    found = _writing(trial, inputs, n, COMPOSED_TOKENS, COMPOSED_NEW_TOKENS)
    battery = _battery(trial)
    return replace(found, read=found.read + battery, scored=battery)


# What is measured beside the tasks


def base_text(trial: Trial, inputs: Counts) -> Cost:
    if trial.evaluation.base_text is None:
        return Cost()
    size = inputs.seq_len_tokens
    n = min(trial.evaluation.max_rows, max(1, MOST_BASE_TEXT_TOKENS // size)) * size
    return Cost(read=n, scored=n, length=size)


def drift(trial: Trial, inputs: Counts) -> Cost:
    """The base's documents, its answers where it has a chat template of its own, and the task's right ones, which are all that
    the laboratory's bases are told the drift on."""
    n, written = trial.evaluation.drift_samples, inputs.drift_tokens
    if kind_of(trial.data.source).laboratory:
        return Cost(read=n * LAB_TOKENS, scored=n * LAB_ANSWER_TOKENS, length=LAB_TOKENS, both=True)
    prompt, answers = inputs.mean_tokens - inputs.mean_taught, n if inputs.own_template else 0
    read = n * written + answers * (prompt + written) + n * inputs.mean_tokens
    scored = n * written + answers * written + n * inputs.mean_taught
    return Cost(read=read, scored=scored, length=max(written, inputs.mean_tokens), both=True)


def drift_sampling(trial: Trial, inputs: Counts) -> Cost:
    """The documents are drawn from the base once, as many at a time as there is room for, and the answers in batches."""
    if kind_of(trial.data.source).laboratory:
        return Cost()
    n, most = trial.evaluation.drift_samples, inputs.drift_tokens
    batches = math.ceil(n / trial.evaluation.batch_size) if inputs.own_template else 0
    prompt = inputs.mean_tokens - inputs.mean_taught if inputs.own_template else 1.0
    return Cost(length=prompt, written=n * most * (1 + inputs.own_template), passes=most * (1 + batches), most=most)


def generations(trial: Trial, inputs: Counts) -> Cost:
    """The prompts that are shown to people, in final trials."""
    evaluation = trial.evaluation
    if not evaluation.generations or kind_of(trial.data.source).laboratory:
        return Cost()
    most = evaluation.max_new_tokens or min(MOST_SHOWN_TOKENS, room(trial, inputs))
    return _writing(trial, inputs, evaluation.generations, _prompt(trial, inputs), most)
