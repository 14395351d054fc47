"""What a trial costs beside its training: our warm workers against Ray Tune's plain function trainables.

    python tests/benchmarks/overhead.py [--trials 24] [--slots 2]

Each trial only imports torch, transformers and trl. Printed are seconds a trial after the first one ended, for both roads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from core.experiment import Experiment  # noqa: E402
from core.hardware import Device  # noqa: E402
from core.settings import Trial  # noqa: E402


def import_the_stack() -> None:
    import torch  # noqa: F401
    import transformers  # noqa: F401
    import trl  # noqa: F401
    from transformers import LlamaForCausalLM  # noqa: F401
    from trl import SFTConfig, SFTTrainer  # noqa: F401  # lazy: the import happens here


def trial(trial: Trial, provenance: Mapping[str, str], folder: Path, device: Device) -> None:
    """What our workers run."""
    import_the_stack()
    row = {"state": "finished", "reason": "", "metrics": {"quality": 0.0}, "seconds": 0.0, "pid": os.getpid()}
    (folder / "result.json").write_text(json.dumps(row))


def function_trainable(config: dict[str, Any]) -> dict[str, float]:
    """What a user of Ray Tune would write."""
    import_the_stack()
    return {"quality": 0.0}


def ours(n_trials: int, slots: int) -> list[float]:
    """When each trial ended, in seconds since the cluster was there."""
    from sweeps import executor
    from sweeps.cluster import cluster
    from sweeps.plan import Plan
    from sweeps.resources import Resources
    from sweeps.search import Search

    experiment = Experiment(name="overhead", question="?", base=Trial(), vary={}, seeds=tuple(range(n_trials)))
    search = Search(Plan.of(experiment, lambda one: {}), {})
    resources, ends = Resources(slots=slots, threads=1), list[float]()
    with tempfile.TemporaryDirectory() as folder, cluster(resources):
        began = time.perf_counter()
        events = executor.Events(lambda job: None, lambda job, outcome: ends.append(time.perf_counter() - began))
        executor.execute(search, Path(folder), resources, events, "overhead:trial")
        processes = {json.loads(path.read_text())["pid"] for path in Path(folder).glob("trials/*/result.json")}
    print(f"  {len(ends)} trials in {len(processes)} processes")
    return ends


def plain(n_trials: int, slots: int) -> list[float]:
    """The same with `tune.Tuner(function)`, in a cluster of the same size and just as quiet."""
    from ray import tune

    from sweeps.cluster import cluster
    from sweeps.resources import Resources

    ends: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as folder, cluster(Resources(slots=slots, threads=1)):
        began = time.perf_counter()
        tune.Tuner(
            tune.with_resources(function_trainable, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(metric="quality", mode="max", num_samples=n_trials),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Clock()]),
        ).fit()
    return ends


def after_the_first(ends: list[float]) -> float:
    return (max(ends) - min(ends)) / (len(ends) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--slots", type=int, default=2)
    chosen = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # workers find this module
    seconds = {}
    for name, road in (("warm workers", ours), ("plain function trainables", plain)):
        ends = road(chosen.trials, chosen.slots)
        seconds[name] = after_the_first(ends)
        first, last = min(ends), max(ends)
        print(f"{name}: first ended after {first:.1f} s, all after {last:.1f} s, {seconds[name]:.3f} s each after the first")
    ratio = seconds["plain function trainables"] / seconds["warm workers"]
    print(f"{chosen.trials} trials, {chosen.slots} at a time: warm workers cost {ratio:.0f} times less a trial")


if __name__ == "__main__":
    main()
