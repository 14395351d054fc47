"""What a Ray cluster has, asked before anything is started, in a process of its own: Ray's client tries for a minute, prints
what it tries, and ends the process that it is in.

    python -m sweeps.nodes HOST:PORT     prints {"nodes": […], "refused": ""} as its last line
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from core import installation
from core.errors import BadInput
from sweeps.resources import Resources

WAIT_SECONDS = 45.0  # for the cluster's answer
PROBE_SECONDS = 30.0  # for a node's answer
OPTION = "--ray-address"
TOKEN = "RAY_AUTH_TOKEN, or ~/.ray/auth_token; `ray get-auth-token` on the head node shows it"


@dataclass(frozen=True)
class Node:
    """A node of a cluster: its address, its resources as Ray counts them, what is installed there (empty: no answer)."""

    address: str
    resources: dict[str, float]
    installed: dict[str, str]


def check(address: str, share: Resources) -> list[str]:
    """Whether the cluster can run the sweep's trials; cautions about what is slower than meant.

    Raises:
        BadInput: nothing answers, the token is wrong, no node has what a trial takes, or a node has other code.
    """
    nodes = _asked(address)
    fitting = [node for node in nodes if share.fit(node.resources)]
    if not fitting:
        most = {kind: max((node.resources.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
        what = f"1 CPU and {share.gpus_per_trial:g} GPU" if share.gpus_per_trial else "1 CPU"
        option, value = ("--gpus-per-trial", f" {share.gpus_per_trial:g}") if most["CPU"] >= 1 else (OPTION, f" {address}")
        why = f"a trial takes {what}, and no node of the cluster has that (at most {most['CPU']:g} CPU and {most['GPU']:g} GPU)"
        raise BadInput(f"{option}{value}: {why}", option)
    for node in fitting:
        other = installation.difference(installation.identity(), node.installed) if node.installed else "nothing is installed"
        if other:
            why = f"node {node.address} differs: {other}; give every node the same copy of the code at {installation.ROOT}"
            raise BadInput(f"{OPTION} {address}: {why}", OPTION)
    room = sum(share.room(node.resources) for node in fitting)
    if room < share.slots:
        return [f"caution: --concurrency {share.slots}: the cluster has room for {room} trials at a time"]
    return []


def _asked(address: str) -> list[Node]:
    """The cluster's living nodes.

    Raises:
        BadInput: nothing answers, or it refuses.
    """
    environment = installation.environment(PYTHONUTF8="1")
    command = installation.command("sweeps.nodes", address)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=WAIT_SECONDS)
        found = json.loads(done.stdout.decode(errors="replace").strip().rpartition("\n")[2])
    except (subprocess.TimeoutExpired, ValueError):  # it waits for ever, or Ray has ended the process
        found = {
            "nodes": [],
            "refused": "something answers, but not as a Ray cluster does; give the head node's address (`ray status`)",
        }
    if found["refused"]:
        raise BadInput(f"{OPTION} {address}: {found['refused']}", OPTION)
    return [Node(**node) for node in found["nodes"]]


def _look(address: str) -> dict[str, Any]:
    """What the process of its own finds."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        if address != "auto":
            GcsClient(address=address)
        os.environ.pop("RAY_RUNTIME_ENV_HOOK", None)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        ray.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}, **quiet)
    except ray.exceptions.AuthenticationError:
        return {"nodes": [], "refused": f"the cluster refuses this token; set the cluster's own ({TOKEN})"}
    except (ConnectionError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        return {"nodes": [], "refused": f"can't be joined ({' '.join(str(error).split())[:200]})"}
    alive = [node for node in ray.nodes() if node["Alive"]]
    installed = _installed([node["NodeID"] for node in alive])
    return {
        "nodes": [
            {"address": node["NodeManagerAddress"], "resources": node["Resources"], "installed": told}
            for node, told in zip(alive, installed, strict=True)
        ],
        "refused": "",
    }


def _installed(nodes: list[str]) -> list[dict[str, str]]:
    """What each node has installed; nothing where it does not answer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = ray.remote(installation.identity.__wrapped__)
    waiting = [
        asked.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes
    ]
    ray.wait(waiting, num_returns=len(waiting), timeout=PROBE_SECONDS)
    found = []
    for one in waiting:
        try:
            found.append(ray.get(one, timeout=0.1))
        except Exception:  # no code, no Python, no answer
            found.append({})
    return found


if __name__ == "__main__":
    print(json.dumps(_look(sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)  # Ray's own way out takes seconds
