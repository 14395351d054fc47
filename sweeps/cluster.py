"""A Ray cluster for one sweep: started quietly with an environment of its own, gone afterwards; or one that runs already."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from core.errors import BadInput, one_line
from sweeps.resources import Resources

ROOT = Path(__file__).resolve().parents[1]
SOCKET_PATH_BYTES = 107  # Linux's limit; Ray adds about 65 to its temporary directory
QUIET: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}


def _variables(resources: Resources, address: str | None) -> dict[str, str]:
    """Variables that Ray and its workers read."""
    values = {
        "OMP_NUM_THREADS": str(resources.threads),
        "MKL_NUM_THREADS": str(resources.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),  # read by ray.init
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of the user's mean the user's directory
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_MAX_PENDING_TRIALS_PG": str(resources.slots),  # else a custom searcher's trials run one by one
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables and errors whatever `verbose` says
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    if not address:  # with clusters ruled out Ray takes 127.0.0.1 as it is, else it listens on every interface (2.60, measured)
        values["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if not resources.gpus_per_trial:
        values["CUDA_VISIBLE_DEVICES"] = ""  # workers without a GPU would see all of them
    return values


@contextmanager
def cluster(resources: Resources, address: str | None = None) -> Iterator[None]:
    """A Ray of our own on this machine, quiet and gone afterwards; or the cluster at `address`."""
    environment = _variables(resources, address)
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = bool(address)  # this process has read the variable when it imported Ray
    on_terminate = signal.getsignal(signal.SIGTERM)
    with _temporary_directory() as temporary, _environment(environment):
        try:
            if address:
                _join(address, environment)
            else:
                own: dict[str, Any] = {"num_cpus": resources.slots, "_temp_dir": str(temporary), "_node_ip_address": "127.0.0.1"}
                ray.init(**own, **QUIET)
            signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own handler there, which ends the process at once
            yield
        finally:
            ray.shutdown()


def _join(address: str, environment: Mapping[str, str]) -> None:
    """Joins the cluster at the address.

    Raises:
        BadInput: there is none.
    """
    try:
        ray.init(address=address, runtime_env={"env_vars": dict(environment)}, **QUIET)
    except ConnectionError as error:
        raise BadInput(f"--ray-address {address}: {one_line(error)}") from None


def session_directory() -> Path:
    """Where the cluster keeps the files of this session."""
    node: Any = ray._private.worker.global_worker.node
    return Path(node.get_session_dir_path())


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    """Where Ray keeps sockets and logs: short enough for a Unix socket, removed with the cluster.

    What a sweep left that was ended by kill -9 is removed by the next: its lock, which the kernel drops, can be taken.
    """
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) + 12 + 65 > SOCKET_PATH_BYTES:
        base = "/tmp"
    for lock in Path(base).glob("tl-*/lock"):
        with suppress(OSError), lock.open() as left:  # in use, or another user's
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix="tl-", dir=base))
    try:
        with (made / "lock").open("w") as mine:
            fcntl.flock(mine, fcntl.LOCK_EX)
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
