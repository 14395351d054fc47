"""The experiment as `--budget` or `--smoke` makes it fit into a time, by the estimate of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from core import preflight
from core.data.rows import is_lab
from core.errors import BadInput
from core.experiment import Experiment
from sweeps import budget, overrides, times
from sweeps.budget import BUDGET, FURTHER, SAFE, SMOKE, SMOKE_SECONDS, Chosen, Kept, Lowering
from sweeps.options import Options
from sweeps.plan import Plan
from sweeps.resources import Resources

BY_HAND = {"--seeds": "seeds", "--tune-trials": "tune_trials"}


def fitted(experiment: Experiment, options: Options, share: Resources) -> tuple[Experiment, list[str], Kept | None]:
    """The experiment, lowered where it must be; what was lowered; and the choice, to be kept when the sweep starts.

    Raises:
        BadInput: even its smallest form takes longer than `--budget`.
    """
    smoke = options.budget is None
    if smoke and (not options.smoke or is_lab(experiment.base.model.name)):
        return experiment, [], None
    limit = SMOKE_SECONDS if options.budget is None else options.budget
    plan = Plan.of(experiment, preflight.provenance)
    try:
        found = times.rows(plan, share)
    except BadInput:  # an arm that cannot run is told with all others
        return experiment, [], None
    fixed = options.fields_set + [option for option, name in BY_HAND.items() if getattr(options, name) is not None]
    fixed += [overrides.field_of_rows(experiment)] if options.eval_rows is not None else []
    n_rows = max(row.inputs.n_train_examples for row in found)
    order = budget.lowerings(experiment, SMOKE if smoke else BUDGET, n_rows, fixed)
    every = order
    if not smoke:  # some things are lowered further alone
        every = budget.together(order, budget.lowerings(experiment, FURTHER, n_rows, fixed))
    where = partial(Kept.place, options.output.resolve(), plan.sweep, experiment, limit)
    kept = Kept.at(place := where())
    if kept and not kept.chosen.keys() <= {one.name for one in every}:  # it lowered what is given by hand now
        kept = Kept.at(place := where(fixed))
    if kept is None:
        asked = Asked(experiment, order, n_rows, fixed, share)
        chosen, taken = _smoke(asked, limit) if smoke else _in_budget(asked, limit * SAFE)
        if taken > limit and not smoke:
            raise budget.refusal(limit, taken, times.known(found))
        kept = Kept(place, chosen)
    lowered = budget.replay(experiment, every, kept.chosen)
    return lowered, budget.told(experiment, lowered, every, kept.chosen), kept


@dataclass(frozen=True)
class Asked:
    """What is to fit into a time: the experiment, what can be lowered, rows that are trained on, and what is given by hand."""

    experiment: Experiment
    order: Sequence[Lowering]
    n_rows: int
    fixed: Sequence[str]
    share: Resources

    def seconds(self, changed: Experiment) -> float:
        """Of the experiment as it was changed, from start to end."""
        plan = Plan.of(changed, preflight.provenance)
        rows = times.rows(plan, self.share)
        return times.total(plan, self.share, rows) + times.beyond(plan, self.share, rows)


def _smoke(asked: Asked, limit: float) -> tuple[Chosen, float]:
    """What is lowered, and the seconds that are left of the sweep."""
    _, chosen, taken = budget.fit(asked.experiment, asked.order, limit, asked.seconds)
    return chosen, taken


def _in_budget(asked: Asked, limit: float) -> tuple[Chosen, float]:
    """The same; where the usual floors do not do, further, and what time is left then given back."""
    experiment, order = asked.experiment, asked.order
    lowered, chosen, taken = budget.fit(experiment, order, limit, asked.seconds)
    if taken > limit:
        now = chosen.get("data.n_examples", asked.n_rows)
        further = budget.lowerings(lowered, FURTHER, now if isinstance(now, int) else asked.n_rows, asked.fixed)
        lowered, more, taken = budget.fit(lowered, further, limit, asked.seconds)
        order, chosen = budget.together(order, further), chosen | more
    return budget.raise_again(experiment, order, chosen, limit, asked.seconds), taken
