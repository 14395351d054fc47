"""What a sweep's claims said before its first seed: the parent run has a copy of claims.json, and its hash as a tag."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.looks import CLAIMS_FILE
from core.tracking.connection import CLAIMS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def keep(writer: MlflowClient, parent_id: str, runs: Sequence[Run], directory: Path | None) -> None:
    """Gives the parent run the copy, unless it has one. `runs`: of the sweep; `directory`: of its trials."""
    file = directory / CLAIMS_FILE if directory else None
    had = any(CLAIMS in run.data.tags for run in runs if run.info.run_id == parent_id)
    if file is None or had or not file.exists():
        return
    writer.log_artifact(parent_id, str(file))  # before the tag that says so
    writer.set_tag(parent_id, CLAIMS, json.loads(file.read_text(encoding="utf-8"))["hash"])
