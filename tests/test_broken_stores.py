"""Reports over stores that are damaged or of another version, and into places that fail: one line, and no half report."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_tracking import TRIAL, finished, log, uri

from analysis import report
from core import tracking
from core.result import whole_folder

__all__ = ["uri"]  # a fixture
ID = "a" * 16


@pytest.fixture
def stored(uri: str, tmp_path: Path) -> Path:
    """A store with a sweep of one trial."""
    store = tracking.Store(uri, "rank_vs_quality", ID)
    store.open({}, "")
    log(store, finished(tmp_path, TRIAL))
    store.close("FINISHED")
    return Path(uri.removeprefix("sqlite:///"))


def changed(sql: str) -> Callable[[sqlite3.Connection], object]:
    of_trials = "run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'tunelab.kind' AND value = 'trial')"
    return lambda database: database.execute(f"{sql} AND {of_trials}")


def without_tag(name: str) -> Callable[[sqlite3.Connection], object]:
    return changed(f"DELETE FROM tags WHERE key = 'tunelab.{name}'")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_tag("key"), "it lacks the tag tunelab.key"),
        (without_tag("arm"), "it lacks the tag tunelab.arm"),
        (without_tag("phase"), "it lacks the tag tunelab.phase"),
        (without_tag("fingerprint"), "it lacks the tag tunelab.fingerprint"),
        (changed("UPDATE tags SET value = 'tired' WHERE key = 'tunelab.state'"), "state is 'tired'"),
        (changed("UPDATE params SET value = 'three' WHERE key = 'seed'"), "seed='three' is no int"),
        (changed("DELETE FROM params WHERE key = 'seed'"), "seed is None"),
        (changed("DELETE FROM latest_metrics WHERE key = 'quality'"), "quality is None"),
        (changed("UPDATE latest_metrics SET is_nan = 1 WHERE key = 'quality'"), "quality is nan"),
    ],
)
def test_a_run_that_is_no_trial_of_this_version_is_named(
    stored: Path, tmp_path: Path, change: Callable[[sqlite3.Connection], object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(stored)) as database:
        change(database)
        database.commit()
    assert report.main(["rank_vs_quality", "--tracking-uri", f"sqlite:///{stored}", "--report", str(tmp_path / "report")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "delete this run, and the sweep's command logs it anew" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "report").exists()


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "report") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(OSError, match="full"), whole_folder(tmp_path / "deep" / "report") as folder:  # noqa: PT012
        (folder / "a").write_text("new")
        raise OSError(28, "full")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report"]
    assert (tmp_path / "deep" / "report" / "a").read_text() == "old"


@pytest.mark.parametrize("number", [28, 21, 27, 13, 30])
def test_a_disk_that_fails_meanwhile_is_one_line(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(number, "no", str(tmp_path))

    monkeypatch.setattr(report, "one", fail)
    assert report.main(["rank_vs_quality", "--output", str(tmp_path)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
