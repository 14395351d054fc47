"""A Ray cluster for one sweep: started quietly with an environment of its own, gone afterwards; or one that runs already."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.core.generated.common_pb2 import ActorDiedErrorContext  # type: ignore[attr-defined]

from core import installation
from core.errors import BadInput, Lost, one_line
from core.hardware import PATIENT_THREADS
from core.states import State
from sweeps import private
from sweeps.resources import Resources
from sweeps.watch import watching

QUIET: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
# What the user's environment may say to a Ray of our own; all else under RAY_ speaks of another cluster, its jobs or its token.
KEPT = ("RAY_USAGE_STATS_ENABLED", "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE", "RAY_DISABLE_MEMORY_MONITOR")
DEATH_SECONDS = 3.0  # until the cluster's head has recorded a death that the driver has heard of
DIRECTORY: list[Path] = []  # of the running sweep, on this machine


def _variables(resources: Resources, address: str | None) -> dict[str, str]:
    """Variables that Ray and its workers read."""
    values = {
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUTF8": "1",  # paths and texts mean the same in every worker, whatever its locale
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),  # read by ray.init
        "PYTHONPATH": installation.python_path(),
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of the user's mean the user's directory
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # rows of uneven length leave holes in fixed blocks, which a trial with a share of a GPU has no room for
        "PYTORCH_CUDA_ALLOC_CONF": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        "TUNE_MAX_PENDING_TRIALS_PG": str(resources.slots),  # else a custom searcher's trials run one by one
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables and errors whatever `verbose` says
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    if not address:  # elsewhere a worker counts its own machine's cores
        values |= {
            "OMP_NUM_THREADS": str(resources.threads),
            "MKL_NUM_THREADS": str(resources.threads),
            **{name: os.environ.get(name, value) for name, value in PATIENT_THREADS.items()},
            # with clusters ruled out Ray takes 127.0.0.1 as it is, else it listens on every interface (2.60, measured)
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # of this sweep alone: Ray would write one to ~/.ray, where every cluster that is started later takes it up
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_worker_niceness": "0",  # Ray's 15 starves the trials on a machine with other work
        }
    if not resources.gpus_per_trial:
        values["CUDA_VISIBLE_DEVICES"] = ""  # workers without a GPU would see all of them
    return values


@contextmanager
def cluster(resources: Resources, address: str | None = None) -> Iterator[None]:
    """A Ray of our own on this machine, quiet and gone afterwards, whatever the environment says of other clusters; or the
    cluster at `address`.

    Raises:
        BadInput: it can't be started or joined.
        Lost: it died.
    """
    environment = _variables(resources, address)
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = bool(address)  # these two are read when Ray is imported
    for mode in ("is_client_mode_enabled", "is_client_mode_enabled_by_default"):
        setattr(ray._private.client_mode_hook, mode, False)
    # a thread of Ray's prints the last log lines of a raylet that died, a hundred of them; `watch` says it in one
    setattr(ray._private.worker, "print_to_stdstream", lambda *message, **how: None)  # noqa: B010
    # SIGTERM is ours, from Ray's first line on: its own handlers end the process where it is, with exit codes of theirs
    setattr(ray._private.utils, "set_sigterm_handler", lambda handler: None)  # noqa: B010
    with private.directory() as temporary, _environment(environment, own=not address):
        try:
            if address:
                _join(address, environment)
            else:
                _start(resources, temporary)
            DIRECTORY.append(temporary)
            with watching(resources.fit, joined=bool(address)):
                yield
        finally:
            DIRECTORY.clear()
            ray.shutdown()


def _start(resources: Resources, temporary: Path) -> None:
    """Starts a Ray of our own.

    Raises:
        Lost: it does not start.
    """
    files = str(temporary / "r")  # inside: Ray gives its directory the mode 0777
    own: dict[str, Any] = {"num_cpus": resources.slots, "_temp_dir": files, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address="local", **own, **QUIET)
    except (ConnectionError, TimeoutError, RuntimeError, ray.exceptions.RayError) as error:
        raise Lost(f"Ray did not start in {temporary.parent}: {one_line(error)}") from error


def _join(address: str, environment: Mapping[str, str]) -> None:
    """Joins the cluster at the address.

    Raises:
        BadInput: there is none.
    """
    try:
        ray.init(address=address, runtime_env={"env_vars": dict(environment)}, **QUIET)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise BadInput(f"--ray-address {address}: {one_line(error)}", "--ray-address") from None


def session_directory() -> Path:
    """Where this process keeps what Ray Tune writes: in a directory of our own, as Tune reads pickles from there."""
    return DIRECTORY[-1]


def is_joined() -> bool:
    """Whether the cluster was there before, and may have nodes on other machines."""
    node: Any = ray._private.worker._global_node
    return not node.head


def nodes() -> set[str]:
    """Ray's ids of the living nodes."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def away_from(avoided: Sequence[str]) -> dict[str, Any]:
    """How Ray's placement groups are told to keep away from nodes."""
    return {"bundle_label_selector": [{"ray.io/node-id": f"!in({','.join(avoided)})"}]} if avoided else {}


@dataclass(frozen=True)
class Death:
    """Why a worker process is gone, and what became of its trial if that is final."""

    reason: str
    state: State = State.CRASHED


def death_of(actor: str) -> Death:
    """Why one of Ray's actors died, from what the cluster's head has recorded."""
    ends = time.monotonic() + DEATH_SECONDS
    while True:
        found: dict[str, Any] = ray._private.state.state.actor_table(actor) if actor else {}
        if found.get("State") == "DEAD" or time.monotonic() > ends:
            break
        time.sleep(0.1)
    cause = found.get("DeathCause")
    kind = cause.WhichOneof("context") if cause else None
    if cause is not None and kind == "oom_context":
        return Death("the machine ran out of memory, and Ray ended the worker process", State.OOM)
    if cause is not None and kind == "actor_died_error_context":
        died = cause.actor_died_error_context
        if died.reason == ActorDiedErrorContext.NODE_DIED:
            return Death(f"the worker process died: its node {died.node_ip_address} was lost")
        detail = " ".join(died.error_message.partition("Worker exit type:")[2].split())  # for people
        return Death(f"the worker process died: {detail or 'killed, or it no longer answered'}"[:300])
    return Death("the worker process died: killed, or it no longer answered")


@contextmanager
def _environment(values: Mapping[str, str], own: bool) -> Iterator[None]:
    """The environment with these values, and for a Ray of our own without what speaks of other clusters; then as before."""
    before = dict(os.environ)
    for name in before:
        if own and name.startswith("RAY_") and name[4:5].isupper() and name not in KEPT:
            del os.environ[name]
    os.environ.update(values)
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        for name in {name for name in os.environ if name.startswith("RAY_")} | set(values):
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if name.startswith("RAY_") or name in values})
        AuthenticationTokenLoader.instance().reset_cache()
