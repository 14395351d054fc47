"""Several nodes, as Ray's own cluster utility makes them on one machine: a node lost, a node added, broken devices, nodes that
see another disk or have other code. Trials are the made-up ones of executor_functions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_functions import AWAITED, FLAGS, MarkedWorker
from test_executor import FUNCTION, Heard, sweep

from core import shared_texts
from core.errors import BadInput
from core.hardware import is_lost
from core.shared_texts import FOLDER, unpacked
from core.states import State
from sweeps import executor, ledger, places, texts
from sweeps import nodes as asked
from sweeps.cluster import cluster
from sweeps.places import Places
from sweeps.resources import Resources, n_cores


def test_a_trial_keeps_away_from_nodes_that_failed_it() -> None:
    found = Places()
    found.broken("a", "one", "device-side assert")
    assert found.away_from("one", {"a", "b"}) == ("a",)
    assert found.away_from("two", {"a", "b"}) == ()
    assert found.away_from("one", {"a"}) == ()  # nowhere else to go
    found.broken("a", "one", "device-side assert")
    assert found.avoided == {}  # one trial can be at fault itself
    found.worked("a")
    found.broken("a", "two", "device-side assert")
    assert found.avoided == {}
    found.broken("a", "one", "device-side assert")
    assert found.avoided == {"a": "device-side assert"}
    assert found.away_from("three", {"a", "b"}) == ("a",)
    assert [found.again("one") for _ in range(places.RERUNS + 1)] == [True] * places.RERUNS + [False]


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("No CUDA GPUs are available"), True),
        (RuntimeError("the shoe is tied"), False),
        (ValueError("CUDA error"), False),
    ],
)
def test_which_errors_say_that_the_device_is_lost(error: Exception, lost: bool) -> None:
    import torch

    assert is_lost(error) is lost
    assert is_lost(torch.AcceleratorError("anything")) or not hasattr(torch, "AcceleratorError")
    assert not is_lost(torch.cuda.OutOfMemoryError("CUDA out of memory"))


def test_texts_reach_workers_on_other_disks_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = dict[bytes, bytes]()

    class Head:
        """What Ray's client has, for one process."""

        _internal_kv_get = staticmethod(lambda key, namespace: head.get(key))
        _internal_kv_put = staticmethod(lambda key, value, overwrite, namespace: head.setdefault(key, value))
        _internal_kv_list = staticmethod(lambda prefix, namespace: [key for key in head if key.startswith(prefix)])

        @staticmethod
        def _internal_kv_del(prefix: bytes, del_by_prefix: bool, namespace: bytes) -> None:
            for key in [key for key in head if key.startswith(prefix)]:
                del head[key]

    monkeypatch.setattr(texts, "internal_kv", Head)

    def drawn(way: texts.Texts, disk: str, drawing: int, name: str = "b.json") -> Any:
        monkeypatch.setattr(shared_texts, "ways", [way])
        return shared_texts.shared(tmp_path / disk / FOLDER / name, lambda: [[drawing]])

    driver, one, two = tmp_path / "driver" / FOLDER, texts.Texts("1"), texts.Texts("2")
    with one.passed(driver) as gather:
        assert drawn(one, "node", 1) == drawn(one, "driver", 2) == drawn(one, "third", 3) == [[1]]
        gather()
    assert not head  # the cluster may live on
    (driver / "damaged.json").write_text("{")
    with two.passed(driver) as gather:  # a later run, on nodes that see no file and on one whose disk has others
        assert drawn(two, "fourth", 4) == [[1]]
        (tmp_path / "node" / FOLDER / "b.json").write_bytes(shared_texts.packed([[9]]))
        assert drawn(two, "node", 5) == [[1]]
        assert drawn(two, "fourth", 6, "damaged.json") == drawn(two, "driver", 7, "damaged.json") == [[6]]
        monkeypatch.setattr(texts, "MOST_BYTES", 4)
        assert [drawn(two, disk, 8, "c.json") for disk in ("fourth", "fifth")] == [[[8]], [[8]]]
        gather()
    assert [unpacked((driver / f"{name}.json").read_bytes()) for name in ("b", "damaged")] == [[[1]], [[6]]]
    assert not (driver / "c.json").exists()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster whose head runs no trial; `made.add(marks)` adds a node whose workers see these marks."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(executor, "Worker", MarkedWorker)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 32)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_timeout_ms", "1000")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    import ray
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")  # takes up the variables
    AuthenticationTokenLoader.instance().reset_cache()
    monkeypatch.setattr(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", True)
    temporary = Path(f"/tmp/tn{os.getpid()}")
    (temporary / "ray").mkdir(parents=True)
    monkeypatch.setenv("RAY_TMPDIR", str(temporary))
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": str(temporary)}
    nodes = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args=head)

    def add(cpus: int = 1, **marks: str) -> Any:
        return nodes.add_node(num_cpus=cpus, env_vars={**os.environ, **{FLAGS[name]: value for name, value in marks.items()}})

    nodes.add = add
    yield nodes
    nodes.shutdown()
    subprocess.run(["rm", "-rf", str(temporary)], check=True)
    monkeypatch.undo()
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def table(folder: Path) -> dict[str, str]:
    """Every trial's row by its key, but for clocks and places, byte for byte."""
    found = {}
    for path in folder.glob("trials/*/result.json"):
        row = json.loads(path.read_text())
        found[path.parent.name] = json.dumps({name: row.get(name) for name in ("state", "reason", "metrics")})
    return found


def ran(made: Any, folder: Path, seeds: tuple[int, ...], meanwhile: Any = None, slots: int = 4) -> Heard:
    heard, used = Heard(), Resources(slots, 1, trial_timeout_seconds=120)
    events = heard.events()
    if meanwhile:

        def ended(job: Any, outcome: Any) -> None:
            heard.ended.append((job, outcome))
            meanwhile(len(heard.ended))

        events = executor.Events(heard.started.append, ended, events.again)
    with cluster(used, made.address):
        executor.execute(sweep(seeds=seeds), folder, used, events, FUNCTION)
    assert sorted(job.key for job, _ in heard.ended) == sorted({job.key for job in heard.started})
    return heard


def test_a_node_lost_and_a_node_added_end_with_the_same_table(made: Any, tmp_path: Path) -> None:
    seeds = tuple(range(30, 42))
    first, _ = made.add(), made.add()
    ran(made, tmp_path / "quiet", seeds)

    def meanwhile(n_ended: int) -> None:
        if n_ended == 3:
            made.remove_node(first, allow_graceful=False)
            made.add()

    heard = ran(made, tmp_path / "disturbed", seeds, meanwhile)
    assert table(tmp_path / "quiet") == table(tmp_path / "disturbed")
    assert len(table(tmp_path / "quiet")) == len(seeds)
    assert {outcome.state for _, outcome in heard.ended} == {State.FINISHED}


@pytest.mark.slow  # four workers start, and more in place of those that end
def test_a_broken_device_another_disk_and_other_code_lose_no_trial(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AWAITED, str(tmp_path))
    made.add(), made.add(broken="1"), made.add(blind=str(tmp_path / "elsewhere")), made.add(other="1")
    folder, seeds = tmp_path / "sweep", tuple(range(30, 40))
    heard = ran(made, folder, seeds)
    assert {outcome.state for _, outcome in heard.ended} == {State.FINISHED}
    assert len(ledger.read(folder)) == len(seeds)
    reasons = [reason for _, reason in heard.again]
    assert any("device-side assert" in reason for reason in reasons)
    assert 1 <= sum("is not used: the code" in reason for reason in reasons) <= 2  # what was placed there before it was known
    rows = [json.loads(path.read_text()) for path in folder.glob("trials/*/result.json")]
    away = [row for row in rows if "kept_on" in row["facts"]]
    assert away  # written by the driver
    assert all(str(tmp_path / "elsewhere") in row["facts"]["kept_on"] for row in away)
    assert all((folder / "trials" / row["facts"]["key"] / "items.csv.gz").read_bytes() == b"items" for row in away)
    assert {str(row["facts"]["texts"]) for row in rows} == {str(unpacked((folder / FOLDER / "base.json").read_bytes()))}
    marked = [row["facts"]["marks"] for row in rows]
    assert "broken" not in str(marked)
    assert "other" not in str(marked)


@pytest.mark.slow
def test_a_cluster_is_asked_before_anything_starts_and_no_more_trials_run_than_asked_for(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.add(cpus=4)
    assert asked.check(made.address, Resources(4, 1)) == []
    assert "room for 4 trials" in asked.check(made.address, Resources(9, 1))[0]
    with pytest.raises(BadInput, match="no node of the cluster has that"):
        asked.check(made.address, Resources(1, 1, gpus_per_trial=1))
    ran(made, tmp_path, tuple(range(30, 46)), slots=2)
    rows = [json.loads(path.read_text())["facts"] for path in tmp_path.glob("trials/*/result.json")]
    assert {tuple(row["device"]) for row in rows} == {("cpu", max(n_cores() // 2, 1), 0.5)}  # counted where they run
    starts = [(row["started"], row["ended"]) for row in rows]
    assert all(sum(start <= at < end for start, end in starts) <= 2 for at, _ in starts)
    assert len({row["pid"] for row in rows}) <= 3  # and they stay warm
    monkeypatch.setenv("RAY_AUTH_TOKEN", "w" * 32)
    with pytest.raises(BadInput, match="the cluster refuses this token; set the cluster's own"):
        asked.check(made.address, Resources(4, 1))
