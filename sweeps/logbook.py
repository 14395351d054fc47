"""Writes finished trials to MLflow from one thread, beside the running sweep, and holds on to what the store refuses. Of trials
that run for long the curve so far goes there every few seconds; it is on show only, and the result has all of it.

A store that is locked or away must not stop or slow a sweep: what could not be logged waits here and lies in the trials'
folders; it is tried again at growing intervals, and the same command logs the rest later.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from core import signs
from core.errors import BadInput, one_line
from core.result import Result
from core.tracking import Stale, Store, TrialRecord, unusable

LAST_TRIES, PAUSE_SECONDS = 3, 2.0  # at the end, before what is left is reported; and before anything runs
REST_SECONDS = (1.0, 60.0)  # before a store that refused is tried again: at first, and at most; doubled each time
LIVE_AFTER_SECONDS, LIVE_SECONDS = 30.0, 10.0  # of a trial before its curve is shown, and between two looks at it
LIVE_SHARE = 10  # looking takes at most one part in so many of this thread's time
REFUSALS = 2  # in a row: not the trial's fault, but the store's


class Logbook:
    """`with Logbook(store, …) as book: book.put(record)`; afterwards `book.missing` holds what could not be logged."""

    def __init__(self, store: Store, params: Mapping[str, object], note: str, tags: Mapping[str, str] | None = None) -> None:
        self.store, self.params, self.note, self.tags = store, params, note, tags or {}
        self.watched: dict[str, tuple[TrialRecord, Result, float]] = {}  # running trials, and since when
        self.look_at = 0.0  # when curves are looked at next
        self.incoming: queue.Queue[TrialRecord | None] = queue.Queue()
        self.records: dict[str, TrialRecord] = {}  # all of them
        self.missing: list[TrialRecord] = []
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

    def watch(self, record: TrialRecord, begun: Result) -> None:
        """A trial was started; if it runs for long its curve is shown."""
        self.watched[record.key] = (record, begun, time.monotonic())

    def put(self, record: TrialRecord) -> None:
        """Hands a finished trial over; returns at once."""
        self.watched.pop(record.key, None)
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
            raise unusable(self.store.uri, self.closed)

    def _run(self) -> None:
        self._patiently(self._open)
        self.closed = None if self.store.parent_id else self.error
        self.opened.set()
        rest, tried = REST_SECONDS[0], 0.0
        while self._drain(wait_seconds=tried + rest - time.monotonic() if self.missing else LIVE_SECONDS):
            if self.missing and time.monotonic() >= tried + rest:
                refused = not self._flush()
                rest = min(2 * rest, REST_SECONDS[1]) if refused else REST_SECONDS[0]
                tried = time.monotonic() if refused else 0.0
            if not self.missing and time.monotonic() >= self.look_at:
                self._look()
        self._patiently(self._end)

    def _look(self) -> None:
        """Shows how far the curves of long trials have got. A store that does not take it loses nothing: it is asked later."""
        began, rest = time.monotonic(), LIVE_SECONDS
        for record, begun, since in list(self.watched.values()):
            if began - since >= LIVE_AFTER_SECONDS and self.store.parent_id and (points := signs.curve(record.folder)):
                try:
                    self.store.log_live(record, replace(begun, seconds=began - since), points)
                except Exception:  # MLflow raises errors of many kinds
                    rest = REST_SECONDS[1]
                    break
        took = time.monotonic() - began
        self.look_at = began + took + max(rest, LIVE_SHARE * took)

    def _drain(self, wait_seconds: float) -> bool:
        """Takes what was handed over, waiting for the first; whether more can come."""
        try:
            record = self.incoming.get(timeout=max(wait_seconds, 0.0))
            while record is not None:
                if record.key not in self.records:
                    self.records[record.key] = record
                    self.missing.append(record)
                record = self.incoming.get_nowait()
        except queue.Empty:
            return True
        return False

    def _patiently(self, action: Callable[[], bool]) -> None:
        """Tries a few times: a store may be busy for a moment. At the start, what has to be mended is told at once."""
        for number in range(LAST_TRIES):
            if number:
                time.sleep(PAUSE_SECONDS)
            if action() or (isinstance(self.error, BadInput) and not self.opened.is_set()):
                return

    def _end(self) -> bool:
        """Logs the rest, looks whether everything is still there (people delete runs, and another process may run the same
        sweep), and ends the parent run; whether all of it could be done."""
        if not self._open():
            return False
        self.missing = [record for record in self.records.values() if not self.store.holds(record)]
        return self._flush() and self._attempt(self._close)

    def _close(self) -> None:
        if self.superseded is not None:
            self.store.supersede(self.superseded)
        self.store.close("KILLED" if self.superseded is None else "FINISHED")

    def _open(self) -> bool:
        return self._attempt(lambda: self.store.open(self.params, self.note, self.tags))

    def _flush(self) -> bool:
        """Writes what is missing; whether nothing is left. A trial that can't be written does not hold up the others."""
        if not self.store.parent_id and not self._open():
            return False
        refused, in_a_row, n_tried = list[TrialRecord](), 0, 0
        error: Exception | None = None
        while n_tried < len(self.missing) and in_a_row < REFUSALS:
            record = self.missing[n_tried]
            n_tried += 1
            if self._attempt(partial(self.store.log_trial, record)):
                in_a_row = 0
            else:
                refused.append(record)
                error, in_a_row = self.error, in_a_row + 1
        self.missing = self.missing[n_tried:] + refused  # those that were refused are tried last
        if refused:
            self.store.parent_id = ""  # look again: a run may have been begun and not ended, or the parent deleted
        self.error = error
        return not self.missing

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Whether the store took it. MLflow raises errors of many kinds for a store that is locked or away: all wait."""
        try:
            action()
        except Exception as error:
            self.error = error
            return False
        return True
