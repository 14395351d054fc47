"""The estimate of a trial's memory (core/memory.py) against the measured peak: whole trials on the CPU, each in its own process.

    python tests/benchmarks/memory.py [--model DIR] [--only NAME …]

Random Llamas of 10 to 100 M parameters, and with --model that one too (SmolLM2-135M, say), over lengths, methods, checkpointing
and quantization. Prints predicted and measured GiB and their ratio; exit code 1 where one is off by more than a factor of 1.3.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1] / "gpu")]

FACTOR = 1.3
ROWS, SCORED = 24, 2
# vocabulary, width, layers, attention heads, key heads, MLP width
SHAPES = {
    "10 M": (16_000, 256, 6, 4, 2, 1_024),
    "40 M": (32_000, 512, 8, 8, 8, 1_408),
    "100 M": (16_000, 768, 14, 12, 4, 2_048),
}


@dataclass(frozen=True)
class Case:
    """A trial: the model (of SHAPES, or "given"), the length of its rows, rows a step, method and how it is made to fit."""

    model: str
    tokens: int
    rows: int
    method: str = "lora"
    checkpointing: str = "off"
    quantization: str = "none"
    measured: int = 0  # rows of base text that are scored, drift texts and prompts that are answered; few where it says none

    @property
    def name(self) -> str:
        trained = f"{self.model}, {self.rows} × {self.tokens}, {self.method}, checkpointing {self.checkpointing}"
        return f"{trained}, {self.quantization}" + (f", measured on {self.measured}" if self.measured else "")


CASES = (
    Case("10 M", 512, 16),
    Case("40 M", 128, 16, "full"),
    Case("40 M", 512, 8, "full", "on"),
    Case("100 M", 512, 4),
    Case("100 M", 1_024, 4, checkpointing="on"),
    Case("100 M", 256, 4, "full"),
    Case("given", 128, 8),
    Case("given", 512, 4),
    Case("given", 1_024, 4, checkpointing="on"),
    Case("given", 512, 1, "full"),
    Case("given", 512, 4, "full", "on"),
    Case("given", 256, 4, quantization="nf4"),
    Case("given", 256, 4, quantization="fp4"),
    Case("given", 256, 4, quantization="int8"),
    Case("given", 512, 1, measured=24),
    Case("given", 512, 1, "full", "on", measured=24),
)


def made(shape: str, folder: Path) -> None:
    """A random model of this shape, whose tokenizer makes a token of every word."""
    from made import llama, tokenizer
    from transformers import LlamaForCausalLM

    LlamaForCausalLM(llama(SHAPES[shape])).save_pretrained(folder)
    words = tokenizer()
    words.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    words.save_pretrained(folder)


def measure(case: Case, given: str, folder: Path) -> dict[str, float]:
    """One trial of two steps: its estimate and its peak in GiB."""
    from core import preflight
    from core.fields import from_flat
    from core.hardware import Device
    from core.trial import run

    path = given
    if case.model != "given":
        path = str(folder / "model")
        made(case.model, Path(path))
    rows = folder / "rows.jsonl"
    half = " ".join(["a"] * (case.tokens // 2))
    lines = [{"prompt": f"{i} {half}", "completion": f"{half} {half}"} for i in range(ROWS)]
    rows.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    text = folder / "text.txt"
    text.write_text(" ".join(["a"] * case.tokens * (2 * case.measured + 2)), encoding="utf-8")
    measures = {"evaluation.base_text": str(text), "evaluation.max_rows": case.measured} if case.measured else {}
    trial = from_flat(
        {
            "model.name": path, "model.quantization": case.quantization, "data.source": str(rows), "data.eval_share": 0.2,
            "data.seq_len_tokens": case.tokens, "adapter.method": case.method, "train.batch_size": case.rows, "train.steps": 2,
            "train.micro_batch_size": case.rows, "train.checkpointing": case.checkpointing, "evaluation.max_rows": SCORED,
            "evaluation.drift_samples": case.measured or 4, "evaluation.drift_tokens": 128 if case.measured else 16,
            "evaluation.generations": case.measured, "seed": 0,
        }
        | measures
    )  # fmt: skip
    result = run(trial, preflight.provenance(trial), folder / "trial", Device())
    if result.state != "finished":
        raise SystemExit(f"{case.name}: {result.reason}")
    return {name: result.metrics[f"{name}_gib"] for name in ("memory_estimate", "peak_memory")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of cases")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(CASES[chosen.one], chosen.model, Path(folder))))
        return 0
    off = 0
    print(f"{'trial':<60} predicted  measured  ratio")
    for i, case in enumerate(CASES):
        if (case.model == "given" and not chosen.model) or (chosen.only and not any(word in case.name for word in chosen.only)):
            continue
        command = [sys.executable, __file__, "--one", str(i), "--model", chosen.model]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        if done.returncode:
            print(f"{case.name:<60} {(done.stderr.strip().splitlines() or ['failed'])[-1]}", flush=True)
            off += 1
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        ratio = found["memory_estimate"] / found["peak_memory"]
        off += not 1 / FACTOR <= ratio <= FACTOR
        print(f"{case.name:<60} {found['memory_estimate']:9.2f} {found['peak_memory']:9.2f} {ratio:6.2f}", flush=True)
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
