"""Signs of life of a trial, and what the display makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import signs
from core.signs import Sign
from sweeps import ledger, progress
from sweeps.progress import Progress


def test_a_sign_is_read_as_it_was_shown_until_it_is_cleared(tmp_path: Path) -> None:
    assert signs.read(tmp_path) is None
    sign = Sign("training", 45, 189, 1.2345, 130.0)
    signs.show(tmp_path, sign)
    assert signs.read(tmp_path) == sign
    assert [path.name for path in tmp_path.iterdir()] == [signs.FILE]  # whole, or not there
    (tmp_path / signs.FILE).write_text('{"doing": "tr')
    assert signs.read(tmp_path) is None
    signs.clear(tmp_path)
    assert not list(tmp_path.iterdir())
    signs.show(tmp_path / "not there", sign)  # nobody minds


def test_steps_are_shown_every_few_seconds_with_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(signs, "time", SimpleNamespace(monotonic=lambda: now[0]))
    steps = signs.Steps(tmp_path, 100)
    assert not steps.due()
    now[0] += signs.EVERY_SECONDS
    assert steps.due()
    now[0] = 120.0
    steps.at(20, 0.5)
    assert not steps.due()
    assert signs.read(tmp_path) == Sign("training", 20, 100, 0.5, left_seconds=80.0)


def test_the_display_tells_what_a_long_trial_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    job: Any = SimpleNamespace(key="k", name="lora r=4 seed 0", arm="lora r=4")
    search: Any = SimpleNamespace(known={}, done=list, n_planned=lambda: 4, parts=[])
    shown = Progress(search, 1, "made up", io.StringIO(), directory=tmp_path)
    shown.started(job)
    folder = ledger.trial_directory(tmp_path, "k")
    folder.mkdir(parents=True)
    signs.show(folder, Sign("training", 45, 189, 1.2345, 130.0))
    now[0] = 10.0
    assert shown.table()[-1] == "  running: lora r=4 seed 0 (0:10)"
    now[0] = 200.0
    assert shown.table()[-1] == "  running: lora r=4 seed 0 (3:20, step 45/189, loss 1.234, 2:10 left)"
    signs.show(folder, Sign("measuring"))
    assert shown.table()[-1] == "  running: lora r=4 seed 0 (3:20, measuring)"
    signs.clear(folder)
    assert shown.table()[-1] == "  running: lora r=4 seed 0 (3:20)"


def made_up(n_arms: int, n_tune: int) -> Any:
    parts = [
        SimpleNamespace(
            arm=SimpleNamespace(label=f"arm {i}"),
            n_tune=n_tune,
            n_again=0,
            n_final=2,
            jobs={},
            outcomes={},
            has_no_setting=lambda: False,
        )
        for i in range(n_arms)
    ]
    return SimpleNamespace(known={}, done=list, n_planned=lambda: n_arms * (n_tune + 2), parts=parts)


def test_a_table_has_no_more_lines_than_a_terminal(tmp_path: Path) -> None:
    shown = Progress(made_up(100, 3), 12, "made up", io.StringIO(), directory=tmp_path)
    for number in range(90, 100):
        shown.started(SimpleNamespace(key=f"k{number}", name=f"arm {number} seed 0", arm=f"arm {number}"))  # type: ignore[arg-type]
    lines = shown.table(23)
    assert len(lines) == 23
    assert lines[-1] == "  … and 4 more running"
    assert [line.split(":")[0] for line in lines[-7:-1]] == ["  running"] * 6
    assert lines[-8] == "  … and 87 more arms"
    assert {f"arm {number}" for number in range(90, 100)} <= {line.split("  ")[1] for line in lines[2:-8]}
    assert len(shown.table()) == 2 + 100 + 10


def test_a_sweep_that_tunes_nothing_has_no_columns_of_tuning() -> None:
    header = Progress(made_up(2, 0), 1, "made up", io.StringIO()).table()[1]
    assert header.split() == ["arm", "final", "mean", "quality", "(test)"]
    assert "best so far" in Progress(made_up(2, 3), 1, "made up", io.StringIO()).table()[1]


def test_before_the_first_trial_has_ended_the_running_ones_tell_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    shown = Progress(made_up(2, 0), 1, "made up", io.StringIO(), directory=tmp_path)
    shown.started(SimpleNamespace(key="k", name="arm 0 seed 0", arm="arm 0"))  # type: ignore[arg-type]
    folder = ledger.trial_directory(tmp_path, "k")
    folder.mkdir(parents=True)
    assert shown.eta_seconds() is None
    now[0] = 60.0
    signs.show(folder, Sign("training", 30, 100, 1.0, 140.0))
    assert shown.eta_seconds() == 4 * 200 - 60
