"""From a question and options to an experiment that can run: every independent reason why one cannot is told at once."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from core import preflight
from core.data import columns
from core.data.choices import RANDOM, TOKENS, reads_scorer
from core.data.kinds import kind_of
from core.data.rows import is_lab
from core.errors import BadInput, Problems, message
from core.experiment import Experiment
from core.fields import flatten
from core.preference_settings import NONE, Prefer
from core.preflight import Inputs
from core.rates import RATE
from core.settings import Trial
from sweeps import mixed, overrides, smoke
from sweeps.labels import SHARES
from sweeps.moved import moved
from sweeps.options import Options
from sweeps.plan import Plan


def configured(asked: Experiment, options: Options) -> Experiment:
    """The experiment that is asked for as the options change it, its learning rates moved to its model.

    Raises:
        BadInput: an option cannot be used; of several every one is told.
    """
    problems, experiment = Problems(), asked
    if options.smoke:
        experiment = smoke.small(experiment)
    if options.retry and experiment.search:
        why = f"{experiment.name} proposed from its trials as they came out; start anew with --output DIR"
        problems.add(f"--retry {options.retry}: {why}", "--retry")
    for option in overrides.INPUTS:
        value = getattr(options, option.strip("-").replace("-", "_"))
        if value is not None:
            with problems.taken():
                experiment = _with_input(experiment, option, value)
    if options.field:
        with problems.taken():
            experiment = _with_fields(experiment, options.field)
    if options.skip_bad_rows:
        experiment = overrides.replace_in_base(experiment, "data.skip_bad_rows", True)
    n_before = len(problems.found)
    with problems.taken():
        experiment = overrides.apply_settings(experiment, options.set, options.without)
        experiment = moved(experiment, asked, RATE in options.fields_set)
    if len(problems.found) == n_before:  # else labels may be others
        with problems.taken():
            experiment = overrides.without(experiment, options.without)
    with problems.taken():
        _check_arms(experiment, options)
    if options.seeds is not None:
        with problems.taken():
            experiment = overrides.with_seeds(experiment, options.seeds)
    for count, lower in ((options.tune_trials, overrides.with_tune_trials), (options.eval_rows, overrides.with_eval_rows)):
        if count is not None:
            with problems.taken():
                experiment = lower(experiment, count)
    problems.raise_all()
    return experiment


def _with_input(experiment: Experiment, option: str, value: str) -> Experiment:
    several = option == "--data" and SHARES in experiment.vary
    return (mixed.with_sources if several else overrides.with_input)(experiment, option, value)


def _with_fields(experiment: Experiment, words: Sequence[str]) -> Experiment:
    """The experiment whose rows have columns that are taken for others, each said as OURS=COLUMN."""
    return overrides.replace_in_base(experiment, "data.fields", ",".join(sorted(map(columns.of_option, words))))


def _check_arms(experiment: Experiment, options: Options) -> None:
    """Whether the arms can be asked of this model and data, and have what is set; all that is wrong is told."""
    problems = Problems()
    for look in (_check_laboratory, _check_second_stage, _check_selection):
        with problems.taken():
            look(experiment, options)
    problems.raise_all()


def _check_laboratory(experiment: Experiment, options: Options) -> None:
    """A question about the laboratory's own world can't be asked of other models or data."""
    given = {"model.name": ("--model", options.model), "data.source": ("--data", options.data)}
    problems = Problems()
    for name in given if experiment.laboratory_only else ():
        if not is_lab(value := str(flatten(experiment.base)[name])):
            why = f"{experiment.name} asks about the laboratory's own corpus, facts or questions"
            option = given[name][0] if given[name][1] is not None else f"--set {name}"
            problems.add(f"{name}={value}: {why}; leave out {option}", name)
    problems.raise_all()


def _values(experiment: Experiment, name: str) -> set[str]:
    """What a field is in the experiment's arms."""
    searched = experiment.search.space.get(name, ()) if experiment.search else ()
    levels = [*experiment.vary.get(name, ()), *(searched if isinstance(searched, tuple) else ())]
    fields = ({**flatten(experiment.base), **arm} for arm in ({}, *experiment.also))
    return {str(one[name]) for one in fields} | set(map(str, levels))


def _check_second_stage(experiment: Experiment, options: Options) -> None:
    """Settings of a second stage that no arm has would be ignored in silence."""
    given = [name for name in options.fields_set if name.startswith(Prefer.PREFIX)]
    if given and _values(experiment, "prefer.method") == {NONE}:
        text = f"no arm of {experiment.name} has a second stage, so nothing reads it; set prefer.method=dpo too"
        raise BadInput(f"{given[0]}: {text}", field=given[0])


def _check_selection(experiment: Experiment, options: Options) -> None:
    """Settings of how rows are selected or put in order that no arm's rows are would be ignored in silence."""
    base = experiment.base.data
    selects, orders = (_values(experiment, name) for name in ("data.select", "data.order"))
    scored = any(reads_scorer(select, order) for select in selects for order in orders)
    unread = {"data.scorer": base.scorer is not None and not scored, "data.budget": base.budget == TOKENS and selects == {RANDOM}}
    for name, ignored in unread.items():
        if ignored and name in options.fields_set:
            way = "data.select=high-ifd" + (", or data.order=easy-first" if name == "data.scorer" else "")
            raise BadInput(f"{name}: no arm of {experiment.name} selects rows, so nothing reads it; set {way} too", field=name)


def check(plan: Plan) -> dict[Trial, Inputs]:
    """Every arm with every input of its seeds; what is known of each.

    Raises:
        BadInput: some cannot run: each cause once; where other arms can run, it says how to leave out those that cannot.
    """
    refused: dict[str, BadInput] = {}
    found: dict[Trial, Inputs] = {}
    for probe, label in plan.probes.items():
        try:
            found[probe] = preflight.inspect(probe)
        except BadInput as error:
            refused.setdefault(label, error)
    problems = Problems()
    some = len(refused) < len(set(plan.probes.values())) and not plan.experiment.search
    while refused:
        first = next(iter(refused.values()))
        alike = [label for label, error in refused.items() if _same_cause(error, first)]
        refused = {label: error for label, error in refused.items() if label not in alike}
        left_out = f"; leave out: {' '.join(f'--without {shlex.quote(label)}' for label in alike)}" if some else ""
        problems.add(message(first) + (left_out or _own_rows(plan, first)), first.field)
    problems.raise_all()
    return found


def _own_rows(plan: Plan, refusal: BadInput) -> str:
    """What to give where a model of the user's was named and no rows for it."""
    base = plan.experiment.base
    named = not is_lab(base.model.name) and kind_of(base.data.source).laboratory
    return f"; give --data with --model {base.model.name}" if named and refusal.field == "data.source" else ""


def _same_cause(one: BadInput, other: BadInput) -> bool:
    """Whether the same field is to blame; where it is not known, whether it is the same error."""
    return one.field == other.field if one.field or other.field else message(one) == message(other)
