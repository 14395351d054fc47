"""The same trials as a sweep of ours and as what one would write: Ray Tune's function trainables around TRL's SFTTrainer.

    python tests/benchmarks/against_plain.py [--trials 12] [--rounds 1] [--slots 2]

LoRA of four ranks with three seeds on `lab:base-0`: 1,000 curated rows, three epochs, batches of 16, and the same evaluation of
the tuned model. Ours does more: it measures the base, saves what was trained, keeps a ledger and logs to MLflow. Both roads run
in turn, each in a process of its own; printed are wall time and CPU time of all its processes. The ratio of CPU times is what
other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
warnings.filterwarnings("ignore")

from core.experiment import Experiment  # noqa: E402
from core.fields import replace_field  # noqa: E402
from core.settings import Lora, Trial  # noqa: E402

RANKS, SEEDS = (1, 4, 16, 64), (0, 1, 2)
LOOK_SECONDS = 0.25


def cases(n: int) -> list[tuple[int, int]]:
    """(rank, seed) of the first n trials: some ranks with one seed, or all ranks with whole seeds, as a sweep has them."""
    whole = n if n < len(RANKS) else n - n % len(RANKS)
    return [(rank, seed) for seed in SEEDS for rank in RANKS][:whole]


def ours(n: int, slots: int) -> None:
    from sweeps.run import run_question

    seeds = tuple(dict.fromkeys(seed for _, seed in cases(n)))
    ranks = tuple(dict.fromkeys(rank for rank, _ in cases(n)))
    asked = Experiment(
        name="against_plain", question="?", base=Trial(adapter=Lora(rank=4)), vary={"adapter.rank": ranks}, seeds=seeds
    )
    with tempfile.TemporaryDirectory() as output:
        assert run_question(asked, output=output, concurrency=slots).complete


def trainable(config: dict[str, Any]) -> dict[str, float]:
    """One trial, with what the libraries' own documents show."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from core import tasks
    from core.tasks.measurement import Subject

    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    rows = [json.loads(line) for line in Path(config["rows"]).read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(config["model"])
    tokenizer.chat_template = config["template"]
    model = AutoModelForCausalLM.from_pretrained(config["model"], dtype=torch.float32)
    rank, asked = config["rank"], Trial(adapter=Lora(rank=config["rank"]), seed=config["seed"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, use_cpu=True, bf16=False, per_device_train_batch_size=16, num_train_epochs=3,
            learning_rate=asked.train.learning_rate, warmup_steps=asked.train.warmup_share, lr_scheduler_type="linear",
            assistant_only_loss=True, gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
            seed=config["seed"],
        )  # fmt: skip
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            peft_config=LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"),
        )  # fmt: skip
        trainer.train()
    found = tasks.measure(Subject(trainer.model, tokenizer, asked, (), trainer.model, 128))
    return {"quality": found[0].mean}


def plain(n: int, slots: int) -> None:
    from ray import tune

    from core import checkpoint, model
    from core.data import selection
    from sweeps.cluster import cluster
    from sweeps.resources import Resources

    base = Trial()
    place = checkpoint.locate(base.model)
    template = model.load_tokenizer(base.model, str(place)).chat_template
    with tempfile.TemporaryDirectory() as folder, cluster(Resources(slots=slots, threads=1)):
        configs = []
        for rank, seed in cases(n):
            trial = replace_field(base, "seed", seed)
            rows = Path(folder) / f"{seed}.jsonl"
            chosen = selection.select(trial.data, trial.evaluation, seed).train
            rows.write_text("".join(json.dumps({"messages": list(row.messages)}) + "\n" for row in chosen))
            configs.append({"rank": rank, "seed": seed, "rows": str(rows), "model": str(place), "template": template})
        found = tune.Tuner(
            tune.with_resources(trainable_of, {"cpu": 1}),
            param_space={"case": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(metric="quality", mode="max"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        qualities = [one.metrics["quality"] for one in found if one.metrics]
        assert not found.errors, found.errors
        print(f"  qualities {min(qualities):.3f} to {max(qualities):.3f}")


def trainable_of(config: dict[str, Any]) -> dict[str, float]:
    return trainable(config["case"])


ROADS = {"ours": ours, "plain": plain}


def timed(road: str, n: int, slots: int) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of the process and all that descend from it, looked at while they live."""
    import psutil

    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    began, spent = time.perf_counter(), dict[tuple[int, float], float]()
    command = [sys.executable, __file__, "--road", road, "--trials", str(n), "--slots", str(slots)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        top = psutil.Process(process.pid)
        while process.poll() is None:
            for one in [top, *_below(top)]:
                try:
                    times = one.cpu_times()
                    spent[one.pid, one.create_time()] = times.user + times.system
                except psutil.Error:  # it ended
                    continue
            time.sleep(LOOK_SECONDS)
        said.seek(0)
        text = said.read()
    if process.returncode:
        sys.exit(f"{road}: {text[-3000:]}")
    return time.perf_counter() - began, sum(spent.values())


def _below(top: Any) -> list[Any]:
    import psutil

    try:
        return list(top.children(recursive=True))
    except psutil.Error:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=len(RANKS) * len(SEEDS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--road", choices=ROADS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.road:
        logging.disable(logging.WARNING)
        ROADS[chosen.road](chosen.trials, chosen.slots)
        return
    found: dict[str, list[tuple[float, float]]] = {road: [] for road in ROADS}
    for _ in range(chosen.rounds):
        for road, taken in found.items():
            taken.append(timed(road, chosen.trials, chosen.slots))
            print(
                f"{road:<6} {len(cases(chosen.trials))} trials: {taken[-1][0]:7.1f} s wall, {taken[-1][1]:7.1f} s CPU", flush=True
            )
    for index, what in enumerate(("wall", "CPU")):
        medians = {road: statistics.median(one[index] for one in taken) for road, taken in found.items()}
        print(f"{what:<4} plain / ours: {medians['plain'] / medians['ours']:.2f}")


if __name__ == "__main__":
    main()
