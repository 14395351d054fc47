"""What a machine, a container and a card give a process, told without them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from core import container, cost, hardware
from core.hardware import Device
from core.settings import Lora, Model, Trial
from sweeps import resources


def groups(folder: Path, own: str, **files: str) -> None:
    """Control groups as Linux shows them: `own` is /proc/self/cgroup; files by their paths, / as __."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        path = folder / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("own", "files", "cpus", "memory"),
    [
        ("0::/\n", {"cpu.max": "400000 100000", "memory.max": "16000"}, 4.0, 16000),
        ("0::/job/step\n", {"job__cpu.max": "150000 100000", "job__step__cpu.max": "max 100000"}, 1.5, math.inf),
        ("0::/a\n", {"memory.max": "9000", "a__memory.max": "7000"}, math.inf, 7000),
        (
            "4:cpu,cpuacct:/pod\n3:memory:/pod\n",
            {"cpu__cpu.cfs_quota_us": "200000", "cpu__cpu.cfs_period_us": "100000", "memory__memory.limit_in_bytes": "5000"},
            2.0, 5000,
        ),
        ("4:cpu:/\n", {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000"}, math.inf, math.inf),
        ("", {}, math.inf, math.inf),
    ],
)  # fmt: skip
def test_what_a_container_may_have(
    own: str, files: dict[str, str], cpus: float, memory: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups(tmp_path, own, **files)
    monkeypatch.setattr(container, "ROOT", tmp_path / "sys")
    monkeypatch.setattr(container, "OWN", tmp_path / "own")
    assert (container.cpus(), container.memory_bytes()) == (cpus, memory)


def test_cores_and_memory_are_those_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "memory_bytes", lambda: 2.0**30)
    for quota, n in ((1.5, 1), (0.2, 1), (math.inf, len(os.sched_getaffinity(0)))):
        monkeypatch.setattr(container, "cpus", lambda quota=quota: quota)
        assert hardware.n_cores() == n
    assert hardware.available_gib(Device(memory_fraction=0.5)) == 0.5


@pytest.mark.parametrize("there", [*resources.DRIVERS, ""])
def test_gpus_are_asked_for_where_a_driver_of_any_kind_is(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(resources.os.path, "exists", lambda path: path == there)
    assert resources.n_gpus() == (3 if there else 0)


def test_a_share_of_a_card_has_its_share_of_the_assumed_speed_and_each_method_its_own_measured_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = cost.sizes(Model(), "cuda")
    whole, half = (cost.assumed(sizes, Device("cuda", 1, share)) for share in (None, 0.5))
    assert half.training == whole.training / 2
    known: dict[str, object] = {}
    monkeypatch.setattr(cost.remembered, "keep", lambda key, row: known.update({str(key): row}))
    monkeypatch.setattr(cost.remembered, "recall", lambda key: known.get(str(key)))
    one, other = Trial(adapter=Lora()), Trial(adapter=Lora(rank=4))
    cost.keep(one, Device(), 2, "here", half)
    assert cost.speed(other, Device(), 2, "here") == half
    from core.method_settings.lora import Dora

    assert cost.speed(Trial(adapter=Dora()), Device(), 2, "here") != half
