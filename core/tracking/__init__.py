"""MLflow: the only room that imports it. One parent run per sweep, one child per trial, one summary run per arm."""

from core.tracking.connection import (
    ARM,
    CLAIMS,
    MOST_SEEDS,
    NOTE,
    PARAM_CHARACTERS,
    PHASE,
    REPEATED,
    SWEEP,
    TAG_CHARACTERS,
    client,
    unusable,
)
from core.tracking.entries import TrialRecord
from core.tracking.read import (
    Absent,
    damaged,
    last_with_results,
    latest_sweep,
    read_claims,
    read_generations,
    read_history,
    read_items,
    read_looks,
    read_repeated,
    read_status,
    read_trials,
    sweeps,
)
from core.tracking.sqlite import sqlite_uri
from core.tracking.store import Stale, Store
from core.tracking.uri import URI_VARIABLE, check_form, check_uri, chosen_uri, default_uri, page
from core.tracking.views import Asked
from core.tracking.write import write_analysis, write_arms, write_looks

__all__ = [
    "ARM", "CLAIMS", "MOST_SEEDS", "NOTE", "PARAM_CHARACTERS", "PHASE", "REPEATED", "SWEEP", "TAG_CHARACTERS",
    "URI_VARIABLE", "Absent", "Asked", "Stale", "Store", "TrialRecord", "check_form", "check_uri", "chosen_uri", "client",
    "damaged", "default_uri", "last_with_results",
    "latest_sweep", "page", "read_claims", "read_generations", "read_history", "read_items", "read_looks",
    "read_repeated", "read_status", "read_trials", "sqlite_uri", "sweeps", "unusable", "write_analysis", "write_arms",
    "write_looks",
]  # fmt: skip
