"""Writes finished trials to MLflow from one thread, beside the running sweep, and holds on to what the store refuses.

A store that is locked or away must not stop or slow a sweep: what could not be logged stays in the trials' folders, is tried
again, and the same command logs the rest later.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from core.errors import BadInput, one_line
from core.tracking import Stale, Store, TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Run

LAST_TRIES, PAUSE_SECONDS = 3, 2.0  # at the end, before what is left is reported


class Logbook:
    """`with Logbook(store, …) as book: book.put(record)`; afterwards `book.missing` holds what could not be logged."""

    def __init__(self, store: Store, params: Mapping[str, object], note: str, tags: Mapping[str, str] | None = None) -> None:
        self.store, self.params, self.note, self.tags = store, params, note, tags or {}
        self.incoming: queue.Queue[TrialRecord | None] = queue.Queue()
        self.missing: list[TrialRecord] = []
        self.logged: dict[str, Run] | None = None  # None: look again, a run may have been begun and not ended
        self.error: Exception | None = None  # of the last refusal
        self.closed: Exception | None = None  # why the store could not be opened at the start
        self.opened = threading.Event()  # tried to open
        self.superseded: Stale | None = None  # set when the sweep came to its end
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Logbook:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.incoming.put(None)
        self.thread.join()

    def put(self, record: TrialRecord) -> None:
        """Hands a finished trial over; returns at once."""
        self.incoming.put(record)

    def finish(self, superseded: Stale) -> None:
        """The sweep came to its end; logged trials for which `superseded` says so are marked."""
        self.superseded = superseded

    def reason(self) -> str:
        """Why the store refused, in one line."""
        return one_line(self.error) if self.error else "no error"

    def check(self) -> None:
        """Waits until the store was opened, before anything is started.

        Raises:
            BadInput: the store cannot be used.
        """
        self.opened.wait()
        if self.closed is not None:
            raise self.closed if isinstance(self.closed, BadInput) else BadInput(f"--tracking-uri: {one_line(self.closed)}")

    def _run(self) -> None:
        self.closed = None if self._flush() else self.error
        self.opened.set()
        while (record := self.incoming.get()) is not None:
            self.missing.append(record)
            self._flush()
        for _ in range(LAST_TRIES):
            if self._flush():
                break
            time.sleep(PAUSE_SECONDS)
        if self.store.parent_id:
            self._attempt(self._close)

    def _close(self) -> None:
        if self.superseded is not None:
            self.store.supersede(self.superseded)
        self.store.close("KILLED" if self.superseded is None else "FINISHED")

    def _flush(self) -> bool:
        """Writes what is missing, up to the first refusal; whether nothing is left."""
        if not self.store.parent_id and not self._attempt(lambda: self.store.open(self.params, self.note, self.tags)):
            return False
        self.error = None
        while self.missing:
            if not self._attempt(lambda: self._log(self.missing[0])):
                self.logged = None
                return False
            self.missing.pop(0)
        return True

    def _log(self, record: TrialRecord) -> None:
        if self.logged is None:
            self.logged = self.store.logged()
        self.store.log_trial(record, self.logged.get(record.key))

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Whether the store took it. MLflow raises errors of many kinds for a store that is locked or away: all wait."""
        try:
            action()
        except Exception as error:
            self.error = error
            return False
        return True
