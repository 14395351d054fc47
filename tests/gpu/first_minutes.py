"""What one GPU does with this code in a quarter of an hour: right numbers, memory against the estimate, speed against TRL.

    python tests/gpu/first_minutes.py                    all steps in order, each with a limit; what is done is not done again
    python tests/gpu/first_minutes.py --only memory      one step (may be given several times)
    python tests/gpu/first_minutes.py --cpu              tries the script itself: next to no sizes, no GPU

Every measurement is a JSON line of OUTPUT/first_minutes.jsonl (--output, default gpu-first-minutes), written at once. A step
runs in a process of its own; where it fails or takes too long, the next one goes on. Nothing is downloaded. RESULTS.md beside
this file keeps what was measured so far.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]
RESULTS = "first_minutes.jsonl"
LIMITS = {  # seconds of a step, in the order of their worth
    "machine": 40,
    "exact": 100,
    "memory": 110,
    "speed": 180,
    "evaluation": 30,
    "nf4": 50,
    "halves": 120,
    "profile": 30,
    "ensemble": 60,
    "suite": 90,
    "sweep": 240,
}


@dataclasses.dataclass(frozen=True)
class Here:
    """Where a step runs and where it writes."""

    output: Path
    cpu: bool

    @property
    def place(self) -> str:
        return "cpu" if self.cpu else "cuda"

    def command(self, step: str) -> list[str]:
        """For a process of the step's own."""
        return [sys.executable, __file__, "--step", step, "--output", str(self.output), *(["--cpu"] if self.cpu else [])]

    def say(self, step: str, **values: Any) -> None:
        rounded = {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in values.items()}
        line = json.dumps({"step": step} | rounded)
        print(line, flush=True)
        with (self.output / RESULTS).open("a") as file:
            file.write(line + "\n")

    def sync(self) -> None:
        import torch

        if not self.cpu:
            torch.cuda.synchronize()

    def reset_peak(self) -> float:
        """Begins a new peak of memory; GiB that are allocated now."""
        import torch

        gc.collect()
        if self.cpu:
            return 0.0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**30

    def peak_gib(self) -> float:
        import torch

        return 0.0 if self.cpu else torch.cuda.max_memory_allocated() / 2**30

    def median_seconds(self, run: Callable[[], Any], n: int = 5) -> float:
        for _ in range(2):
            run()
        self.sync()
        took = []
        for _ in range(n):
            began = time.perf_counter()
            run()
            self.sync()
            took.append(time.perf_counter() - began)
        return sorted(took)[n // 2]


def machine(here: Here) -> None:
    """Versions, and the ceilings: a matrix product in bfloat16, a copy (bytes read and written)."""
    import torch

    names = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
    versions = {name: importlib.import_module(name).__version__ for name in names}
    size = 512 if here.cpu else 8_192
    a, b = (torch.randn(size, size, device=here.place, dtype=torch.bfloat16) for _ in range(2))
    seconds = here.median_seconds(lambda: a @ b)
    x = torch.randn(1 << (20 if here.cpu else 30), device=here.place)
    y = torch.empty_like(x)
    copied = here.median_seconds(lambda: y.copy_(x))
    card = "none" if here.cpu else torch.cuda.get_device_name()
    here.say("machine", card=card, tflops=2 * size**3 / seconds / 1e12, copy_tb_s=8 * x.numel() / copied / 1e12, **versions)


def exact(here: Here) -> None:
    """The laboratory on this card against the CPU: training losses in float32, then whole trials in float32 and bfloat16."""
    import made
    import torch

    losses = [torch.tensor(made.laboratory_losses(device)) for device in (made.device(True), made.device(here.cpu))]
    here.say("exact", largest_difference=float((losses[0] - losses[1]).abs().max()), first=losses[0][:3].tolist())
    for method, dtype in (("lora", "float32"), ("lora", "auto"), ("full", "auto")):
        here.say("exact", method=method, dtype=dtype, **made.laboratory_trial(method, dtype, here.cpu))


def memory(here: Here) -> None:
    """Peaks of training steps against core/memory.py's estimate, with the base, the adapter and the optimizer in both."""
    import made
    import torch

    cases = (  # shape, method, rows, length, checkpointing
        ("half", "lora", 16, 512, False),
        ("half", "lora", 16, 1_024, False),
        ("half", "lora", 16, 1_024, True),
        ("half", "full", 16, 512, False),
        ("half", "full", 16, 1_024, True),
        ("one", "lora", 16, 512, False),
        ("eight", "lora", 1, 1_024, False),
        ("eight", "lora", 8, 512, False),
        ("eight", "lora", 16, 1_024, True),
    )
    for shape, method, rows, length, checkpointing in cases:
        case = made.Case(shape, method, rows, min(length, 48) if here.cpu else length, checkpointing, here.cpu)
        here.reset_peak()
        network, estimate = None, made.estimated_gib(case)
        try:
            network = made.built(case)
            seconds = made.fit(network, case, steps=3).seconds
            found = {"peak_gib": here.peak_gib(), "estimate_over_peak": estimate / max(here.peak_gib(), 1e-9), "seconds": seconds}
        except torch.cuda.OutOfMemoryError as error:
            found = {"out_of_memory": str(error)[:120]}
        described = dataclasses.asdict(case)
        here.say("memory", **described, estimate_gib=estimate, **found)
        del network


def speed(here: Here) -> None:
    """Tokens a second at 0.5 B and 1.2 B, rows of about 200 tokens: this code and SFTTrainer, each with and without
    checkpointing. A step's time is that of twenty steps less that of four, so that no start is in it."""
    import made

    for shape in ("half", "one"):
        for checkpointing in (False, True):
            case = made.Case(shape, "lora", 16, 24 if here.cpu else 200, checkpointing, here.cpu)
            for road, run in (("tunelab", made.fit), ("SFTTrainer", made.plain_fit)):
                here.reset_peak()
                network = made.built(case)
                seconds = [run(network, case, steps=steps).seconds for steps in (4, 4, 20)]  # the first one warms up
                step = (seconds[2] - seconds[1]) / 16
                tokens = made.mean_tokens(case, 20)
                here.say("speed", shape=shape, road=road, checkpointing=checkpointing, ms=step * 1e3, tokens_s=tokens / step,
                         peak_gib=here.peak_gib())  # fmt: skip
                del network


def evaluation(here: Here) -> None:
    """Scores of 64 windows of 1,024 tokens at a vocabulary of 152,000, 0.5 B."""
    import made
    import torch

    from core.tasks.measurement import sequence_nll

    case = made.Case("half", "lora", 64, 32 if here.cpu else 1_024, False, here.cpu)
    network = made.network(case)
    ids = [torch.randint(3, network.config.vocab_size, (case.length,)).tolist() for _ in range(64)]
    for batch_size in (64, 16):
        weights = here.reset_peak()
        began = time.perf_counter()
        sequence_nll(network, ids, [[1] * case.length for _ in ids], batch_size)
        here.sync()
        here.say("evaluation", batch=batch_size, seconds=time.perf_counter() - began, gib_beside_model=here.peak_gib() - weights)


def nf4(here: Here) -> None:
    """A base of 0.5 B packed as NF4 through core/model.py: its memory, what a trial's copy takes, a step."""
    import made

    from core import model
    from core.settings import Model

    case = made.Case("half", "lora", 16, 24 if here.cpu else 200, False, here.cpu)
    with tempfile.TemporaryDirectory() as folder:
        made.save(case, folder)
        before = here.reset_peak()
        base = model.load(Model(name=folder, quantization="nf4"), made.device(here.cpu))
    held = here.reset_peak()
    copied = model.trial_copy(base, False)
    more = here.reset_peak() - held
    network = made.adapted(copied, case)
    trained = made.fit(network, case, steps=5)
    here.say("nf4", base_gib=held - before, copy_mib=more * 1024, seconds=trained.seconds, peak_gib=here.peak_gib(),
             first_loss=trained.history[0]["loss"])  # fmt: skip


def halves(here: Here) -> None:
    """One process with half a card, then two at the same time: how much more work two do."""
    for label, n in (("alone", 1), ("beside", 2)):
        several = [subprocess.Popen(here.command("half"), env=os.environ | {"LABEL": label}) for _ in range(n)]
        if any(process.wait() for process in several):
            raise RuntimeError(f"a process {label} failed")


def half(here: Here) -> None:
    import made

    from core import hardware

    hardware.prepare(dataclasses.replace(made.device(here.cpu), memory_fraction=0.475))
    case = made.Case("half", "lora", 16, 24 if here.cpu else 200, False, here.cpu)
    network = made.built(case)
    seconds = [made.fit(network, case, steps=steps).seconds for steps in (4, 44)]
    here.say("halves", label=os.environ.get("LABEL", ""), ms=(seconds[1] - seconds[0]) / 40 * 1e3, peak_gib=here.peak_gib())


def profile(here: Here) -> None:
    """Kernels of a step at 0.5 B, how long the card works on them, and which attention is taken."""
    import made
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    step = made.one_step(made.Case("half", "lora", 16, 24 if here.cpu else 200, False, here.cpu))
    wall = here.median_seconds(step)
    with profiled(activities=[ProfilerActivity.CPU, *([] if here.cpu else [ProfilerActivity.CUDA])]) as found:
        step()
        here.sync()
    kernels = [event for event in found.events() if "CUDA" in str(event.device_type)]
    attention = sorted({event.name[:60] for event in kernels if "fmha" in event.name or "flash" in event.name.lower()})
    here.say("profile", wall_ms=wall * 1e3, kernels=len(kernels), busy_ms=sum(event.device_time for event in kernels) / 1e3,
             copies=sum("memcpy" in event.name.lower() for event in kernels), attention=attention[:3])  # fmt: skip


def ensemble(here: Here) -> None:
    """K trials of the laboratory's base in one loop, with adapters as batched products: a step's time against K."""
    import made

    for n_trials in (1, 4) if here.cpu else (1, 8, 64, 256):
        here.reset_peak()
        step = made.joint_step(n_trials, here.cpu)
        seconds = here.median_seconds(step)
        here.say("ensemble", trials=n_trials, ms=seconds * 1e3, ms_a_trial=seconds * 1e3 / n_trials, peak_gib=here.peak_gib())


def suite(here: Here) -> None:
    """The GPU tests of the suite."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "gpu", "tests/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    here.say("suite", exit_code=done.returncode, tail=done.stdout.strip().splitlines()[-6:])


def sweep(here: Here) -> None:
    """A small sweep with Ray, two trials on one card."""
    options = ["--tiny", "--cpu"] if here.cpu else []
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "gpu_sweep.py"), *options]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()[-30:]
    here.say("sweep", exit_code=done.returncode, seconds=time.perf_counter() - began, tail=lines)


def run_all(here: Here, only: list[str]) -> int:
    here.output.mkdir(parents=True, exist_ok=True)
    path = here.output / RESULTS
    done = {line["step"] for line in map(json.loads, path.read_text().splitlines()) if "took" in line} if path.exists() else set()
    failed = 0
    for name in only or [name for name in LIMITS if name not in done]:
        began = time.perf_counter()
        with (here.output / f"{name}.err").open("w") as errors:
            process = subprocess.Popen(here.command(name), stderr=errors, start_new_session=True)
            try:
                code = process.wait(LIMITS[name])
            except subprocess.TimeoutExpired:
                code = 124
                os.killpg(process.pid, signal.SIGKILL)
        took = time.perf_counter() - began
        if code:
            failed += 1
            here.say(name, failed=code, after=took, error=(here.output / f"{name}.err").read_text()[-900:])
        else:
            here.say(name, took=took)
    return 3 if failed else 0


STEPS = {
    step.__name__: step
    for step in (machine, exact, memory, speed, evaluation, nf4, halves, half, profile, ensemble, suite, sweep)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu-first-minutes"))
    parser.add_argument("--only", action="append", choices=list(LIMITS), default=[])
    parser.add_argument("--cpu", action="store_true", help="no GPU, next to no sizes")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    here = Here(chosen.output.resolve(), chosen.cpu)
    if chosen.step:
        STEPS[chosen.step](here)
        return 0
    import torch

    if not chosen.cpu and not torch.cuda.is_available():
        print("first_minutes.py needs a CUDA GPU, and torch finds none (--cpu tries the script without)", file=sys.stderr)
        return 2
    return run_all(here, chosen.only)


if __name__ == "__main__":
    sys.exit(main())
