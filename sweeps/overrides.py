"""How options change an experiment: the grammar of --set, --without, --seeds and of inputs. Pure but for paths.

Every function returns the changed experiment, or raises BadInput: no such field (with the nearest name), a value out of range,
or an option that does not fit the experiment.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence

from core import tasks
from core.data import mixture
from core.errors import BadInput, Problems, nearest
from core.experiment import Experiment, LogUniform, OpenSearch
from core.fields import flatten, parse_value, replace_field
from core.settings import MANY, Scalar
from sweeps.identity import PROVENANCE_OF
from sweeps.plan import MOST_ARMS, arms

MAX_SEEDS, MOST_TUNE_TRIALS = 100, 1_000
LEAST_RANGE = 2
SHOWN_ARMS = 20
FILES = tuple(name for name in PROVENANCE_OF if name not in ("model.name", "model.chat_template", "evaluation.lm_eval"))
WITH_COMMAS = (*PROVENANCE_OF, "evaluation.answer", "data.fields")  # names and patterns may have commas
SET_BY_PHASE = {"seed": "use --seeds N", "evaluation.split": "tuning is scored on validation, final trials on test"}
INPUTS = {
    "--model": "model.name",
    "--data": "data.source",
    "--eval-data": "data.eval_source",
    "--base-text": "evaluation.base_text",
}

# --set FIELD=VALUE


def apply_settings(experiment: Experiment, settings: Sequence[str], left_out: Sequence[str] = ()) -> Experiment:
    """The experiment after `--set FIELD=VALUE`: on a varied field the values replace its levels, on a tuned field the
    value fixes it and a range LOW..HIGH is searched instead, on any other field it changes the base trial; where arms differ in
    it that are not `left_out`, by the labels that they have then, it is refused. A field of an open search takes levels or a
    range; one value ends its search."""
    seen: set[str] = set()
    problems = Problems()
    differing = {name for arm in experiment.also for name in arm} - set(experiment.vary)
    for setting in sorted(settings, key=lambda one: one.partition("=")[0].strip() in differing):
        with problems.taken():
            name, equals, text = (part.strip() for part in setting.partition("="))
            if not (equals and text and name):
                raise BadInput(f"--set {setting!r}: must look like train.epochs=2", field="--set")
            if name in seen:
                raise BadInput(f"--set {setting}: {name} is set twice; several levels of one field: {name}=A,B", field=name)
            seen.add(name)
            experiment = _set_field(experiment, name, text, left_out)
    problems.raise_all()
    return experiment


def _set_field(experiment: Experiment, name: str, text: str, left_out: Sequence[str]) -> Experiment:
    if name in SET_BY_PHASE:
        raise BadInput(f"--set {name}={text}: the sweep sets this itself; {SET_BY_PHASE[name]}", field=name)
    if experiment.search and name in experiment.search.space:
        return _set_searched(experiment, experiment.search, name, text)
    if ".." in text and isinstance(flatten(experiment.base).get(name), int | float):
        return dataclasses.replace(experiment, tune={**experiment.tune, name: _range(experiment, name, text)})
    if name in experiment.vary:
        return _set_levels(experiment, name, _levels(experiment, name, text))
    if name in beside(experiment):
        return _set_beside(experiment, name, _levels(experiment, name, text))
    return _set_in_base(experiment, name, text, left_out)


def beside(experiment: Experiment) -> tuple[str, ...]:
    """The fields that vary beside the grid: several arms differ from the base in this one alone, no other arm has it."""
    alone = [next(iter(arm)) for arm in experiment.also if len(arm) == 1]
    having = [name for arm in experiment.also for name in arm]
    return tuple(name for name in dict.fromkeys(alone) if alone.count(name) == having.count(name) > 1)


def _set_beside(experiment: Experiment, name: str, levels: tuple[Scalar, ...]) -> Experiment:
    """Other levels of a field that varies beside the grid."""
    _check_levels(experiment, name, levels)
    others = [arm for arm in experiment.also if name not in arm]
    return dataclasses.replace(experiment, also=(*others, *({name: level} for level in levels)))


def _check_levels(experiment: Experiment, name: str, levels: tuple[Scalar, ...]) -> None:
    if len(levels) > MOST_ARMS:
        raise BadInput(f"--set {name}: {len(levels):,} levels; a sweep takes at most {MOST_ARMS:,} arms", field=name)
    for level in levels:
        replace_field(experiment.base, name, level)


def _set_levels(experiment: Experiment, name: str, levels: tuple[Scalar, ...]) -> Experiment:
    """Other levels of a varied field."""
    _check_levels(experiment, name, levels)
    also = _also_with(experiment, name, levels)
    return dataclasses.replace(experiment, vary={**experiment.vary, name: levels}, also=also)


def _also_with(experiment: Experiment, name: str, levels: tuple[Scalar, ...]) -> tuple[Mapping[str, Scalar], ...]:
    """The arms beside the grid after new levels of a varied field: of fewer levels those that are left, else the new level
    in the place of the old one."""
    old = experiment.vary[name]
    if set(levels) <= set(old):
        return tuple(arm for arm in experiment.also if name not in arm or arm[name] in levels)
    if len(levels) != len(old) and any(name in arm for arm in experiment.also):
        values = ",".join(map(str, levels))
        raise BadInput(f"--set {name}={values}: give {len(old)} values, as other arms have them too", field=name)
    instead = dict(zip(old, levels, strict=False))
    return tuple({**arm, name: instead.get(arm[name], arm[name])} if name in arm else arm for arm in experiment.also)


def _set_in_base(experiment: Experiment, name: str, text: str, left_out: Sequence[str]) -> Experiment:
    """One value of a field that the experiment does not vary."""
    if "," in text and name not in WITH_COMMAS:
        varied = ", ".join((*experiment.vary, *beside(experiment))) or "no field"
        fits = f"several values fit only a field that the experiment varies ({varied})"
        raise BadInput(f"--set {name}={text}: {fits}; one number is written without commas", field=name)
    value = _absolute(name, parse_value(experiment.base, name, text))
    changed = replace_field(experiment.base, name, value)
    used = (*experiment.vary, *experiment.tune, *(experiment.search.space if experiment.search else ()))
    if lost := [field for field in used if field not in flatten(changed)]:
        why = f"it has no {', '.join(lost)}, which {experiment.name} varies; leave out --set {name}, or arms with --without LABEL"
        raise BadInput(f"--set {name}={text}: {why}", field=name)
    having = arms(experiment) if any(name in arm for arm in experiment.also) else []
    if differing := [arm.label for arm in having if name in arm.overrides and arm.label not in left_out]:
        why = f"arms differ in this field; leave them out: {' '.join(f'--without {shlex.quote(one)}' for one in differing)}"
        raise BadInput(f"--set {name}={text}: {why}", field=name)
    return replace_in_base(experiment, name, value)


def _absolute(name: str, value: Scalar) -> Scalar:
    """A path made absolute, so that the sweep is the same from every directory."""
    return mixture.absolute(value) if name in FILES and isinstance(value, str) else value


def _set_searched(experiment: Experiment, search: OpenSearch, name: str, text: str) -> Experiment:
    """The open search with other levels or another range of a field; without the field where one value is given."""
    if ".." in text:
        found: LogUniform | tuple[Scalar, ...] = _range(experiment, name, text)
    else:
        found = _levels(experiment, name, text)
    if isinstance(found, LogUniform) or len(found) > 1:
        return dataclasses.replace(experiment, search=dataclasses.replace(search, space={**search.space, name: found}))
    space = {field: levels for field, levels in search.space.items() if field != name}
    fixed = dataclasses.replace(experiment, search=None, base=replace_field(experiment.base, name, found[0]))
    return dataclasses.replace(fixed, search=dataclasses.replace(search, space=space))


def _levels(experiment: Experiment, name: str, text: str) -> tuple[Scalar, ...]:
    """The values of "8,32", each once."""
    words = [part.strip() for part in text.split(",")]
    if not all(words):
        raise BadInput(f"--set {name}={text}: a level is empty; levels are parted by one comma: {name}=A,B", field=name)
    if name in FILES and len(words) > 1 and mixture.recognises(text):
        why = f"levels are parted by commas, the sources of one level are joined by +: {text.replace(',', '+')}"
        raise BadInput(f"--set {name}={text}: {why}", field=name)
    return tuple(dict.fromkeys(_absolute(name, parse_value(experiment.base, name, word)) for word in words))


def _range(experiment: Experiment, name: str, text: str) -> LogUniform:
    """The tuned field's search range from "1e-4..1e-1", its grid as it was."""
    spaces: Mapping[str, object] = experiment.search.space if experiment.search else experiment.tune
    searched = spaces.get(name)
    if not isinstance(searched, LogUniform):
        tuned = ", ".join(field for field, space in spaces.items() if isinstance(space, LogUniform)) or "no field"
        raise BadInput(f"--set {name}={text}: a range fits only a field that the experiment tunes ({tuned})", field=name)
    words = text.split("..")
    if len(words) != 2 or not all(words) or "..." in text:
        raise BadInput(f"--set {name}={text}: a range must look like 1e-4..1e-1", field=name)
    low, high = (float(str(parse_value(experiment.base, name, word.strip()))) for word in words)
    for end in (low, high):
        replace_field(experiment.base, name, end)
    if high < LEAST_RANGE * low:  # nearer, three significant digits would not tell the points apart
        raise BadInput(f"--set {name}={text}: the high end must be at least {LEAST_RANGE} times the low end", field=name)
    return dataclasses.replace(searched, low=low, high=high)


# --model, --data, --eval-data, --base-text


def with_input(experiment: Experiment, option: str, value: str) -> Experiment:
    """The experiment with another model or other data in every arm; a path is made absolute, so that the sweep is the same from
    every directory."""
    field = INPUTS[option]
    if not value.strip():
        raise BadInput(f"{option}: must not be empty; give a name or leave the option out", field=option)
    replace_field(experiment.base, field, value)  # what no system takes as a path is refused before one is asked
    if field in experiment.vary:
        instead = f"--set {field}=A,B replaces {', '.join(map(str, experiment.vary[field]))}"
        raise BadInput(f"{option} {value}: {experiment.name} compares several; {instead}", field=option)
    return replace_in_base(experiment, field, mixture.absolute(value))


def replace_in_base(experiment: Experiment, name: str, value: Scalar) -> Experiment:
    """The experiment with one field fixed to a value in every arm and for every seed."""
    tune = {field: space for field, space in experiment.tune.items() if field != name}
    return dataclasses.replace(
        experiment,
        base=replace_field(experiment.base, name, value),
        tune=tune,
        tune_trials=experiment.tune_trials if tune else 0,
        tune_again=experiment.tune_again if tune else 0,
        with_seed={field: values for field, values in experiment.with_seed.items() if field != name},
        drawn={} if name == "model.name" else experiment.drawn,
    )


# --seeds, --without


def with_seeds(experiment: Experiment, count: int) -> Experiment:
    """The first `count` seeds of the experiment, going on with the next free numbers."""
    if not 1 <= count <= MAX_SEEDS:
        raise BadInput(f"--seeds {count}: must be between 1 and {MAX_SEEDS}", field="--seeds")
    seeds = list(experiment.seeds[:count])
    candidate = 0
    while len(seeds) < count:
        if candidate not in seeds:
            seeds.append(candidate)
        candidate += 1
    return dataclasses.replace(experiment, seeds=tuple(seeds))


def without(experiment: Experiment, labels: Sequence[str]) -> Experiment:
    """The experiment with fewer arms; each entry is an arm's label, or several separated by commas."""
    known = [arm.label for arm in arms(experiment)]
    words = [word for entry in labels for word in ([entry] if entry in known else entry.split(","))]
    named = tuple(dict.fromkeys(word.strip() for word in words))
    problems = Problems()
    for label in named:
        if label not in known:
            hint = "choose from " + ", ".join(known) if len(known) <= SHOWN_ARMS else nearest(label, known)
            problems.add(f"--without {label!r}: there is no such arm; {hint}", "--without")
    problems.raise_all()
    if len(named) == len(known):
        raise BadInput(f"--without {', '.join(named)}: no arm is left", field="--without")
    return dataclasses.replace(experiment, without=(*experiment.without, *named))


# --tune-trials, --eval-rows

LEAST_GRID = 3  # points of a tuned field: a best rate between two others can be seen


def with_tune_trials(experiment: Experiment, count: int) -> Experiment:
    """The experiment with so many tuning trials in each arm; with fewer than its grid has points, the grid gets coarser."""
    if experiment.search or not experiment.tune:
        why = "searches in rungs" if experiment.search else "tunes nothing"
        raise BadInput(f"--tune-trials {count}: {experiment.name} {why}; leave it out", field="--tune-trials")
    least, tune = LEAST_GRID ** len(experiment.tune), dict(experiment.tune)
    if not least <= count <= MOST_TUNE_TRIALS:
        raise BadInput(f"--tune-trials {count}: must be between {least} and {MOST_TUNE_TRIALS}", field="--tune-trials")
    while math.prod(space.grid for space in tune.values()) > count:
        widest = max(tune, key=lambda name: tune[name].grid)
        tune[widest] = dataclasses.replace(tune[widest], grid=tune[widest].grid - 1)
    return dataclasses.replace(experiment, tune=tune, tune_trials=count)


def field_of_rows(experiment: Experiment) -> str:
    """What says on how many rows, or questions of each task, quality is measured."""
    giving = next(name for name in tasks.chosen(experiment.base) if tasks.TASKS[name].gives_quality)
    return tasks.TASKS[giving].rows_in


def with_eval_rows(experiment: Experiment, count: int) -> Experiment:
    """The experiment that measures on at most so many rows, or on so many questions of each generated task."""
    if not 1 <= count <= MANY:
        raise BadInput(f"--eval-rows {count}: must be at least 1 and at most {MANY:,}", field="--eval-rows")
    return replace_in_base(experiment, field_of_rows(experiment), count)
