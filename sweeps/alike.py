"""Which arms are the same runs: they differ in what was asked for and not in what it comes to on these rows and this base.

More examples than there are, presets that mean the same layers, more clusters than a source names, a share of the best rows that
is all of them, epochs that are as many steps: such arms are run once, under the name of the first, and never compared with
themselves.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from core import adapters, base, preflight, tasks, writing
from core.data import kinds, selection
from core.data.choices import RANDOM, reads_scorer
from core.fields import flatten, replace_field
from core.preflight import Inputs
from core.settings import Full, Lora, Train, Trial
from sweeps.plan import TUNE_SEED, Arm, Plan

# Fields of which only what they come to decides a run: hashes, rows, layers and steps stand in their place.
RESOLVED = frozenset({
    "model.name", "model.revision", "data.source", "data.eval_source", "data.eval_share", "data.n_examples", "data.n_clusters",
    "data.n_tasks", "data.n_templates", "data.best_share", "data.noise_share", "data.seq_len_tokens", "data.replay_share",
    "data.replay_domain", "train.epochs", "train.steps", "train.micro_batch_size", "evaluation.base_text", "evaluation.tasks",
    "evaluation.split", "data.skip_bad_rows", "data.select", "data.n_candidates", "data.budget", "data.scorer", "data.shares",
    "data.amount", "data.replay_text", "seed",
})  # fmt: skip
OF_QUESTIONS = frozenset({"data.held_out_fold", "evaluation.items_per_task"})  # of tasks that make their questions
OF_ROWS = frozenset({"evaluation.drift_samples", "evaluation.drift_tokens"})  # and not of the laboratory's tasks
HASHES = frozenset({"model", "base_text", "replay_text"})  # of what is read beside rows
Resolved = Mapping[str, object]


def same_runs(plan: Plan, inputs: Mapping[Trial, Inputs]) -> dict[str, str]:
    """Arm → the first arm that is the same runs, of those that have one. `inputs`: what is known of the plan's probes."""
    first: dict[tuple[object, ...], Arm] = {}
    same: dict[str, str] = {}
    for arm in plan.arms if not plan.experiment.search else ():
        probes = [plan.trial(index, arm.overrides) for index in range(plan.n_probed)]
        key = (tuple(arm.tune.items()), *(tuple(sorted(resolved(one, inputs[one]).items())) for one in probes))
        known = first.setdefault(key, arm)
        if known is not arm and _at_every_seed(plan, known, arm):
            same[arm.label] = known.label
    return same


def resolved(trial: Trial, inputs: Inputs) -> Resolved:
    """What the trial's settings come to: trials for which it is the same are the same run, but for the seed."""
    n_replayed = selection.n_replayed(trial.data, inputs.n_train_examples)
    kind, evaluation = kinds.kind_of(trial.data.source), trial.evaluation
    windows = bool(evaluation.base_text or evaluation.choices or evaluation.ifeval or evaluation.lm_eval)
    unread = RESOLVED | (frozenset() if windows else {"evaluation.max_rows"})
    unread |= (OF_ROWS if kind.laboratory else frozenset()) | (frozenset() if kind.own_questions else OF_QUESTIONS)
    elsewhere = ("adapter.",) if trial.prefer.on else ("adapter.", "prefer.")
    own = {name: value for name, value in flatten(trial).items() if name not in unread and not name.startswith(elsewhere)}
    adapter = {f"adapter.{name}": value for name, value in _adapter(trial).items()}
    return {
        **own,
        **adapter,
        "hashes": tuple(sorted((kind, text) for kind, text in inputs.provenance.items() if kind in HASHES)),
        "rows": (inputs.train_rows_hash, inputs.evaluation_rows_hash, inputs.seq_len_tokens),
        "selected": _selected(trial, inputs),
        "replayed": (n_replayed, trial.data.replay_domain if n_replayed else None),
        "steps": inputs.steps,
        "pairs": inputs.pairs.pairs_hash if inputs.pairs else None,
        "micro batch": trial.train.micro_batch_size or trial.train.batch_size,
        "tasks": tasks.chosen(trial),
    }


def _selected(trial: Trial, inputs: Inputs) -> tuple[object, ...]:
    """By what rows are selected and put in order, as far as the rows do not tell it: scores are made when a trial runs."""
    data = trial.data
    some = inputs.n_taken < inputs.n_available and data.select != RANDOM
    select = (data.select, data.n_candidates, data.budget) if some else (RANDOM,)
    scorer = inputs.provenance.get("scorer") if reads_scorer(select[0], data.order) else None
    return (*select, scorer)


def _adapter(trial: Trial) -> dict[str, object]:
    """The method's settings, layers in the place of their preset, of LoRA the scale in the place of how it is given."""
    found: dict[str, object] = {one.name: getattr(trial.adapter, one.name) for one in dataclasses.fields(trial.adapter)}
    if "targets" in found:
        found["targets"] = layers(trial)
    if isinstance(trial.adapter, Lora):
        del found["rank_stabilized"]
        found["alpha_over_rank"] = trial.adapter.scale
    return found


def layers(trial: Trial) -> tuple[str, ...]:
    """The layers that a preset of targets means on the trial's base."""
    return adapters.resolved_targets(trial.adapter, base.read(trial.model))


def _at_every_seed(plan: Plan, one: Arm, other: Arm) -> bool:
    """Whether two arms that are alike with the base's seed are so with every seed: a seed draws rows, and clusters of them."""
    seeds = [(index, seed) for index, seed in enumerate(plan.experiment.seeds)] + ([(0, TUNE_SEED)] if one.tune else [])
    for index, seed in seeds:
        pair = [replace_field(plan.trial(index, arm.overrides), "seed", seed) for arm in (one, other)]
        first, second = pair
        if first.data != second.data:
            found = [resolved(trial, preflight.inspect(trial)) for trial in pair]
            if found[0] != found[1]:
                return False
        counted = [(trial.train.epochs, trial.train.steps, trial.data.replay_share) for trial in pair]
        if counted[0] != counted[1] and not _all_fit(plan, first):
            return False  # how many rows are too long is an estimate, and steps follow from it
    return True


def _all_fit(plan: Plan, trial: Trial) -> bool:
    """Whether no training row is longer than the sequence."""
    content = tuple(sorted(plan.inspect(trial).items()))
    return _fit(dataclasses.replace(trial, adapter=Full(), train=Train()), content)


@functools.lru_cache(maxsize=256)
def _fit(trial: Trial, content: tuple[tuple[str, str], ...]) -> bool:
    """The same of the rows alone, counted once for all arms that share them."""
    files, seq_len = base.read(trial.model), preflight.inspect(trial).seq_len_tokens
    return all(count <= seq_len for count, _ in writing.counts(trial, files, preflight.selected(trial).train))
