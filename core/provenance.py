"""What a trial ran on and with: code, versions, device, and everything that was resolved from defaults."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from core import checkpoint, hardware, model, quantized
from core.adapters import Adapted
from core.data import encode
from core.fields import content_hash
from core.hardware import Device
from core.model import Base
from core.optimizers import OPTIMIZERS
from core.settings import Trial
from core.template import TODAY

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "numpy")


@functools.cache
def git_commit() -> str:
    """The checkout's commit, "+changes" if files differ from it; "none" for an installed package."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10)
        status = ["git", "status", "--porcelain", "--untracked-files=no", "--", "."]
        changes = subprocess.run(status, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git on this machine
        return "none"
    if commit.returncode:
        return "none"
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides numbers."""
    return {f"version.{name}": metadata.version(name) for name in PACKAGES} | {"version.python": platform.python_version()}


def _quantization(trial: Trial, base: Base) -> str:
    if not quantized.is_quantized(base.model):
        return "none"
    kind = trial.model.quantization
    if kind == "none":
        return "nf4, the checkpoint's own"
    return kind if trial.model.double_quantization or quantized.KINDS[kind].bits == 8 else f"{kind}, scales in float32"


def facts(trial: Trial, base: Base, adapted: Adapted, device: Device, seq_len: int) -> dict[str, str]:
    """Everything resolved, as text."""

    template = encode.template_of(base.tokenizer)
    turn = template.turn
    leaves = sorted({name.rpartition(".")[2] for name in adapted.target_modules})
    return {
        "git_commit": git_commit(),
        **versions(),
        "device": hardware.device_name(device),
        "device_kind": device.kind,
        "threads": str(device.threads),
        "memory_fraction": str(device.memory_fraction),
        "dtype": str(model.resolved_dtype(trial.model, device)).removeprefix("torch."),
        "quantization": _quantization(trial, base),
        "model_type": str(base.model.config.model_type),
        "model_path": base.path,
        "seq_len_tokens": str(seq_len),
        "drift_tokens": str(checkpoint.drift_tokens(trial.evaluation.drift_tokens, base.context_tokens)),
        "template_hash": content_hash(base.tokenizer.chat_template),
        "template": base.template_origin,
        "turn_end": " or ".join(turn.stops) or "no token",
        "template_date": f"{TODAY:%Y-%m-%d}, whatever the day" if template.is_dated else "not asked for",
        "new_tokens": str(len(base.new_tokens)),
        "target_modules": ", ".join(leaves) if leaves else "all parameters",
        "n_target_modules": str(len(adapted.target_modules)),
        "optimizer": OPTIMIZERS[trial.train.optimizer].label,
    }
