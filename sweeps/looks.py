"""`--until-decided`: seeds that are added where claims are undecided, at looks that were planned before the first.

The plan of looks (looks.json in the sweep's directory) is written before the first seed and never changed: how many seeds an
arm has at each look, and at most. After each look the report says which claims more seeds may decide and which arms these
compare (undecided.json beside it); these arms get the next number of seeds, which is written down before they run. So the
sweep goes on from wherever it was killed, and a report that comes again brings no new seeds and is no new look. The analysis
shares 5 % over the looks (analysis/stats/looks.py).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import experiments
from core.errors import BadInput, one_line
from core.looks import Wish, read_wishes
from core.result import write_whole
from sweeps import overrides, times
from sweeps.budget import DECIDING_SEEDS
from sweeps.options import Options
from sweeps.plan import Plan
from sweeps.progress import clock
from sweeps.resources import Resources

FILE = "looks.json"
OPTION, MOST = "--until-decided", "--max-seeds"
TIMES = 3  # as many seeds at most as are planned, unless it is said: two thirds of the first look's interval and better


@dataclass(frozen=True)
class PlannedLooks:
    """Seeds of an arm at each look, and those that arms have come to since the first (by their labels)."""

    counts: tuple[int, ...]
    seeds: Mapping[str, int] = field(default_factory=dict)

    def extended(self, plan: Plan) -> Plan:
        """The sweep's plan with as many seeds in each arm as it has come to."""
        each = {arm.label: self.seeds.get(arm.label, self.counts[0]) for arm in plan.arms}
        experiment = overrides.with_seeds(plan.experiment, max(each.values(), default=self.counts[0]))
        return dataclasses.replace(plan, experiment=experiment, seeds_of=each, most_seeds=self.counts[-1])

    def after(self, plan: Plan, wishes: Sequence[Wish]) -> PlannedLooks | None:
        """With the next number of seeds in the arms of undecided claims; None where no claim is undecided or the maximum is
        there. The arms of one claim get as many: those with fewer catch up first. A claim about an arm that is left out gets
        none."""
        known = {arm.label: self.seeds.get(arm.label, self.counts[0]) for arm in plan.arms}
        found = dict(known)
        for one in decidable(plan, wishes):
            arms = one.arms or tuple(known)
            least = min(known[label] for label in arms)
            target = next((n for n in self.counts if n > least), self.counts[-1])
            found |= {label: max(found[label], target) for label in arms}
        return dataclasses.replace(self, seeds=found) if found != known else None

    def next(self, plan: Plan, directory: Path) -> PlannedLooks | None:
        """After a report: the looks with the seeds that it asks for, written down; None where there is no further one."""
        wishes = read_wishes(directory / "report")
        further = self.after(plan, wishes)
        print(self.outcome(plan, further, wishes), flush=True)
        if further:
            further.keep(directory)
        return further

    def outcome(self, plan: Plan, further: PlannedLooks | None, wishes: Sequence[Wish]) -> str:
        """What is said after a look."""
        asked = decidable(plan, wishes)
        names, skipped = (", ".join(one.claim for one in wishes if (one in asked) is there) for there in (True, False))
        rest = f"; skipped, as arms of theirs are left out: {skipped}" if skipped else ""
        if not asked:
            return f"no seeds are added: no claim is left that more seeds may decide{rest}"
        if further is None:
            return f"undecided with the {self.counts[-1]} seeds that there may be: {names}{rest}"
        more = [f"{label} ({n})" for label, n in further.seeds.items() if n > self.seeds.get(label, self.counts[0])]
        return f"undecided: {names}; seeds are added in {', '.join(more)}{rest}"

    def keep(self, directory: Path) -> None:
        """Writes it into the sweep's directory."""
        row = {"counts": list(self.counts), "seeds": dict(self.seeds)}
        write_whole(directory / FILE, json.dumps(row, indent=1, ensure_ascii=False).encode())

    def told(self, plan: Plan, share: Resources) -> list[str]:
        """Looks and the worst case, before the start."""
        most = dict.fromkeys((arm.label for arm in plan.arms), self.counts[-1])
        worst = dataclasses.replace(self, seeds=most).extended(plan)
        seconds = times.total(worst, share, times.rows(worst, share))
        last = f" at {', '.join(map(str, self.counts[:-1]))} and at most {self.counts[-1]} seeds"
        text = f"until decided: looks{last}; all together decide wrongly in 5 %"
        return [f"{text}; at most {worst.n_final} final trials, about {clock(seconds)} if no claim is decided before"]


def decidable(plan: Plan, wishes: Sequence[Wish]) -> list[Wish]:
    """The wishes whose arms are all run: no seeds decide a claim about an arm that is left out."""
    known = {arm.label for arm in plan.arms}
    return [one for one in wishes if known.issuperset(one.arms)]


def of(plan: Plan, directory: Path, options: Options) -> PlannedLooks | None:
    """The looks that are asked for: those of the sweep's record, or new ones; None without --until-decided.

    Raises:
        BadInput: they do not fit the question or the record, or the record is damaged.
    """
    first, most = len(plan.experiment.seeds), options.max_seeds
    if not options.until_decided:
        if most is not None:
            raise BadInput(f"{MOST} {most}: goes with {OPTION}; --seeds N gives every arm N seeds", field=MOST)
        return None
    if options.budget is not None:
        text = (
            f"adds seeds until claims are decided, and --budget fits all into a time: give one of them; {MOST} N limits the time"
        )
        raise BadInput(f"{OPTION}: {text}", field=OPTION)
    if plan.experiment.name not in experiments.names() or not plan.experiment.claims:
        raise BadInput(f"{OPTION}: {plan.experiment.name} has no claims that could be decided; leave it out", field=OPTION)
    if first < DECIDING_SEEDS:
        raise BadInput(f"{OPTION}: no claim can be decided at a first look at {first} seed; give --seeds 3 or more", field=OPTION)
    known = _read(directory / FILE)
    if known is None:
        return PlannedLooks(_counts(first, TIMES * first if most is None else most, plan.n_variants))
    if most not in (None, known.counts[-1]) or (options.seeds is not None and first != known.counts[0]):
        shown = f"{known.counts[0]} seeds at the first look and {known.counts[-1]} at most"
        text = f"this sweep's looks were planned with {shown}, and a plan is not changed after a look"
        raise BadInput(f"{OPTION}: {text}; leave out {MOST} and --seeds, or start anew with --output DIR", field=OPTION)
    return known


def _counts(first: int, most: int, cycle: int) -> tuple[int, ...]:
    """Seeds at each look: half as many more each time, in whole cycles of what changes with the seed where that fits."""
    if not first < most <= overrides.MAX_SEEDS:
        text = f"must be more than the {first} seeds of the first look, and at most {overrides.MAX_SEEDS}"
        raise BadInput(f"{MOST} {most}: {text}", field=MOST)
    step = math.ceil(first / 2)
    step = cycle * math.ceil(step / cycle) if cycle * math.ceil(step / cycle) <= first else step
    return (*range(first, most, step), most)


def _read(path: Path) -> PlannedLooks | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        counts = tuple(map(int, row["counts"]))
        if list(counts) != sorted(set(counts)) or len(counts) < 2:
            raise ValueError(f"counts={counts}")
        return PlannedLooks(counts, {str(label): int(n) for label, n in row["seeds"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        text = "bring it back: the looks that were taken were planned in it"
        raise BadInput(f"{path}: cannot be read ({one_line(error)}); {text}", field=OPTION) from None
