"""How much memory a trial's measures take at their peak, from what they read and write. Without torch."""

from __future__ import annotations

from core import cost, memory
from core.memory import Load
from core.settings import Trial
from core.states import Phase
from core.tasks import costs
from core.tasks.costs import Cost, Counts


def peak_gib(load: Load, trial: Trial, counts: Counts) -> float:
    """Of a final trial's measures, about, after its training: texts are taken to be of their mean lengths."""
    asked = [*cost.measured_once(trial, counts, Phase.FINAL).values(), costs.generations(trial, counts)]
    return max(load.measuring_bytes(one.length, *_together(one, trial.evaluation.batch_size, load)) for one in asked) / memory.GIB


def _together(one: Cost, batch_size: int, load: Load) -> tuple[float, float, float]:
    """Tokens that are scored at a time; of texts that are written together those of the prompts, and all in the end."""
    scored = min(batch_size * one.length, one.read, max(load.shape.most_scored(load.device), one.length)) if one.scored else 0.0
    if not one.most:
        return scored, 0.0, 0.0
    length = one.length + one.most
    n = min(batch_size, one.written / one.most, load.shape.written_together(memory.WEIGHT_BYTES[load.weights], length))
    return scored, n * one.length, n * length
