"""Parts of a report that every question has: what keeps a comparison from deciding, failures, provenance."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis import formatting
from analysis.arms import FAILED, Arm
from analysis.claims.verdicts import rows_as_text
from analysis.figures import style
from analysis.load import field_types
from analysis.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEDGER_NOTE = (
    "MDE: how far beyond the limit in its rule a true effect must lie for a repetition to decide with 80 % power, at the "
    "first step of Holm. p: two-sided, Holm over the claims tested.\n"
)


def at_the_edge(arm_rows: pd.DataFrame) -> list[str]:
    """A line if the best learning rate of some arms lies at the edge of the range tried, and what to do."""
    names = ", ".join(arm_rows.loc[arm_rows["at_edge"].astype(bool), "arm"])
    how = "widen it with --set train.learning_rate=LOW..HIGH"
    return [f"best learning rate at the edge of the range tried ({names}); {how}"] if names else []


def hindrance(arm_rows: pd.DataFrame, arms: Sequence[Arm], tuned: bool) -> str:
    """What keeps a comparison of arms at their best learning rates from deciding a claim: the rate was not tuned although
    the question tunes it, or its best lies at the edge of the range, so that a better one may lie beyond."""
    by_arm = arm_rows.set_index("arm")
    fixed = [arm.label for arm in arms if tuned and not by_arm.loc[arm.label, "tuned"]]
    edge = [arm.label for arm in arms if by_arm.loc[arm.label, "at_edge"] and arm.label not in fixed]
    parts = (("learning rate not tuned", fixed), ("best learning rate at the edge of the range", edge))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def not_forgetting(arm_rows: pd.DataFrame, arms: Sequence[Arm], measure: str = "forgetting") -> str:
    """Why a text that tuning makes easier for the model says nothing about forgetting; "" for one that some of these arms
    forget."""
    limits = arm_rows.set_index("arm")[[f"{measure}_low", f"{measure}_high"]]
    own = limits.reindex([arm.label for arm in arms])
    below = list(own.index[own[f"{measure}_high"] < 0])
    forgotten = bool((own[f"{measure}_low"] > 0).any())
    return f"the text does not measure forgetting: its NLL falls ({', '.join(below)})" if below and not forgotten else ""


def per_cent_of(unit: str) -> str:
    """What a relative difference is relative to, where that is not an accuracy."""
    return "" if unit == "accuracy" else "per cent of the log-likelihood itself"


def best_rate(e: Estimate) -> str:
    """The top of a learning-rate curve with its interval, or why there is none."""
    if not e.known:
        return e.why.split(":")[0] if e.why else formatting.NONE
    return f"{style.rate_text(e.value)} [{style.rate_text(e.low)}, {style.rate_text(e.high)}]"


def rate(row: pd.Series) -> str:
    """An arm's learning rate as its tables show it."""
    if pd.isna(row["learning_rate"]):
        return formatting.NONE
    end = " (edge)" if row["at_edge"] else " (end, flat)" if row["flat_to_the_end"] else ""
    return style.rate_text(row["learning_rate"]) + end


def failed(row: pd.Series) -> str:
    """How many of an arm's trials failed."""
    n = int(row["final_failed"] + row["tune_failed"])
    return f"{n} of {n + int(row['seeds']) + int(row['tuned'])}"


def save(
    made: Figure, frames: Mapping[str, pd.DataFrame], texts: Mapping[str, str], output: Path, column: Figure | None = None
) -> list[Path]:
    """Writes a report's figure (`column`: the same for one column of print), frames (as CSV) and texts below `output` and
    returns the files."""
    output.mkdir(parents=True, exist_ok=True)
    files = style.save(made, output / "figure")
    files += [style.save_vector(column, output / "figure_column")] if column else []
    for name, frame in frames.items():
        files.append(output / f"{name}.csv")
        frame.drop(columns="model_path", errors="ignore").to_csv(files[-1], index=False)  # of this machine; MLflow keeps it
    for name, text in texts.items():
        files.append(output / name)
        files[-1].write_text(text, encoding="utf-8")
    return files


def verdicts_json(verdicts: Sequence[dict[str, object]]) -> str:
    """verdicts.json."""
    return json.dumps(list(verdicts), indent=1, ensure_ascii=False) + "\n"


def held_equal(final: pd.DataFrame) -> str:
    """Every field that is the same in all final trials; an adapter's own fields, which full fine-tuning lacks, in those of
    LoRA, which is said."""
    lora = final[final["adapter.method"] == "lora"]
    everywhere: list[str] = []
    in_lora: list[str] = []
    for name in sorted(set(field_types()) & set(final.columns)):
        own = name.startswith("adapter.") and name != "adapter.method"
        values = (lora if own else final)[name].drop_duplicates()
        if len(values) == 1 and not pd.isna(values.iloc[0]):
            (in_lora if own and len(lora) < len(final) else everywhere).append(f"{name} = {_plain(values.iloc[0])}")
    return "; in the arms of LoRA: ".join(", ".join(part) for part in (everywhere, in_lora) if part)


def _plain(value: object) -> object:
    """Whole numbers without a point, as a column with gaps makes floats of them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def failures(trials: pd.DataFrame) -> str:
    """Every trial that did not finish, or one line that says there was none."""
    lost = trials[trials["state"].isin(FAILED)]
    counts = trials["state"].value_counts()
    summary = f"{len(trials)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items()) + ".\n"
    if lost.empty:
        return summary
    shown = lost.assign(rate=lost["train.learning_rate"].map(style.rate_text))
    rows = shown[["arm", "phase", "seed", "rate", "state", "reason"]].astype(str).to_numpy().tolist()
    return summary + "\n" + formatting.markdown(["arm", "phase", "seed", "learning rate", "state", "reason"], rows)


def provenance(trials: pd.DataFrame) -> str:
    """What it cost, commit, input hashes and run ids."""
    done = trials[trials["state"] == "finished"]
    names = [n for n in ("sweep", "git_commit", "data", "model", "eval_data", "base_text") if n in done]
    lines = [f"- cost: {cost(trials)}"]
    lines += [f"- {n}: {', '.join(sorted({str(v) for v in done[n].dropna()}))}" for n in names]
    lines += [
        f"- {label}: {', '.join(map(str, rows['run_id']))}" for label, rows in done[done["phase"] == "final"].groupby("arm")
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


def n_failed(trials: pd.DataFrame) -> str:
    """How many trials failed, and the first one's reason."""
    failed = trials[trials["state"].isin(FAILED)]
    first = f"; the first failure: {failed.iloc[0]['state']}, {failed.iloc[0]['reason']}" if len(failed) else ""
    return f"({len(failed)} failed){first}"


def about(trials: pd.DataFrame) -> str:
    """Which sweep this is, of which models and data, with how many final seeds."""
    sweep = ", ".join(sorted({str(one)[:8] for one in trials["sweep"].dropna()})) if "sweep" in trials else ""
    names = [
        ", ".join(sorted(map(str, trials[column].dropna().unique())))
        for column in ("model.name", "data.source")
        if column in trials
    ]
    n_seeds = trials.loc[trials["phase"] == "final", "seed"].nunique()
    return formatting.joined(sweep, *names, f"{n_seeds} seed" + "s" * (n_seeds != 1))


def before(trials: pd.DataFrame) -> str:
    """The quality of the base before tuning, in a few words."""
    final = trials[(trials["phase"] == "final") & (trials["state"] == "finished")]
    value = final["quality_before"].astype(float).mean() if "quality_before" in final else float("nan")
    return "" if pd.isna(value) else f"; {formatting.number(value)} before tuning"


def short_ledger(verdicts: Sequence[dict[str, object]]) -> str:
    """The verdicts as a narrow table."""
    header, rows = rows_as_text(verdicts)
    keep = [header.index(name) for name in ("claim", "statement", "verdict", "95 % interval")]
    return formatting.markdown([header[i] for i in keep], [[row[i] for i in keep] for row in rows])


def terminal_text(
    header: list[str], rows: list[list[str]], measures: str, verdicts: Sequence[dict[str, object]], cautions: Sequence[str]
) -> str:
    """A table, what it measures, the verdicts and the cautions, in the terminal's width."""
    width = min(max(shutil.get_terminal_size((120, 24)).columns, 80), 160)
    shown = [header, *rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(header))]
    lines = ["  ".join(text.ljust(n) for text, n in zip(row, widths, strict=True)).rstrip() for row in shown]
    lines += [*textwrap.wrap(measures, width), ""]
    for verdict in verdicts:
        lines.append(f"{verdict['id']:<5}{verdict['verdict']:<13}{verdict['shown']}")
        for text in (str(verdict["statement"]), f"measured: {verdict['effect']}", str(verdict["note"])):
            lines += textwrap.wrap(text, width, initial_indent=" " * 5, subsequent_indent=" " * 5)
    lines += [line for text in cautions for line in textwrap.wrap(f"caution: {text}", width, subsequent_indent="     ")]
    return "\n".join(lines)
