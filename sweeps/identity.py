"""Which sweep a plan is: a hash of what all its trials share. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from core.experiment import Experiment
from core.fields import RESULT_VERSION, content_hash, identity
from core.optimizers import ADAMW
from core.rates import RATE, SOURCE

OPTIMIZER = "train.optimizer"
# Which provenance hash describes which fields: a varied field's hash is part of the trial, not of the sweep.
PROVENANCE_OF = {
    "model.name": "model",
    "model.chat_template": "chat_template",
    "data.source": "data",
    "data.eval_source": "eval_data",
    "data.scorer": "scorer",
    "evaluation.base_text": "base_text",
    "prefer.source": "pairs",
    "data.replay_text": "replay_text",
    "evaluation.choices": "choices",
    "evaluation.choices_dev": "choices_dev",
    "evaluation.ifeval": "ifeval",
    "evaluation.lm_eval": "lm_eval",
}


def sweep_id(experiment: Experiment, inputs: Sequence[Mapping[str, str]]) -> str:
    """A hash of what all trials share. Levels, arms and seeds are left out, so that adding one goes on in the same parent run.
    The tuned range is part of it: arms tuned over different ranges are not compared alike.
    `inputs`: the hashes of what the base trial reads, for each entry of `with_seed`."""
    varying = {*experiment.vary, *experiment.tune, *experiment.with_seed, "seed", "evaluation.split"}
    hidden = {PROVENANCE_OF[name] for name in experiment.vary if name in PROVENANCE_OF}
    what = {
        "experiment": experiment.name,
        "base": {name: value for name, value in identity(experiment.base).items() if name not in varying},
        "axes": sorted(experiment.vary),
        "tune": {name: [space.low, space.high, space.grid] for name, space in experiment.tune.items()},
        "tune_trials": experiment.tune_trials,
        "with_seed": {name: list(values) for name, values in experiment.with_seed.items()},
        "inputs": [{kind: value for kind, value in found.items() if kind not in hidden} for found in inputs],
        "version": RESULT_VERSION,
    }
    what |= {"search": dataclasses.asdict(experiment.search)} if experiment.search else {}
    what |= {"drawn": {name: list(kind) for name, kind in experiment.drawn.items()}} if experiment.drawn else {}
    what |= {"tune_again": experiment.tune_again} if experiment.tune_again else {}
    what |= {"rate_times": dict(experiment.rate_times)} if experiment.rate_times else {}
    what |= {"optimizer_times": dict(experiment.optimizer_times)} if _several_optimizers(experiment) else {}
    return content_hash(what | ({"rates": SOURCE} if experiment.rates else {}))


def _several_optimizers(experiment: Experiment) -> bool:
    """Whether the tuned learning rate's range depends on the optimizer."""
    varies = OPTIMIZER in experiment.vary or any(OPTIMIZER in arm for arm in experiment.also)
    return RATE in experiment.tune and (varies or experiment.base.train.optimizer != ADAMW)
