"""What a training step costs: our trainer against TRL's SFTTrainer as it comes and against a bare PyTorch loop.

    python tests/benchmarks/step.py [--rounds 5]

LoRA rank 16 on `lab:base-0`, 320 curated rows, batches of 16, one epoch, one thread; roads alternate, medians are printed.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from core import adapters, batches, model, train  # noqa: E402
from core.data import encode, selection  # noqa: E402
from core.fields import replace_field  # noqa: E402
from core.hardware import Device  # noqa: E402
from core.settings import Trial  # noqa: E402

TRIAL = replace_field(replace_field(Trial(), "data.n_examples", 320), "train.epochs", 1.0)
STEPS = TRIAL.train.n_steps(320)


def ours(network: torch.nn.Module, base: model.Base, chosen: selection.Selection, encoded: encode.Batch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train.fit(network, base.tokenizer, encoded.rows, train.Run(TRIAL.train, 0, Device(), False, folder))


def sft_trainer(network: torch.nn.Module, base: model.Base, chosen: selection.Selection, encoded: encode.Batch) -> None:
    """What a user would write: messages in, assistant_only_loss, nothing else."""
    data = Dataset.from_list([{"messages": list(row.messages)} for row in chosen.train])
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=16,
            num_train_epochs=1,
            learning_rate=TRIAL.train.learning_rate,
            assistant_only_loss=True,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        )
        SFTTrainer(model=network, args=config, train_dataset=data, processing_class=base.tokenizer).train()


def bare_loop(network: torch.nn.Module, base: model.Base, chosen: selection.Selection, encoded: encode.Batch) -> None:
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=TRIAL.train.learning_rate)
    network.train()
    for start in range(0, len(encoded.rows), 16):
        batch = batches.collate(encoded.rows[start : start + 16], base.tokenizer.pad_token_id)
        train.response_loss(network, batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


ROADS: dict[str, Callable[..., None]] = {"ours": ours, "SFTTrainer": sft_trainer, "bare loop": bare_loop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    base = model.load(TRIAL.model, Device())
    chosen = selection.select(TRIAL.data, TRIAL.evaluation, 0)
    encoded = encode.encode_all(base.tokenizer, chosen.train, 256)
    seconds: dict[str, list[float]] = {name: [] for name in ROADS}
    for _ in range(rounds + 1):
        for name, road in ROADS.items():
            network = adapters.build(model.trial_copy(base, False), TRIAL.adapter, base.new_tokens).model
            started = time.perf_counter()
            road(network, base, chosen, encoded)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}  # the first round warms up
    for name, median in medians.items():
        print(f"{name:<12} {1_000 * median / STEPS:6.1f} ms a step   {median / medians['bare loop']:.2f} x the bare loop")


if __name__ == "__main__":
    main()
