"""How much memory a trial's measures take at their peak, from what they read and write. Without torch."""

from __future__ import annotations

from core import cost, memory
from core.memory import Load, Together
from core.settings import Trial
from core.states import Phase
from core.tasks import costs
from core.tasks.costs import Cost, Counts


def peak_gib(load: Load, trial: Trial, counts: Counts, phase: Phase) -> float:
    """About: texts are taken to be of their mean lengths."""
    size = trial.evaluation.batch_size
    found = [_together(one, size, load) for one in cost.of_measures(trial, counts, phase).values()]
    found.append(_together(costs.drift_sampling(trial, counts), max(size, trial.evaluation.drift_samples), load))
    if phase is Phase.FINAL:
        found.append(_together(costs.generations(trial, counts), size, load))
    return max(map(load.measuring_bytes, found)) / memory.GIB


def _together(one: Cost, batch_size: int, load: Load) -> Together:
    """What of it goes through the model at a time."""
    most = batch_size * one.length if one.whole else max(load.shape.most_scored(load.device), one.length)
    scored = min(batch_size * one.length, one.read, most) if one.scored else 0.0
    if not one.most:
        return Together(one.length, scored, whole=one.whole)
    length = one.length + one.most
    n = min(batch_size, one.written / one.most, load.shape.written_together(memory.WEIGHT_BYTES[load.weights], length))
    return Together(one.length, scored, n * one.length, n * length)
