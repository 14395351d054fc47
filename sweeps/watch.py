"""A watch over Ray's own processes: a sweep whose Ray has died would wait for ever, and a line is said and it ends instead.

Ray Tune waits without a limit for answers that a dead raylet or GCS can't give (2.60, measured: no end after a minute). Here a
thread looks every few seconds. It interrupts the main thread, and where that hangs inside Ray it ends the process itself: what
is finished is on disk by then.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from core.errors import EXIT_INCOMPLETE, GOES_ON, Lost

LOOK_SECONDS = 2.0  # between two looks
SILENT_SECONDS = 40.0  # without an answer of the GCS: gone. Ray itself ends the process after 60, without a word
HOMELESS_SECONDS = 45.0  # without any node that could hold a trial
STOPPED_LOOKS = 10  # in a row that a process is seen stopped (SIGSTOP): it answers as little as a dead one
GRACE_SECONDS = 10.0  # for the main thread to leave Ray


class Watch:
    """What is known of the cluster's life; `reason` says why it is lost. `asks`: whether its head is asked, too; of a Ray of our
    own the processes tell, and a question to a GCS that has died ends the whole process after a minute (2.60, measured)."""

    def __init__(self, fits: Callable[[dict[str, float]], bool], asks: bool) -> None:
        self.fits, self.asks, self.reason = fits, asks, ""
        self.answered = self.housed = time.monotonic()
        self.nodes: list[dict[str, Any]] = []
        self.stopped: dict[int, int] = {}  # process id → in how many looks it was
        self.ended = threading.Event()

    def gone(self) -> str:
        """Why the sweep can't go on; "" while it can."""
        node: Any = ray._private.worker._global_node
        dead = [kind for kind, _ in node.dead_processes() if kind in ("raylet", "gcs_server")] if node else []
        if dead:
            return f"Ray's {dead[0]} died"
        if stopped := self._stopped(node):
            return f"Ray's {stopped} is stopped (SIGSTOP) and did not go on within {STOPPED_LOOKS * LOOK_SECONDS:.0f} s"
        if not self.asks:
            return ""
        now = time.monotonic()
        if now - self.answered > SILENT_SECONDS:
            return f"the Ray cluster has not answered for {SILENT_SECONDS:.0f} s"
        mine = node.node_id if node else ""
        if any(found["NodeID"] == mine and not found["Alive"] for found in self.nodes):
            return "this machine's Ray node died"
        if now - self.housed > HOMELESS_SECONDS:
            return "no node of the Ray cluster is left that a trial fits on"
        return ""

    def _stopped(self, node: Any) -> str:
        """Which of Ray's processes has been stopped for long, "" if none. A worker that has been is ended, so that its trial
        runs again."""
        own = {one.process.pid: kind for kind, several in node.all_processes.items() for one in several} if node else {}
        workers = [child for pid, kind in own.items() if kind == "raylet" for child in _children(pid)]
        self.stopped = {pid: self.stopped.get(pid, 0) + 1 for pid in (*own, *workers) if _is_stopped(pid)}
        long = [pid for pid, looks in self.stopped.items() if looks > STOPPED_LOOKS]
        for pid in long:
            if pid not in own:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        return next((own[pid] for pid in long if own.get(pid) in ("raylet", "gcs_server")), "")

    def ask(self) -> None:
        """Asks for the nodes again and again, in a thread of its own: a dead GCS does not answer."""
        while not self.ended.wait(LOOK_SECONDS):
            with suppress(Exception):
                self.nodes = ray.nodes()
                self.answered = time.monotonic()
                if any(found["Alive"] and self.fits(found["Resources"]) for found in self.nodes):
                    self.housed = self.answered

    def look(self) -> None:
        while not self.ended.wait(LOOK_SECONDS):
            self.reason = self.gone()
            if self.reason:
                _kill_own_processes()  # else the workers train on, and `ray.shutdown` waits for the dead
                _thread.interrupt_main()
                if not self.ended.wait(GRACE_SECONDS):
                    _end(self.reason)
                return


def _is_stopped(pid: int) -> bool:
    with suppress(OSError):  # it is gone, or this is no Linux
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "T"
    return False


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


@contextmanager
def watching(fits: Callable[[dict[str, float]], bool], joined: bool) -> Iterator[None]:
    """Watches the cluster that this process has started or `joined`. `fits` says whether a node's resources hold a trial.

    Raises:
        Lost: the cluster died.
    """
    watch = Watch(fits, asks=joined)
    for task in (watch.look, watch.ask) if joined else (watch.look,):
        threading.Thread(target=task, daemon=True).start()
    try:
        yield
    except BaseException as error:
        if watch.reason:
            raise Lost(watch.reason) from (None if isinstance(error, KeyboardInterrupt) else error)
        raise
    finally:
        watch.ended.set()


def _kill_own_processes() -> None:
    """Ends what this process started of Ray; nothing on a cluster that was joined."""
    node: Any = ray._private.worker._global_node
    if node:
        with suppress(Exception):
            node.kill_all_processes(check_alive=False, allow_graceful=False)


def _end(reason: str) -> None:
    """Ends this process at once, with its line."""
    with suppress(Exception):
        print(f"error: {reason}; {GOES_ON}", file=sys.stderr, flush=True)
    os._exit(EXIT_INCOMPLETE)
