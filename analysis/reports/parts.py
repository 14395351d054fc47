"""Parts of a report that every question has: what keeps a comparison from deciding, failures, provenance."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import formatting
from analysis.claims import comparable
from analysis.claims.tables import Tables
from analysis.claims.untuned import Untuned
from analysis.claims.verdicts import Verdict, as_text
from analysis.escaping import escaped, printable
from analysis.load import field_types
from analysis.stats.estimate import Estimate, Over
from core.adapters import METHODS
from core.experiment import FEW_ITEMS
from core.measures import measure
from core.states import FAILED, TUNING, Phase, State

SMOKE = "Smoke run, too small to judge"
LEDGER_NOTE = (
    "MDE: how far beyond the limit in its rule a true effect must lie for a repetition to decide with 80 % power, at the "
    "first step of Holm. p: two-sided, Holm over the claims tested.\n"
)


def rate(row: pd.Series) -> str:
    """An arm's learning rate as its tables show it."""
    if pd.isna(row["learning_rate"]):
        return formatting.NONE
    end = " (edge)" if row["at_edge"] else " (end, flat)" if row["flat_to_the_end"] else ""
    return formatting.rate_text(row["learning_rate"]) + end


def untuned_row(base: Untuned, shown: Sequence[str]) -> list[str]:
    """The row of an untuned base in the table of arms: levels with their intervals; of changes nothing."""
    means = [base.means.get(name) for name in shown]
    return [base.label, formatting.NONE, *map(_shown, means), str(len(base.final)), formatting.NONE]


def beside(t: Tables[Any]) -> list[str]:
    """The section on what else was measured, a row a measure; nothing where nothing was."""
    if not t.beside:
        return []
    labels = [arm.label for arm in t.where({})] + [base.label for base in t.untuned]
    header = ["measure", *labels]
    body = [
        [f"{measure(name).heading} ({measure(name).unit})", *(_shown(means.get(label)) for label in labels)]
        for name, means in t.beside.items()
    ]
    return ["## What else was measured\n", formatting.markdown(header, body)]


def _shown(e: Estimate | None) -> str:
    return formatting.estimate(e) if e is None or e.known else formatting.value(e)


def failed(row: pd.Series) -> str:
    """How many of an arm's trials failed."""
    n = int(row["final_failed"] + row["tune_failed"])
    return f"{n} of {n + int(row['seeds']) + int(row['tuned']) + int(row['at_other_rates'])}"


def held_equal(final: pd.DataFrame) -> str:
    """Every field that is the same in all final trials; an adapter's own fields, which others lack, in those of
    the methods that have them, which are named."""
    there = set(final["adapter.method"])
    found: dict[tuple[str, ...], list[str]] = {}  # the methods that have a field (none: all that are there) → fields
    for name in sorted(set(field_types()) & set(final.columns)):
        having = tuple(sorted(there & set(comparable.methods_with(name))))
        values = final.loc[final["adapter.method"].isin(having), name].drop_duplicates()
        if len(values) == 1 and not pd.isna(values.iloc[0]):
            found.setdefault(() if set(having) == there else having, []).append(f"{name} = {_plain(values.iloc[0])}")
    everywhere = ", ".join(found.pop((), []))
    return formatting.joined(everywhere, *(f"in the arms of {_labels(names)}: {', '.join(own)}" for names, own in found.items()))


def _labels(methods: Sequence[str]) -> str:
    return " and ".join(METHODS[name].label for name in methods)


def _plain(value: object) -> object:
    """Whole numbers without a point, as a column with gaps makes floats of them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def speak_for(t: Tables[Any], final: pd.DataFrame) -> str:
    """For whom the intervals of a report speak."""
    names = sorted(escaped(str(name)) for name in final["model.name"].unique())
    over = {one.over for means in t.means.values() for one in means.values() if one.known}
    if Over.NEW_BASES in over:
        n_bases = final.groupby("arm", sort=False)["model.name"].nunique()
        alone = ", ".join(escaped(str(label)) for label in n_bases.index[n_bases == 1])
        also = f" (of {alone} for new seeds on the one base that there is)" if alone else ""
        return f"for new bases like the {len(names)} that were drawn, new seeds and new items{also}"
    if Over.THESE_BASES in over:
        return f"for these two bases ({' and '.join(names)}), new seeds and new items on them, and not for new bases"
    return f"for new seeds and new items on {', '.join(names)}"


def failures(trials: pd.DataFrame) -> str:
    """Every trial that did not finish, or one line that says there was none."""
    unfinished = trials[trials["state"].isin(FAILED)]
    counts = trials["state"].value_counts()
    summary = f"{len(trials)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items()) + ".\n"
    if unfinished.empty:
        return summary
    shown = unfinished.assign(rate=unfinished["train.learning_rate"].map(formatting.rate_text))
    rows = shown[["arm", "phase", "seed", "rate", "state", "reason"]].astype(str).to_numpy().tolist()
    return summary + "\n" + formatting.markdown(["arm", "phase", "seed", "learning rate", "state", "reason"], rows)


def provenance(trials: pd.DataFrame) -> str:
    """What it cost, commit, input hashes and run ids."""
    done = trials[trials["state"] == State.FINISHED]
    names = [n for n in ("sweep", "git_commit", "data", "model", "eval_data", "base_text") if n in done]
    lines = [f"- cost: {escaped(cost(trials))}"]
    lines += [escaped(f"- {n}: {', '.join(sorted({str(v) for v in done[n].dropna()}))}") for n in names]
    lines += [
        f"- {escaped(label)}: {', '.join(map(str, rows['run_id']))}"
        for label, rows in done[done["phase"] == Phase.FINAL].groupby("arm")
    ]
    return "\n".join(lines) + "\n"


def origin(trials: pd.DataFrame) -> str:
    """Of which commit the trials are, and what they cost."""
    commits = ", ".join(sorted({str(one)[:10] for one in trials["git_commit"].dropna()})) if "git_commit" in trials else ""
    return formatting.joined(f"commit {commits}" if commits else "", cost(trials))


def cost(trials: pd.DataFrame) -> str:
    """How many trials and how much of their time, on what."""
    seconds = trials["seconds"].astype(float).sum() if "seconds" in trials else float("nan")
    machine = ", ".join(sorted({str(one) for one in trials["device"].dropna()})) if "device" in trials else ""
    return formatting.joined(f"{len(trials)} trials", f"{seconds / 3600:.2f} hours of trials, added up", machine)


def about(trials: pd.DataFrame) -> str:
    """Which sweep this is, of which models and data, with how many final seeds."""
    sweep = ", ".join(sorted({str(one)[:8] for one in trials["sweep"].dropna()})) if "sweep" in trials else ""
    names = [
        ", ".join(sorted(map(str, trials[column].dropna().unique())))
        for column in ("model.name", "data.source")
        if column in trials
    ]
    n_seeds = trials.loc[trials["phase"] == Phase.FINAL, "seed"].nunique()
    return formatting.joined(sweep, *names, f"{n_seeds} seed" + "s" * (n_seeds != 1))


def too_small(arm_rows: pd.DataFrame, n_items: int) -> str:
    """Why the sizes of a sweep, as a smoke run has them, are too small to judge anything; "" where they are not."""
    one_seed = "one seed" if arm_rows["seeds"].max() < 2 else ""
    few = f"{n_items} evaluation item{'s' * (n_items != 1)}" if n_items < FEW_ITEMS else ""
    why = formatting.joined(one_seed, few)
    return f"{SMOKE}: {why}" if why else ""


def before(trials: pd.DataFrame) -> str:
    """The quality of the base before tuning, in a few words."""
    final = trials[(trials["phase"] == Phase.FINAL) & (trials["state"] == State.FINISHED)]
    value = final["quality_before"].astype(float).mean() if "quality_before" in final else float("nan")
    return "" if pd.isna(value) else f"{formatting.number(value)} before tuning"


def short_ledger(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a narrow table."""
    header, rows = as_text(verdicts)
    keep = [header.index(name) for name in ("claim", "statement", "verdict", "95 % interval")]
    return formatting.markdown([header[i] for i in keep], [[row[i] for i in keep] for row in rows])


def tuning(tuned: pd.DataFrame) -> str:
    """On what the learning rate was tuned, and between which rates; "" where it was not."""
    if tuned.empty:
        return ""
    first, again = (sorted(map(str, own["model.name"].unique())) for own in (tuned[tuned["phase"] == one] for one in TUNING))
    bases = " and ".join(first) + (f" (the best two also on {' and '.join(again)})" if again else "")
    by_method = {
        method.label: " to ".join(formatting.rate_text(float(end)) for end in (own.min(), own.max()))
        for name, method in METHODS.items()
        if len(own := tuned.loc[tuned["adapter.method"] == name, "train.learning_rate"])
    }
    each = [f"{rates} ({label})" for label, rates in by_method.items()]
    tried = ", ".join(each) if len(set(by_method.values())) > 1 else next(iter(by_method.values()))
    return f"Tuned inside each arm on {bases} and the validation split: learning rates {tried}"


def terminal_width() -> int:
    """Characters of a line; 120 where there is no terminal."""
    return min(max(shutil.get_terminal_size((120, 24)).columns, 80), 160)


def terminal_text(
    table: tuple[list[str], list[list[str]]], measures: str, verdicts: Sequence[Verdict], cautions: Sequence[str]
) -> str:
    """A table (header, rows), what it measures, the verdicts and the cautions, in the terminal's width."""
    header, *rows = ([printable(cell) for cell in row] for row in (table[0], *table[1]))
    width = terminal_width()
    shown = [header, *rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(header))]
    lines = ["  ".join(text.ljust(n) for text, n in zip(row, widths, strict=True)).rstrip() for row in shown]
    lines += [*textwrap.wrap(measures, width), ""]
    for verdict in verdicts:
        lines.append(f"{verdict.verdict:<13}{verdict.shown}  ({verdict.id})")
        for text in (verdict.statement, f"measured: {verdict.effect}", verdict.note):
            lines += textwrap.wrap(printable(text), width, initial_indent=" " * 5, subsequent_indent=" " * 5)
    lines += [
        line for text in cautions for line in textwrap.wrap(f"caution: {printable(text)}", width, subsequent_indent="     ")
    ]
    return "\n".join(lines)
