"""What a sweep asks of the analysis, which runs in processes of its own: reports, and what claims say before the first seed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import experiments
from core import installation, tracking
from core.data.rows import is_lab
from core.looks import CLAIMS_FILE
from core.result import write_whole
from core.states import Phase
from sweeps.plan import Plan


def report(plan: Plan, uri: str, directory: Path) -> bool:
    """Runs the question's analysis; whether it could. An experiment without a file of its own has none."""
    name = plan.experiment.name
    return name not in experiments.names() or analyse(uri, [name, "--sweep", plan.sweep, "--report", str(directory / "report")])


def analyse(uri: str, arguments: list[str]) -> bool:
    """Runs analysis/report.py in a process of its own; whether it could."""
    environment = installation.environment(**{tracking.URI_VARIABLE: uri})  # no argument, which every user here could read
    return subprocess.run(installation.command("analysis.report", *arguments), env=environment).returncode == 0


def power(plan: Plan, counts: Sequence[int], output: Path) -> list[str]:
    """What the seeds at these looks can show of each claim, a line each."""
    lines = _beforehand(plan, counts, output, late=False).get("power", [])
    return list(map(str, lines)) if isinstance(lines, list) else []


def record(plan: Plan, counts: Sequence[int], directory: Path) -> list[str]:
    """Keeps what the claims say in the sweep's directory before its first seed, unless that is kept already; a caution where it
    could not be found out."""
    file = directory / CLAIMS_FILE
    if file.exists() or plan.experiment.name not in experiments.names():
        return []
    late = any(directory.glob(f"trials/*-{Phase.FINAL}/result.json"))
    text = _beforehand(plan, counts, directory.parent, late).get("record")
    if not isinstance(text, str):
        return ["caution: what the claims say could not be recorded, so a report cannot show what is changed later"]
    write_whole(file, text.encode())
    return []


def _beforehand(plan: Plan, counts: Sequence[int], output: Path, late: bool) -> dict[str, object]:
    """What analysis/beforehand.py prints; nothing of an experiment that it does not know, or where it fails."""
    if plan.experiment.name not in experiments.names():
        return {}
    own = is_lab(plan.experiment.base.model.name) and is_lab(plan.experiment.base.data.source)
    flags = [*(["--kept"] if own else []), *(["--late"] if late else [])]
    words = [plan.experiment.name, "--seeds", ",".join(map(str, counts)), "--bases", str(plan.n_bases)]
    words += ["--output", str(output), *flags]
    environment = installation.environment()
    done = subprocess.run(installation.command("analysis.beforehand", *words), env=environment, capture_output=True, text=True)
    try:
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}
    except ValueError:
        return {}
