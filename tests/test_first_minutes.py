"""The script for the first minutes on a GPU runs, with next to no sizes, where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "gpu" / "first_minutes.py"
STEPS = ("machine", "exact", "memory", "speed", "evaluation", "nf4", "halves", "profile", "ensemble")


@pytest.mark.slow
def test_every_step_runs_without_a_gpu(tmp_path: Path) -> None:
    only = [word for step in STEPS for word in ("--only", step)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--cpu", "--output", str(tmp_path), *only], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count('"took"') == len(STEPS)
