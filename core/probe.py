"""How fast this machine trains, scores and writes with one model and method: a few seconds of each, on made-up tokens.

`measure` runs in as many processes as trials run at a time, since these share memory and caches. What was found is kept
(core/cost.py) and used by every later estimate of this model on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from core import cost, installation
from core.cost import LAYER_STEP_SECONDS, STEP_SECONDS, Sizes, Speed
from core.errors import BadInput, one_line
from core.fields import flatten, from_flat
from core.hardware import PATIENT_THREADS, Device
from core.settings import Trial

if TYPE_CHECKING:
    from core.memory import Fit
    from core.preflight import Inputs

PART_SECONDS = 5.0  # of each part, by the assumed speed
LEAST_TOKENS, MOST_TOKENS = 64, 8_192
VISIBLE = "CUDA_VISIBLE_DEVICES"
WRITTEN = 12  # tokens, one after the other
LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Asked:
    """What is tried: rows of so many tokens, so many at a time in training; so many prompts at a time in writing."""

    tokens: int
    rows: int
    prompts: int

    @classmethod
    def of(cls, trial: Trial, inputs: Inputs, fit: Fit, device: Device) -> Asked:
        """Like a trial's own steps, as far as some seconds allow."""
        one = cost.sizes(trial.model, device.kind)
        speed = cost.assumed(one, device)
        most = min(MOST_TOKENS, max(LEAST_TOKENS, int(PART_SECONDS * speed.training / (6 * one.body))))
        tokens = max(2, min(round(inputs.mean_tokens), most))
        prompts = int(PART_SECONDS / WRITTEN * speed.writing / (2 * (one.body + one.head)))
        rows = max(1, min(fit.micro_batch_size, most // tokens))
        return cls(tokens, rows, max(2, min(trial.evaluation.batch_size, prompts)))


def measure(trial: Trial, asked: Asked, device: Device, at_once: int) -> Speed:
    """The mean speed of so many processes side by side; of those on GPUs as many on each as its share allows.

    Raises:
        BadInput: one of them failed, with its last line.
    """
    task = json.dumps({"trial": flatten(trial), "device": asdict(device), "asked": asdict(asked)})
    command = installation.command("core.probe", task)
    on_each = max(int(1 / (device.memory_fraction or 1) + 1e-9), 1)
    running = [_started(command, i // on_each if device.kind == "cuda" else None) for i in range(at_once)]
    found = []
    try:
        for process in running:
            said, trouble = process.communicate(timeout=LIMIT_SECONDS)
            if process.returncode:
                reason = (trouble.strip().splitlines() or ["it said nothing"])[-1]
                raise BadInput(f"--probe: the probe failed: {reason}; leave out --probe", field="--probe")
            found.append(json.loads(said.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        text = f"--probe: nothing was measured in {LIMIT_SECONDS} s; leave out --probe, or lower --concurrency"
        raise BadInput(text, field="--probe") from None
    finally:
        for process in running:
            process.kill()
            process.wait()
    return Speed(**{name: sum(one[name] for one in found) / len(found) for name in found[0]}, measured=True, device=device.kind)


def _started(command: list[str], gpu: int | None) -> subprocess.Popen[str]:
    settings = {**PATIENT_THREADS, **installation.environment(PYTHONUTF8="1")}
    if gpu is not None:  # of those that this process sees
        seen = [one for one in os.environ.get(VISIBLE, "").split(",") if one]
        settings[VISIBLE] = seen[gpu % len(seen)] if seen else str(gpu)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings)


def speeds(one: Sizes, asked: Asked, took: dict[str, float], passes: int) -> dict[str, float]:
    """Operations a second from what was timed: `train` and `score` a batch of rows, `one` and `several` prompts gone on with by
    WRITTEN tokens."""
    n = asked.tokens * asked.rows
    read = one.read(n, n / 2, asked.tokens)
    step = LAYER_STEP_SECONDS * one.shape.layers + STEP_SECONDS
    each = one.read(1, 1, asked.tokens)
    more = max(took["several"] - took["one"], 0.1 * took["several"]) / WRITTEN / (asked.prompts - 1)
    return {
        "training": passes * read / max(took["train"] - step, took["train"] / 2),
        "scoring": read / took["score"],
        "writing": each / more,
        "pass_seconds": max(took["one"] / WRITTEN - more, 0.0),
    }


def _timed(work: Callable[[], object], device: Device) -> float:
    """Seconds of the second time; the first lets libraries settle. Of a CPU's own time, so that what else runs on this machine
    at the moment does not count; where a trial has several threads it passes no quicker than its work is shared among them."""
    import torch

    work()
    if device.kind == "cpu":
        began, seen = time.process_time(), time.perf_counter()
        work()
        return min(time.process_time() - began, time.perf_counter() - seen)
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def here(trial: Trial, asked: Asked, device: Device) -> dict[str, float]:
    """Loads the model into this process and times it."""
    import torch

    from core import adapters, hardware, model, train
    from core.tasks import generation

    place, method = hardware.prepare(device), adapters.method_of(trial)
    base = model.load(trial.model, device)
    adapted = adapters.build(model.trial_copy(base, method.changes_base), trial.adapter, base.new_tokens).model.to(place)
    mixed = model.resolved_dtype(trial.model, device) == torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    shape = (asked.rows, asked.tokens)
    ids = torch.randint(0, len(base.tokenizer), shape, generator=generator).to(place)
    at = (torch.arange(asked.rows).repeat_interleave(asked.tokens // 2), torch.arange(asked.tokens // 2).repeat(asked.rows))
    batch = {"input_ids": ids, "at": torch.stack(at).to(place), "labels": ids[at[0], at[1] + 1]}

    def step() -> None:
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=mixed):
            train.response_loss(adapted, batch).backward()
        adapted.zero_grad()

    def score() -> None:
        with torch.no_grad():
            train.response_loss(base.model, batch)

    def write(n: int) -> None:
        prompts = [ids[0, : max(1, asked.tokens // 2)].tolist()] * n
        generation.write(base.model, prompts, generation.Decoding((len(base.tokenizer) + 1,), WRITTEN, n))

    base.model.eval()
    adapted.train()
    work = {"train": step, "score": score, "one": lambda: write(1), "several": lambda: write(asked.prompts)}
    took = {name: _timed(one, device) for name, one in work.items()}
    return speeds(cost.sizes(trial.model, device.kind), asked, took, 3 if method.changes_base else 2)


def main(task: str) -> None:
    asked = json.loads(task)
    print(json.dumps(here(from_flat(asked["trial"]), Asked(**asked["asked"]), Device(**asked["device"]))))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # the parent tells it in one line
        sys.exit(one_line(error))
