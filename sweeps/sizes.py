"""What full fine-tuning and LoRA train of a model and what that takes, by config.json alone: `python sweeps/sizes.py DIR_OR_ID`.

Parameters are exact for any architecture that transformers builds: no weights are read. Memory (core/memory.py) is a trial's peak
on a GPU in bfloat16 or on a CPU in float32: at the least (one row at a time, layers computed twice), and with a whole batch at
once.
Exit codes: 0 told; 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not sweeps/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from core import adapters, environment, memory
from core.base import BaseFiles
from core.command import Parser, refused
from core.errors import BadInput
from core.settings import ADAPTERS, QUANTIZATIONS, TARGET_PRESETS, Full, Lora, Train, Trial

# `--help` and a misspelt option answer at once: torch is imported where the model is built.

RANKS, TOKENS, BATCH = "8,16,64", "1024", "16"


@dataclass(frozen=True)
class Row:
    """One method on one kind of base. Memory in GiB: at the least, and with a whole batch and layers kept."""

    method: str
    targets: str
    rank: int | None
    quantization: str
    trainable: int
    base_gib: float
    least_gib: float
    whole_gib: float


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python sweeps/sizes.py", __doc__)
    parser.add_argument("model", nargs="?", help="a directory with config.json, that file, or a hub id")
    parser.add_argument("--rank", default=RANKS, metavar="R,…", help=f"ranks of LoRA ({RANKS})")
    parser.add_argument("--tokens", default=TOKENS, metavar="N", help=f"of the longest row ({TOKENS})")
    parser.add_argument("--batch", default=BATCH, metavar="N", help=f"rows of an optimizer step ({BATCH})")
    parser.add_argument("--device", default="cuda", metavar="cuda|cpu", help="where it is trained (cuda)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    found, problems = parser.read(arguments, "one model at a time")
    if not found.model and not problems.found:
        problems.add("name a model: a directory with config.json, that file, or a hub id")
    if found.device not in ("cuda", "cpu"):
        problems.add(f"--device {found.device!r}: must be cuda or cpu", "--device")
    for name in ("rank", "tokens", "batch"):
        with problems.taken():
            setattr(found, name, _numbers(f"--{name}", getattr(found, name)))
    problems.raise_all()
    return found


def _numbers(option: str, text: str) -> list[int]:
    parts = text.split(",")
    known = all(part.isascii() and part.isdecimal() and len(part) < 10 and int(part) > 0 for part in parts)
    if not known or (option != "--rank" and len(parts) > 1):
        must = "whole numbers above 0, with commas between" if option == "--rank" else "a whole number above 0"
        raise BadInput(f"{option} {text!r}: must be {must}", field=option)
    return list(map(int, parts))


def rows(base: BaseFiles, ranks: Sequence[int], tokens: int, batch: int, device: str) -> list[Row]:
    """Full fine-tuning, LoRA with every preset and rank that fits the model, and every other method as it comes, on every kind of
    base that they can train on."""
    found, whole = [], Trial(train=Train(batch_size=batch))
    loras = [Lora(targets=preset, rank=rank) for preset in TARGET_PRESETS for rank in ranks]
    others = [settings() for settings in ADAPTERS.values() if settings not in (Full, Lora)]
    for adapter in [Full(), *loras, *others]:
        for kind in QUANTIZATIONS:
            trial = replace(whole, adapter=adapter, model=replace(whole.model, quantization=kind))
            try:
                adapters.method_of(trial)
                trainable = adapters.n_trained(trial, base)
            except BadInput:  # a rank above the width, a preset that fits no layer, whole weights in 4 bits
                continue
            load = memory.load(trial, base, trainable, tokens, device)
            peaks = [load.peak_bytes(*way) / memory.GIB for way in ((1, True), (batch, False))]
            targets = "all weights" if isinstance(adapter, Full) else getattr(adapter, "targets", "–")
            rank = getattr(adapter, "rank", None)
            found.append(Row(adapter.method, targets, rank, kind, trainable, load.base_bytes / memory.GIB, *peaks))
    return found


def table(base: BaseFiles, found: Sequence[Row], chosen: argparse.Namespace) -> str:
    """A line for each method, preset and rank; memory for each kind of base."""
    (tokens,), (batch,) = chosen.tokens, chosen.batch
    kinds = list(dict.fromkeys(row.quantization for row in found))
    weights = ", ".join(f"{kind} {_gib(next(row.base_gib for row in found if row.quantization == kind))}" for kind in kinds)
    lines = [
        f"{base.model_type}: {base.n_parameters:,} parameters; their weights by quantization, GiB: {weights}",
        f"a trial's peak on {chosen.device}, GiB, rows of {tokens:,} tokens: one row at a time with layers computed twice / "
        f"{batch} rows at once",
        "",
    ]
    cells = [["method", "layers", "rank", "trainable", "of the base", *kinds]]
    by_setting: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in found:
        by_setting.setdefault((row.method, row.targets, row.rank, row.trainable), {})[row.quantization] = row
    for (method, targets, rank, trainable), held in by_setting.items():
        share = f"{100 * trainable / base.n_parameters:.3g} %"
        peaks = [f"{_gib(held[kind].least_gib)} / {_gib(held[kind].whole_gib)}" if kind in held else "–" for kind in kinds]
        cells.append([method, targets, str(rank or "–"), f"{trainable:,}", share, *peaks])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines += ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def _gib(value: float) -> str:
    """Two digits, and whole numbers in full."""
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    try:
        chosen = parse(arguments)
        from core import skeleton

        base = skeleton.read(skeleton.locate(chosen.model))
    except BadInput as error:
        return refused(error)
    found = rows(base, chosen.rank, chosen.tokens[0], chosen.batch[0], chosen.device)
    taken = {row.rank for row in found if row.method == Lora().method}
    if lost := [str(rank) for rank in chosen.rank if rank not in taken]:
        told = f"--rank {','.join(lost)}: above the width of every layer of {base.model_type}"
        if not taken:
            return refused(BadInput(f"{told}; give a lower one", field="--rank"))
        print(f"caution: {told}: left out", file=sys.stderr)
    if chosen.json:
        print(json.dumps({"parameters": base.n_parameters, "device": chosen.device, "rows": list(map(asdict, found))}, indent=1))
    else:
        print(table(base, found, chosen))
    return 0


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
