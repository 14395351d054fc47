"""What is measured beside a question's own measures stands in its report, base and arms side by side."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from simulated import question, truths

import experiments
from analysis import questions
from analysis.claims import choice
from analysis.reports import question as page


def test_other_tasks_are_in_the_report(tmp_path: Path) -> None:
    trials, items = question(truths("epochs"), seeds=2, n_items=40, tuned=False)
    seen = items[items["measure"] == "exact_match/seen"]
    own = {"written/tokens": (7.0, 5.0), "lm_eval:my task/acc": (0.25, 0.5), "kl/responses": (0.0, 0.125)}
    more = [seen.assign(measure=name, axis="other", before=was, after=now) for name, (was, now) in own.items()]
    some = seen[seen["fingerprint"] == seen["fingerprint"].iloc[0]].assign(measure="refused/harmless", axis="other")
    items = pd.concat([items, *more, some], ignore_index=True)
    made = page.report(questions.load("epochs"), experiments.load("epochs"), (trials, items), tmp_path)
    text = (tmp_path / "report.md").read_text()
    table = text.split("## What else was measured")[1].split("##")[0].strip().splitlines()
    header = [cell.strip() for cell in table[0].strip("|").split("|")]
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.strip("|").split("|")][1:] for line in table[2:]}
    assert header[0] == "measure"
    assert header[-1] == "untuned base"
    assert header[1:-1] == [arm.label for arm in made.tables.where({})]
    assert list(rows) == [
        "KL, right answers (nats/token)", "change of my task, acc (accuracy)", "length of answers (tokens)",
    ]  # fmt: skip
    assert rows["length of answers (tokens)"] == ["5.000"] * (len(header) - 2) + ["7.000"]
    assert rows["KL, right answers (nats/token)"][-1] == "–"


def test_seeds_on_one_base_are_no_further_bases_wherever_scores_stand() -> None:
    """The same scores as another measure, and as those of the untuned base, have quality's interval."""
    trials, items = question(truths("epochs"), seeds=6, n_items=60, tuned=False)
    trials = trials.assign(**{"model.name": "lab:base-" + (trials["seed"] % 3).astype(str)})
    seen = items[items["measure"] == "exact_match/seen"]
    base = items.merge(trials[["fingerprint", "model.name"]], on="fingerprint")["model.name"].str[-1].astype(float) / 4
    before = base.where(items["measure"] == "exact_match/seen", items["before"])
    other = seen.assign(measure="lm_eval:my task/acc", axis="other")
    t = questions.answer("epochs", trials, pd.concat([items.assign(before=before), other], ignore_index=True)).tables
    arm = t.arms[0]
    assert t.means[arm.label]["quality"].n_bases == 3
    assert t.beside["lm_eval:my task/acc"][arm.label] == t.means[arm.label]["quality"]
    untuned = t.untuned[0].means["quality"]  # three bases score 0, 0.25 and 0.5
    assert (untuned.value, untuned.high - untuned.value) == (pytest.approx(0.25), pytest.approx(4.303 * 0.25 / 3**0.5, rel=0.01))
    held_out = choice._panel(t, "exact_match/held_out", [arm])
    assert held_out is not None
    found = held_out.bases([arm], sorted(arm.final))
    assert found is not None
    assert list(found) == [0, 1, 2, 0, 1, 2]
