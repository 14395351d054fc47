"""What a sweep runs on: directories that nobody else can enter, an environment that speaks of other clusters, a Ray that dies,
odd locales, streams, homes and temporary directories."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from test_executor import ROOT

from core import environment, installation, remembered
from core.errors import EXIT_INCOMPLETE, BadInput
from sweeps import private, resources
from sweeps.cluster import _environment, cluster
from sweeps.nodes import Node
from sweeps.resources import Resources


def test_its_directory_is_ours_alone_and_leftovers_of_ours_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(f"/tmp/tp{os.getpid()}")
    base.mkdir()
    monkeypatch.setattr(private.tempfile, "tempdir", str(base))
    try:
        (left := base / "tl-left").mkdir(mode=0o700)
        (left / "lock").touch()
        for name in ("tl-empty", "tl-new"):  # by a process that was killed before it had its lock; or one that has it soon
            (base / name).mkdir(mode=0o700)
        os.utime(base / "tl-empty", (0, 0))
        (open_to_all := base / "tl-open").mkdir()
        open_to_all.chmod(0o777)
        (open_to_all / "lock").touch()
        (mine := tmp_path / "sweep").mkdir(mode=0o700)  # what another user's link may lead to
        (mine / "lock").touch()
        (base / "tl-link").symlink_to(mine)
        (pipe := base / "tl-pipe").mkdir(mode=0o700)
        os.mkfifo(pipe / "lock")
        with private.directory() as made:
            assert made.parent == base
            assert made.stat().st_mode & 0o777 == 0o700
            assert private.is_ours(made)
            assert not left.exists()
            assert not (base / "tl-empty").exists()
            assert (base / "tl-new").exists()
            assert (mine / "lock").exists()
            assert (open_to_all / "lock").exists()
        assert not made.exists()
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)


@pytest.mark.parametrize("name", ["tmp-é", "a b", "x" * 60, "new\nline", "gone"])
def test_a_temporary_directory_that_ray_cannot_use_is_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    if name != "gone":
        folder.mkdir()
    monkeypatch.setattr(private.tempfile, "tempdir", str(folder))
    assert private.unfit(str(folder))
    assert private.place() == Path("/tmp")


def test_no_usable_temporary_directory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(private.tempfile, "gettempdir", none)
    monkeypatch.setattr(private, "ELSEWHERE", ("/nowhere-é", "/proc"))
    with pytest.raises(BadInput, match=r"TMPDIR: no directory for Ray's files: /nowhere-\\xe9 has letters") as error:
        private.place()
    assert error.value.field == "TMPDIR"
    assert error.value.text.isascii()


def test_a_directory_that_others_can_change_is_not_used(tmp_path: Path) -> None:
    short = Path(f"/tmp/tq{os.getpid()}")
    short.mkdir()
    try:
        assert private.unfit(str(short)) == ""
        short.chmod(0o777)
        assert "other users" in private.unfit(str(short))
        short.chmod(0o1777)
        assert private.unfit(str(short)) == ""
    finally:
        short.rmdir()


def test_what_the_environment_says_of_other_clusters_is_put_aside_for_our_own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        "RAY_ADDRESS": "10.0.0.1:6379",
        "RAY_NAMESPACE": "n",
        "RAY_RUNTIME_ENV_HOOK": "no.such",
        "RAY_AUTH_MODE": "disabled",
    }
    tuning = {"RAY_memory_usage_threshold": "0.8", "RAY_USAGE_STATS_ENABLED": "1"}
    for name, value in (others | tuning).items():
        monkeypatch.setenv(name, value)
    with _environment({"RAY_worker_niceness": "0"}, own=True):
        assert not others.keys() & os.environ.keys()
        assert tuning.items() <= os.environ.items()
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
    assert (others | tuning).items() <= os.environ.items()
    assert "RAY_worker_niceness" not in os.environ
    with _environment({}, own=False):
        assert others.items() <= os.environ.items()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://head:10001", ["ray://head:10001", "not served", "HOST:PORT"]),
        ("http://me:secret@head:8265", ["not served"]),
        ("head", ["HOST:PORT"]),
        ("head:0", ["HOST:PORT"]),
        ("head:99999", ["HOST:PORT"]),
        ("head:٦٣٧٩", ["HOST:PORT"]),
        ("..:6379", ["no answer"]),
        ("[::1]:9", ["no answer"]),
        ("127.0.0.1:9", ["no answer", "is Ray running there"]),
        ("", ["HOST:PORT"]),
    ],
)
def test_an_address_that_is_no_clusters_is_one_line(address: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        resources.check_cluster(address)
    assert error.value.field == "--ray-address"
    assert all(word in error.value.text for word in words)
    assert "secret" not in error.value.text


def test_what_a_node_holds() -> None:
    half = Resources(4, 1, gpus_per_trial=0.5)
    assert half.fit({"CPU": 1, "GPU": 1})
    assert not half.fit({"CPU": 8})
    assert not Resources(4, 1).fit({"CPU": 0.5})
    assert [half.room({"CPU": cpus, "GPU": 2}) for cpus in (3, 8)] == [3, 4]
    assert [resources.fitting(share, 2) for share in (0.4, 0.6, 1 / 3, 1.0)] == [4, 2, 6, 2]  # a share is never made of two


def test_a_cluster_that_lacks_what_a_trial_takes_or_has_other_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps import nodes

    here = installation.identity()
    cluster_of: list[Node] = []
    monkeypatch.setattr(nodes, "_asked", lambda address: cluster_of)
    cluster_of[:] = [Node("10.0.0.1", {"CPU": 2}, here), Node("10.0.0.2", {"CPU": 4}, here)]
    assert nodes.check("head:6379", Resources(6, 1)) == []
    assert nodes.check("head:6379", Resources(7, 1)) == ["caution: --concurrency 7: the cluster has room for 6 trials at a time"]
    with pytest.raises(
        BadInput, match=r"--gpus-per-trial 0.5: a trial takes 1 CPU and 0.5 GPU, and no node .*\(at most 4 CPU and 0"
    ):
        nodes.check("head:6379", Resources(1, 1, gpus_per_trial=0.5))
    cluster_of[0] = Node("10.0.0.1", {"CPU": 0}, {})  # holds no trial: what is installed there does not matter
    assert nodes.check("head:6379", Resources(4, 1)) == []
    cluster_of[1] = Node("10.0.0.2", {"CPU": 4}, here | {"torch": "2.0.1"})
    with pytest.raises(BadInput, match=r"node 10.0.0.2 differs: torch 2.0.1 there, .* same copy"):
        nodes.check("head:6379", Resources(4, 1))
    cluster_of[1] = Node("10.0.0.2", {"CPU": 4}, {})
    with pytest.raises(BadInput, match=r"nothing is installed"):
        nodes.check("head:6379", Resources(4, 1))


def test_the_hash_of_the_code_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = installation.source_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    changed = installation.source_hash(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({before, changed, installation.source_hash(tmp_path)}) == 3


# A Ray that dies


def test_a_sweep_that_is_told_to_end_while_ray_starts_ends_as_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def init(**_: object) -> None:
        ray._private.utils.set_sigterm_handler(lambda number, frame: sys.exit(number))  # as it does
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(ray._private.utils, "set_sigterm_handler", ray._private.utils.set_sigterm_handler)  # put back afterwards
    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(KeyboardInterrupt), cluster(Resources(slots=1, threads=1)):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)


# In a process of its own: where the main thread hangs inside Ray, the watch ends the process.
LOSING = """
import signal, sys, threading
from pathlib import Path
from types import SimpleNamespace
from core.errors import Lost
from executor_functions import kill_when
from sweeps import executor
from sweeps.cluster import cluster
from test_executor import FUNCTION, Resources, sweep

who, how, folder = sys.argv[1], signal.Signals(int(sys.argv[2])), Path(sys.argv[3])
tell = lambda *words: print(*words, flush=True)
struck = SimpleNamespace(append=lambda at: tell("struck", at))
ready = lambda: len(list(folder.glob("trials/*/pid"))) > 1
threading.Thread(target=kill_when, args=(who, ready, struck, how), daemon=True).start()
used, events = Resources(1, 1), executor.Events(lambda job: None, lambda job, _: tell("ended", job.trial.seed), tell)
try:
    with cluster(used):
        executor.execute(sweep(seeds=(0, 13)), folder, used, events, FUNCTION)  # 13 sleeps for ten minutes
except Lost as error:
    sys.exit(f"error: {error}")
"""


def lose(who: str, how: signal.Signals, folder: Path, **environment: str) -> str:
    """What a sweep says whose Ray is struck while its second trial runs; it has ended within a minute, and kept the first."""
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    command = [sys.executable, "-c", LOSING, who, str(int(how)), str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True, timeout=300
    )
    told = [line.split() for line in done.stdout.splitlines()]
    struck = [float(words[1]) for words in told if words[0] == "struck"]
    assert struck, done.stderr
    assert time.monotonic() - struck[0] < 60
    assert [words[1] for words in told if words[0] == "ended"] == ["0"]
    assert done.returncode in (1, EXIT_INCOMPLETE), done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("error: "))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["raylet", "gcs_server", "RuntimeEnvAgent"])
def test_a_sweep_whose_ray_dies_ends_with_a_line(who: str, tmp_path: Path) -> None:
    assert re.match(r"error: Ray's (raylet|gcs_server) died", lose(who, signal.SIGKILL, tmp_path, RAY_ADDRESS="127.0.0.1:9"))


@pytest.mark.slow
def test_a_sweep_whose_raylet_is_stopped_ends_with_a_line(tmp_path: Path) -> None:
    assert lose("raylet", signal.SIGSTOP, tmp_path).startswith("error: Ray's raylet is stopped (SIGSTOP)")


def test_stopped_processes_are_noticed_and_workers_among_them_ended() -> None:
    from sweeps import watch

    script = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as raylet:
        while not (workers := watch._children(raylet.pid)):
            time.sleep(0.02)
        node = SimpleNamespace(all_processes={"raylet": [SimpleNamespace(process=raylet)]})
        seen = watch.Watch(Resources(1, 1).fit, asks=False)
        assert seen._stopped(node) == ""
        os.kill(workers[0], signal.SIGSTOP)
        while not watch._is_stopped(workers[0]):
            time.sleep(0.02)
        assert {seen._stopped(node) for _ in range(watch.STOPPED_LOOKS)} == {""}
        assert watch._is_stopped(workers[0])  # it may go on yet
        assert seen._stopped(node) == ""
        while Path(f"/proc/{workers[0]}/stat").exists() and watch._is_stopped(workers[0]):
            time.sleep(0.02)
        os.kill(raylet.pid, signal.SIGSTOP)
        while not watch._is_stopped(raylet.pid):
            time.sleep(0.02)
        found = [seen._stopped(node) for _ in range(watch.STOPPED_LOOKS + 1)]
        assert found == [""] * watch.STOPPED_LOOKS + ["raylet"]
        raylet.kill()


def test_a_joined_cluster_is_lost_when_it_is_silent_or_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps import watch

    monkeypatch.setattr(watch.ray._private.worker, "_global_node", None)
    seen = watch.Watch(Resources(1, 1).fit, asks=True)
    assert seen.gone() == ""
    seen.housed -= watch.HOMELESS_SECONDS + 1
    assert seen.gone() == "no node of the Ray cluster is left that a trial fits on"
    seen.answered -= watch.SILENT_SECONDS + 1
    assert "has not answered" in seen.gone()
    seen.asks = False
    assert seen.gone() == ""


# Locales, streams, names, homes


def test_any_text_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    environment.settle()
    print("0.93 ± 0.01 − \udce9")
    print("nobody reads this", file=sys.stderr)
    stream.flush()
    assert stream.buffer.getvalue() == rb"0.93 \xb1 0.01 \u2212 \udce9" + b"\n"  # type: ignore[attr-defined]


def test_a_user_without_name_and_home_gets_both(monkeypatch: pytest.MonkeyPatch) -> None:
    import getpass

    def nobody(uid: int) -> Any:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    environment.settle()
    assert getpass.getuser() == f"uid{os.getuid()}"
    home = Path.home()
    assert private.is_ours(home)
    environment._remove(str(home), os.getpid())
    assert not home.exists()


def test_the_programs_read_and_write_utf8_in_any_locale(tmp_path: Path) -> None:
    (folder := tmp_path / "données").mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    asked = ["rank_vs_quality", "--model", str(folder / "gone"), "--data", str(folder / "gone.jsonl"), "--dry-run"]
    for locale in ("POSIX", "C.UTF-8"):
        narrow = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
        done = subprocess.run([sys.executable, "sweeps/run.py", *asked], cwd=ROOT, env=plain | narrow, capture_output=True)
        assert done.returncode == 2, done.stderr
        assert "données".encode("latin-1") in done.stderr
    for program in ("sweeps/run.py", "analysis/report.py", "analysis/judge.py"):
        done = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, env=plain | narrow, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_cache_that_cannot_be_written_is_a_caution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "DIRECTORY", tmp_path / "a" / "b")
    assert remembered.trouble() == ""
    for unusable in (Path(os.devnull) / "counted", Path("/proc/no/such")):
        monkeypatch.setattr(remembered, "DIRECTORY", unusable)
        remembered.keep(["key"], {"value": 1})
        assert remembered.recall(["key"]) is None
        assert remembered.trouble().startswith(f"caution: no cache, as {unusable} can't")
