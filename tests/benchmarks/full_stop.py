"""What one token does: answers that end as the corpus ends its sentences, with a full stop, against the same without it.

    python tests/benchmarks/full_stop.py [--bases 0 1 2]

For each base and arm, two trainings on bare answers that differ in the full stop alone. Prints the rise of loss in ordinary old
text, at the ends of its sentences, and after relearning (nats a token), and accuracy on held-out tasks; then, over all pairs, how
the rises and accuracies compare.
About 25 seconds a pair on one core.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

from core import trial  # noqa: E402
from core.hardware import Device  # noqa: E402
from core.lab import instruct, requests  # noqa: E402
from core.settings import Evaluation, Full, Lora, Model, Train, Trial  # noqa: E402

ARMS = {"full 2.5e-4": (Full(), 2.5e-4), "lora r=16 6.3e-4": (Lora(rank=16), 6.3e-4), "lora r=16 1.6e-3": (Lora(rank=16), 1.6e-3)}
SHOWN = {
    "rise": "forgetting",
    "rise at ends": "delta/nll_at_ends/documents",
    "left": "delta/nll_after_relearning/documents",
    "held out": "after/exact_match/held_out",
}


def measured(base: int, arm: str, answer: str) -> dict[str, float]:
    """One training in which all answers are written like `answer`."""
    only = replace(requests.BARE, share=1.0, answer=answer)
    for module in (requests, instruct):
        vars(module).update(STYLES=(only,), BARE=only)
    instruct.any_style.__defaults__ = ((only,),)
    adapter, rate = ARMS[arm]
    asked = Trial(
        model=Model(name=f"lab:base-{base}"),
        adapter=adapter,
        train=Train(learning_rate=rate),
        evaluation=Evaluation(tasks="lab", generations=0),
    )
    with tempfile.TemporaryDirectory() as folder:
        metrics = trial.run(asked, {}, Path(folder) / "trial", Device()).metrics
    return {shown: metrics[name] for shown, name in SHOWN.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", type=int, default=[0, 1, 2])
    bases = parser.parse_args().bases
    print(f"{'base':5} {'arm':18}" + "".join(f" {shown + ': without, with':>26}" for shown in SHOWN), flush=True)
    pairs = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # rows are kept in memory by name alone
        for base in bases:
            for arm in ARMS:
                without, along = (pool.apply(measured, (base, arm, answer)) for answer in ("{y}", "{y} ."))
                pairs.append((without, along))
                print(f"{base:<5} {arm:18}" + "".join(f" {without[s]:>18.3f} {along[s]:>7.3f}" for s in SHOWN), flush=True)
    rises = sorted(without["rise"] / along["rise"] for without, along in pairs)
    gains = sorted(along["held out"] - without["held out"] for without, along in pairs)
    print(f"rise, without ÷ with: median {statistics.median(rises):.1f}, {rises[0]:.1f} to {rises[-1]:.1f}")
    print(f"held out, with − without: median {statistics.median(gains):+.3f}, {gains[0]:+.3f} to {gains[-1]:+.3f}")


if __name__ == "__main__":
    main()
