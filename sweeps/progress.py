"""What a person sees while a sweep runs: a table that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from core import signs
from core.fields import flatten
from core.states import Phase
from sweeps import ledger
from sweeps.ledger import Outcome
from sweeps.parts import Part
from sweeps.plan import Job
from sweeps.recipes import as_text
from sweeps.search import Search

REDRAW_SECONDS = 1.0
SIGN_SECONDS = 30.0  # a trial that runs longer shows what it does
HEARTBEAT_SECONDS = 60.0  # without a terminal: a line at least this often, so that a log shows that the sweep lives


def clock(seconds: float) -> str:
    """ "0:42", "12:05", "3:20:00"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def setting(part: Part, job: Job) -> str:
    """The tuned values of a job: "learning_rate=0.0055"."""
    values = flatten(job.trial)
    return as_text({name: values[name] for name in part.fields})


def silence(stream: TextIO) -> None:
    """The stream's reader left (`| head`): what is still written, also by child processes and at exit, goes nowhere."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _some(lines: list[str], most: int, what: str) -> list[str]:
    """So many of the lines, the last of which says how many more there are."""
    return lines if len(lines) <= most else [*lines[: most - 1], f"  … and {len(lines) - most + 1} more {what}"]


class Progress:
    """Counts and shows trials. Ray's thread calls `started` and `ended`; a thread of its own keeps the display alive."""

    def __init__(
        self, search: Search, slots: int, title: str, stream: TextIO = sys.stdout, directory: Path | None = None
    ) -> None:
        self.search, self.slots, self.title, self.stream = search, slots, title, stream
        self.directory = directory  # of the sweep, where its trials show signs of life
        self.live = stream.isatty()
        self.running: dict[str, tuple[Job, float]] = {}
        self.seconds = [found.seconds for found in search.known.values() if not found.failed]
        done = search.done()
        self.done, self.failed = len(done), sum(outcome.failed for _, outcome in done)
        self.drawn_lines, self.began, self.last_line = 0, time.monotonic(), time.monotonic()
        self.lock, self.stop = threading.RLock(), threading.Event()

    def __enter__(self) -> Progress:
        self.thread = threading.Thread(target=self._tick, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()
        with self.lock:
            self.running.clear()
            if self.live:
                self._draw()

    def started(self, job: Job) -> None:
        with self.lock:
            self.running[job.key] = (job, time.monotonic())

    def ended(self, job: Job, outcome: Outcome) -> None:
        with self.lock:
            self.running.pop(job.key, None)
            self.done += 1
            self.failed += outcome.failed
            if not outcome.failed:
                self.seconds.append(outcome.seconds)
            if not self.live:
                self._line(self._ended_line(job, outcome))

    def again(self, job: Job, reason: str) -> None:
        """A trial was lost and waits to run again."""
        with self.lock:
            self.running.pop(job.key, None)
            if not self.live:
                self._line(f"{job.name}: {reason}")

    def eta_seconds(self) -> float | None:
        """Remaining trials at the mean time of the finished ones, shared out over the slots. Before the first: at the time that
        the running ones will have taken when their training ends; None where they do not say."""
        now = time.monotonic()
        seconds = self.seconds or [
            now - since + sign.left_seconds
            for job, since in self.running.values()
            if (sign := self._sign(job, now - since)) and sign.left_seconds is not None
        ]
        if not seconds:
            return None
        mean, remaining = sum(seconds) / len(seconds), self._remaining()
        spent = sum(min(now - since, mean) for _, since in self.running.values())
        return max(remaining * mean - spent, 0.0) / max(min(self.slots, remaining), 1)

    def _remaining(self) -> int:
        return max(self.search.n_planned() - self._n_without_setting() - self.done, 0)

    def _n_without_setting(self) -> int:
        """Final trials that will never run, because no setting of their arm worked."""
        return sum(part.n_final for part in self.search.parts if part.has_no_setting())

    def _ended_line(self, job: Job, outcome: Outcome) -> str:
        part = next(part for part in self.search.parts if part.arm.label == job.arm)
        if outcome.failed:
            result = f"{outcome.state}: {outcome.reason}"
        else:
            result = f"quality {outcome.quality:.4f} ({job.trial.evaluation.split})  {outcome.seconds:.1f} s"
        return f"[{self.done:>3}/{self.search.n_planned()}] {job.name:<20} {setting(part, job):<24} {result}  ETA {self._eta()}"

    def _eta(self) -> str:
        seconds = self.eta_seconds()
        return "…" if seconds is None else clock(seconds)

    def _line(self, text: str) -> None:
        self._write(text + "\n")
        self.last_line = time.monotonic()

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:  # the sweep goes on
            silence(self.stream)

    def _tick(self) -> None:
        while not self.stop.wait(REDRAW_SECONDS):
            with self.lock:
                if self.live:
                    self._draw()
                elif time.monotonic() - self.last_line > HEARTBEAT_SECONDS and self.running:
                    names = ", ".join(self._now(job, since) for job, since in self._by_age())
                    self._line(f"[{self.done:>3}/{self.search.n_planned()}] running: {names}  ETA {self._eta()}")

    def _by_age(self) -> list[tuple[Job, float]]:
        return sorted(self.running.values(), key=lambda entry: entry[1])

    def _now(self, job: Job, since: float) -> str:
        """ "lora r=4 seed 0 (3:20)"; of a trial that runs for longer also what it does: "step 45/189, loss 1.234, 2:10 left"."""
        spent = time.monotonic() - since
        sign = self._sign(job, spent)
        if sign is None:
            return f"{job.name} ({clock(spent)})"
        left = f", {clock(sign.left_seconds)} left" if sign.left_seconds is not None else ""
        return f"{job.name} ({clock(spent)}, {sign}{left})"

    def _sign(self, job: Job, spent: float) -> signs.Sign | None:
        """What a trial does that runs for longer."""
        if not self.directory or spent < SIGN_SECONDS:
            return None
        return signs.read(ledger.trial_directory(self.directory, job.key))

    def _draw(self) -> None:
        """Writes the table over the one drawn before, each line cut to the terminal's width."""
        size = shutil.get_terminal_size((100, 24))
        most = size.columns - 1
        lines = [line if len(line) <= most else line[: most - 1] + "…" for line in self.table(size.lines - 1)]
        up = f"\x1b[{self.drawn_lines}F\x1b[J" if self.drawn_lines else ""
        self._write(up + "".join(line + "\n" for line in lines))
        self.drawn_lines = len(lines)

    def table(self, most: int = 10**9) -> list[str]:
        """The display, of at most so many lines: one of counts, one an arm, one a running trial. What has scrolled off a terminal
        can't be drawn over: where there is no room, the arms that run stay, then those with most trials to come."""
        elapsed = clock(time.monotonic() - self.began)
        counts = f"{self.done}/{self.search.n_planned()} trials · {len(self.running)} running · {self.failed} failed"
        running = _some([f"  running: {self._now(job, since)}" for job, since in self._by_age()], max(most // 3, 1), "running")
        shown = self._shown(max(most - 3 - len(running), 1))
        rows = [("arm", "tuning", "best so far (validation)", "final", "mean quality (test)")]
        rows += [self._part_row(part) for part in shown]
        columns = [i for i in range(len(rows[0])) if i not in (1, 2) or any(part.n_tune for part in self.search.parts)]
        widths = [max(len(row[i]) for row in rows) for i in columns]
        lines = [f"{self.title}   {counts} · elapsed {elapsed} · ETA {self._eta()}"]
        lines += [
            "  " + "  ".join(row[i].ljust(width) for i, width in zip(columns, widths, strict=True)).rstrip() for row in rows
        ]
        if left_out := len(self.search.parts) - len(shown):
            lines.append(f"  … and {left_out} more arms")
        return [*lines, *running]

    def _shown(self, room: int) -> list[Part]:
        """The arms that are shown, in their order."""
        parts = list(self.search.parts)
        if len(parts) <= room:
            return parts
        running = {job.arm for job, _ in self.running.values()}
        to_come = {part.arm.label: part.n_tune + part.n_again + part.n_final - len(part.outcomes) for part in parts}
        first = sorted(parts, key=lambda part: (part.arm.label not in running, -to_come[part.arm.label]))[:room]
        kept = {part.arm.label for part in first}
        return [part for part in parts if part.arm.label in kept]

    def _part_row(self, part: Part) -> tuple[str, str, str, str, str]:
        found = [(job, part.outcomes[job.key]) for job in list(part.jobs.values()) if job.key in part.outcomes]
        tuned = [(job, outcome) for job, outcome in found if job.phase is Phase.TUNE]
        final = [outcome for job, outcome in found if job.phase is Phase.FINAL]
        scored = [(outcome.quality, job) for job, outcome in tuned if not outcome.failed and outcome.quality is not None]
        best = ""
        if scored:
            quality, job = max(scored, key=lambda entry: entry[0])
            best = f"{quality:.4f} at {setting(part, job)}"
        means = [outcome.quality for outcome in final if not outcome.failed and outcome.quality is not None]
        mean = f"{sum(means) / len(means):.4f}" if means else ""
        return (part.arm.label, f"{len(tuned)}/{part.n_tune}", best, f"{len(final)}/{part.n_final}", mean)
