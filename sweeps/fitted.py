"""The experiment as `--budget` or `--smoke` makes it fit into a time, by the estimate of this machine."""

from __future__ import annotations

from core import preflight
from core.data.rows import is_lab
from core.errors import BadInput
from core.experiment import Experiment
from sweeps import budget, times
from sweeps.budget import BUDGET, FURTHER, SAFE, SMOKE, SMOKE_SECONDS, Kept
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
    fixed = [setting.partition("=")[0].strip() for setting in options.set]
    fixed += [option for option, name in BY_HAND.items() if getattr(options, name) is not None]
    fixed += ["evaluation.items_per_task", "evaluation.max_rows"] if options.eval_rows is not None else []
    n_rows = max(row.inputs.n_train_examples for row in found)
    order = budget.lowerings(experiment, SMOKE if smoke else BUDGET, n_rows, fixed)
    kept = Kept.at(options.output.resolve(), plan.sweep, experiment, limit)
    if kept is not None:
        lowered = budget.replay(experiment, order, kept.chosen)
        return lowered, budget.told(experiment, lowered, order, kept.chosen), kept

    def estimate(asked: Experiment) -> float:
        changed = Plan.of(asked, preflight.provenance)
        rows = times.rows(changed, share)
        return times.total(changed, share, rows) + times.beyond(changed, share, rows)

    most = limit * (1 if smoke else SAFE)
    lowered, chosen, taken = budget.fit(experiment, order, most, estimate)
    if taken > most and not smoke:
        now = chosen.get("data.n_examples", n_rows)
        further = budget.lowerings(lowered, FURTHER, now if isinstance(now, int) else n_rows, fixed)
        lowered, more, taken = budget.fit(lowered, further, most, estimate)
        order, chosen = budget.together(order, further), chosen | more
    if taken > limit and not smoke:
        raise budget.refusal(limit, taken, times.known(found))
    if not smoke:
        chosen = budget.raise_again(experiment, order, chosen, most, estimate)
        lowered = budget.replay(experiment, order, chosen)
    kept = Kept(Kept.place(options.output.resolve(), plan.sweep, experiment, limit), chosen)
    return lowered, budget.told(experiment, lowered, order, chosen), kept
