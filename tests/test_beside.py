"""What is measured beside a question's own measures stands in its report, base and arms side by side."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from simulated import question, truths

import experiments
from analysis import questions
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
