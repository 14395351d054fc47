"""`--until-decided`: looks that are planned before the first seed, seeds for the arms of undecided claims, a record that is gone
on with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from driven import inspect

import experiments
from core.errors import BadInput
from core.looks import CLAIMS_FILE, WISHES, Wish, wishes_text
from sweeps import looks, reporting, run
from sweeps.looks import PlannedLooks
from sweeps.options import Options
from sweeps.plan import Plan
from sweeps.search import Search

NAME = "rank_vs_quality"
ASKED = Options(until_decided=True)


def plan_of(n_seeds: int = 4) -> Plan:
    experiment = experiments.load(NAME)
    return Plan.of(dataclasses.replace(experiment, seeds=tuple(range(n_seeds))), inspect)


@pytest.mark.parametrize(
    ("first", "most", "counts"),
    [(4, None, (4, 6, 8, 10, 12)), (4, 7, (4, 6, 7)), (3, None, (3, 5, 7, 9)), (8, 24, (8, 16, 24)), (2, 3, (2, 3))],
)
def test_looks_are_planned_before_the_first(first: int, most: int | None, counts: tuple[int, ...], tmp_path: Path) -> None:
    found = looks.of(plan_of(first), tmp_path, dataclasses.replace(ASKED, max_seeds=most))
    assert found == PlannedLooks(counts)


def test_only_arms_of_undecided_claims_get_seeds_and_none_beyond_the_maximum() -> None:
    plan, planned = plan_of(), PlannedLooks((4, 6, 8))
    one = planned.after(plan, [Wish("a", ("lora r=1", "lora r=16"))])
    assert one is not None
    assert {label for label, n in one.seeds.items() if n == 6} == {"lora r=1", "lora r=16"}
    extended = one.extended(plan)
    assert (extended.sweep, extended.n_final) == (plan.sweep, 5 * 4 + 2 * 2)
    assert [part.n_final for part in Search(extended, {}).parts] == [6, 4, 6, 4, 4]
    # a pair of which one arm has more already: the other catches up, and the first gets no more
    two = one.after(extended, [Wish("b", ("lora r=16", "full"))])
    assert two is not None
    assert (two.seeds["lora r=16"], two.seeds["full"]) == (6, 6)
    everywhere = planned.after(plan, [Wish("c")])
    assert everywhere is not None
    assert set(everywhere.seeds.values()) == {6}
    last = dataclasses.replace(planned, seeds=dict.fromkeys(everywhere.seeds, 8))
    assert last.after(last.extended(plan), [Wish("c")]) is None
    assert planned.after(plan, []) is None


def test_a_claim_about_an_arm_that_is_left_out_gets_no_seeds() -> None:
    experiment = dataclasses.replace(plan_of().experiment, without=("lora r=64", "full"))
    plan, planned = Plan.of(experiment, inspect), PlannedLooks((4, 6, 8))
    lost = [Wish("partly", ("lora r=16", "full")), Wish("wholly", ("lora r=64", "full"))]
    assert planned.after(plan, lost) is None
    skipped = "; skipped, as arms of theirs are left out: partly, wholly"
    assert planned.outcome(plan, None, lost) == f"no seeds are added: no claim is left that more seeds may decide{skipped}"
    assert planned.outcome(plan, None, []) == "no seeds are added: no claim is left that more seeds may decide"
    some = [*lost, Wish("whole", ("lora r=1", "lora r=4"))]
    further = planned.after(plan, some)
    assert further is not None
    assert further.seeds == {"lora r=1": 6, "lora r=4": 6, "lora r=16": 4}
    said = "undecided: whole; seeds are added in lora r=1 (6), lora r=4 (6)"
    assert planned.outcome(plan, further, some) == said + skipped


def test_the_record_is_gone_on_with_and_not_changed(tmp_path: Path) -> None:
    plan = plan_of()
    planned = PlannedLooks((4, 6, 8), {"full": 6})
    planned.keep(tmp_path)
    assert looks.of(plan, tmp_path, ASKED) == planned
    assert looks.of(plan, tmp_path, dataclasses.replace(ASKED, max_seeds=8)) == planned
    with pytest.raises(BadInput, match="looks were planned with 4 seeds at the first look and 8 at most"):
        looks.of(plan, tmp_path, dataclasses.replace(ASKED, max_seeds=12))
    with pytest.raises(BadInput, match="looks were planned"):
        looks.of(plan_of(5), tmp_path, dataclasses.replace(ASKED, seeds=5))
    for text in ("", "[]", json.dumps({"counts": [4, 3], "seeds": {}}), json.dumps({"counts": [4, 6], "seeds": 1})):
        (tmp_path / looks.FILE).write_text(text)
        with pytest.raises(BadInput, match=r"looks\.json: cannot be read"):
            looks.of(plan, tmp_path, ASKED)


@pytest.mark.parametrize(
    ("options", "n_seeds", "said"),
    [
        (Options(max_seeds=8), 4, "--max-seeds 8: goes with --until-decided"),
        (dataclasses.replace(ASKED, budget=60.0), 4, "give one of them"),
        (dataclasses.replace(ASKED, max_seeds=4), 4, "--max-seeds 4: must be more than the 4 seeds"),
        (dataclasses.replace(ASKED, max_seeds=101), 4, "at most 100"),
        (ASKED, 1, "give --seeds 3 or more"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options: Options, n_seeds: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        looks.of(plan_of(n_seeds), tmp_path, options)


def test_an_experiment_without_claims_has_nothing_to_decide(tmp_path: Path) -> None:
    plan = plan_of()
    for own in (dataclasses.replace(plan.experiment, claims=()), dataclasses.replace(plan.experiment, name="mine")):
        with pytest.raises(BadInput, match="no claims that could be decided"):
            looks.of(dataclasses.replace(plan, experiment=own), tmp_path, ASKED)


def test_the_analysis_tells_what_seeds_can_show_and_what_claims_say(tmp_path: Path) -> None:
    plan = plan_of()
    lines = reporting.power(plan, (4, 6, 8), tmp_path)
    assert lines[0].startswith("what 8 seeds on 8 bases can show (80 % power, 5 % over 3 claims; spread between seeds ")
    assert len(lines) == 1 + len(plan.experiment.claims)
    assert reporting.record(plan, (4,), tmp_path) == []
    kept = json.loads((tmp_path / CLAIMS_FILE).read_text())
    assert (list(kept["claims"]), kept["seeds"]) == ([claim.id for claim in plan.experiment.claims], [0, 1, 2, 3])
    assert reporting.record(plan, (8,), tmp_path) == []  # what was written before the first seed stays
    assert json.loads((tmp_path / CLAIMS_FILE).read_text()) == kept


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", [None, *range(6)])
def test_a_kill_at_any_step_ends_in_the_same_seeds(at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three looks, killed before the sweep or the report of each: the same command goes on, and no trial's seed comes twice."""
    had: dict[str, int] = {}  # an arm → the seeds that have run
    steps = iter(range(100))
    reports: list[dict[str, int]] = []

    class Made:
        def __init__(self, plan: Plan, *rest: object) -> None:
            self.plan = plan

        def opening(self, *rest: object) -> str:
            return ""

        def closing(self) -> list[str]:
            return []

        def run(self, *rest: object) -> bool:
            step()
            had.update({arm.label: self.plan.n_seeds(arm) for arm in self.plan.arms})
            return True

    def step() -> None:
        if next(steps) == at:
            raise Killed

    def report(plan: Plan, uri: str, directory: Path) -> bool:
        step()
        reports.append(dict(had))
        left = {
            4: [Wish("a", ("lora r=1", "lora r=16")), Wish("b", ("full", "lora r=16"))],
            6: [Wish("b", ("full", "lora r=16"))],
        }
        (directory / "report").mkdir(exist_ok=True)
        (directory / "report" / WISHES).write_text(wishes_text(left.get(had["full"], [])))
        return True

    monkeypatch.setattr(run, "Sweep", Made)
    monkeypatch.setattr(run, "report", report)
    monkeypatch.setattr(run, "record", lambda *asked: [])
    options = {"output": tmp_path / "runs", "until_decided": True}
    if at is not None:
        with pytest.raises(Killed):
            run.run_question(NAME, **options)
    assert run.run_question(NAME, **options).complete
    assert had == {"lora r=1": 6, "lora r=4": 4, "lora r=16": 8, "lora r=64": 4, "full": 8}
    distinct = [one for i, one in enumerate(reports) if one not in reports[:i]]
    assert [one["full"] for one in distinct] == [4, 6, 8]
