"""The report of rank_vs_quality on disk: figure, data, tables, verdicts, and one page that says what was done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.claims import comparable
from analysis.claims.verdicts import rows_as_text
from analysis.figures import style
from analysis.formatting import readable, rise
from analysis.questions.rank_vs_quality.figure import HU
from analysis.reports.parts import (
    LEDGER_NOTE,
    at_the_edge,
    before,
    best_rate,
    failed,
    failures,
    held_equal,
    provenance,
    rate,
    save,
    short_ledger,
    terminal_text,
    verdicts_json,
)
from analysis.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.questions.rank_vs_quality import Tables

CAPTION = (
    "**a, b** thin: 95 % interval of the mean (new seeds and items, on these bases); thick and pale: 95 % interval of the "
    "paired difference from full fine-tuning, drawn around the arm's mean; where it misses the dashed line, the arm differs "
    "from full. An arrow: cut by the axis. Grey: published, normalised. **c** 95 % intervals of the means; dotted: Pareto "
    "front. **d** one tuning run a point, 95 % interval over items; ring: the rate that was chosen; bars on top: optimum by a "
    "parabola with its (approximate) 95 % interval, an arrow where it goes on beyond the rates tried; triangle: below the "
    "untuned base."
)
PRINTED = (0, 1, 3, 4, 6, 7, 10, 11)  # the columns of `arm_table` that fit on a page; the terminal has room for six
TERMINAL = (0, 1, 3, 6, 10, 11)
Verdicts = Sequence[dict[str, object]]


def write(
    tables: Tables, verdicts: Verdicts, figure: Figure, question: str, output: Path, column: Figure | None = None
) -> list[Path]:
    """Writes everything below `output` and returns the files."""
    frames = {"trials": tables.trials, "arms": tables.arm_rows, "learning_rate": tables.learning_rate}
    header, rows = arm_table(tables)
    guard = comparable.caption(differences(tables))
    caption = f"{question} Mean [95 % interval over seeds and items]; differences from full fine-tuning are paired. {guard}"
    texts = {
        "table.md": formatting.markdown(header, rows) + f"\n{guard}\n",
        "table.tex": formatting.latex(*_columns(header, rows, PRINTED), caption, "tab:rank-vs-quality"),
        "verdicts.json": verdicts_json(verdicts),
        "report.md": page(tables, verdicts, question),
    }
    return save(figure, frames, texts, output, column)


def _arm_estimate(row: pd.Series, name: str, seeds: int, scale: str = "linear") -> Estimate | None:
    value, low, high = (float(row[name + suffix]) for suffix in ("", "_low", "_high"))
    if np.isnan(value):
        return None
    why = "needs 2 seeds" if seeds < 2 else "no interval"
    return Estimate(value, low, high, np.nan, seeds, 0, scale, "" if np.isfinite(low) else why)


def _columns(header: list[str], rows: list[list[str]], keep: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    return [header[i] for i in keep], [[row[i] for i in keep] for row in rows]


def arm_table(tables: Tables) -> tuple[list[str], list[list[str]]]:
    """Header and one row an arm."""
    header = ["arm", "learning rate", "optimum", f"quality ({tables.quality_unit})", "− full", "IQM"]
    header += [f"forgetting ({tables.forgetting_unit})", "− full", "full − label at equal quality", "on front", "seeds", "failed"]
    body = []
    for _, row in tables.arm_rows.iterrows():
        seeds = int(row["seeds"])
        optimum = tables.optima[str(row["arm"])]
        share = row["front_probability"]
        body.append([
            str(row["arm"]), rate(row), best_rate(optimum),
            formatting.estimate(_arm_estimate(row, "quality", seeds)),
            formatting.estimate(_arm_estimate(row, "quality_vs_full", seeds), signed=True),
            formatting.number(row["quality_iqm"]),
            formatting.estimate(_arm_estimate(row, "forgetting", seeds)),
            formatting.estimate(_arm_estimate(row, "forgetting_vs_full", seeds), signed=True),
            formatting.estimate(tables.matched.get(str(row["arm"])), signed=True),
            formatting.NONE if np.isnan(share) else f"{share:.0%}".replace("%", " %"), str(seeds),
            failed(row),
        ])  # fmt: skip
    return header, body


def differences(tables: Tables) -> list[str]:
    """In what arms differ although it is not the axis, the tuned field or paired by seed."""
    paired, _ = comparable.common_seeds(tables.trials, tables.arms)
    return comparable.beyond(paired, {"adapter.rank", "adapter.method", "train.learning_rate"})


def other_cautions(tables: Tables) -> list[str]:
    """Seeds that some arms lack; a base text that does not measure forgetting; optima at the edge of the range."""
    _, found = comparable.common_seeds(tables.trials, tables.arms)
    better = tables.arm_rows[tables.arm_rows["forgetting_high"] < 0]
    if len(better):
        found.append(
            f"{', '.join(better['arm'])}: {rise(tables.forgetting_name)} is below 0. The tuned model predicts this text better "
            "than the base does, so the text is unlike what the base was pretrained on and does not measure forgetting"
        )
    return found + at_the_edge(tables.arm_rows)


def cautions(tables: Tables) -> list[str]:
    """Everything that a reader must know before comparing arms."""
    return differences(tables) + other_cautions(tables)


def design(tables: Tables) -> str:
    """What was held equal, what varied, on what it was measured."""
    done = tables.trials[tables.trials["state"] == "finished"]
    final, tune = done[done["phase"] == "final"], done[done["phase"] == "tune"]
    seeds, (final_on, tuned_on) = (
        sorted(final["seed"].unique()),
        (" and ".join(sorted(map(str, rows["model.name"].unique()))) for rows in (final, tune)),
    )
    rates = tables.learning_rate["train.learning_rate"].astype(float)
    tuned = "Learning rate not tuned, so no arm is at its best. Arms"
    if len(tune):
        tried = f"{style.rate_text(rates.min())} to {style.rate_text(rates.max())}"
        tuned = f"Learning rate tuned in every arm on {tuned_on} and the validation split ({tried}); the best then"
    crossed = (
        "the same items for every seed" if tables.quality.crossed else "items differ between seeds, so only seeds are compared"
    )
    lines = [
        f"- Arms: {', '.join(arm.label for arm in tables.arms)}. Held equal: {held_equal(final)}.",
        f"- {tuned} ran on seeds {', '.join(map(str, seeds))} over {final_on}, scored on the test split.",
        f"- {measures(tables)}, {crossed}.",
        "- Intervals: 95 %, over new seeds and items on these bases (two-way analysis of variance, Student's t); they do not "
        "speak for other bases. Differences are paired by seed and item. Learning-rate optimum: parabola near the top, "
        "Fieller's interval, approximate where the curve is lopsided.",
    ]
    lines += [f"- **Caution:** {line}." for line in cautions(tables)] or ["- No arm differs beyond its axis."]
    return "\n".join(lines) + "\n"


def measures(tables: Tables) -> str:
    """What quality and forgetting are, and on how many items."""
    quality = f"{readable(tables.quality_name)} ({tables.quality_unit}), {tables.quality.n_items} items{before(tables.trials)}"
    return (
        f"Quality: {quality}. "
        f"Forgetting: {rise(tables.forgetting_name)} ({tables.forgetting_unit}), {tables.forgetting.n_items} items"
    )


def _guard(tables: Tables) -> str:
    """What stands directly under the figure and its caption: what arms differ in, and the other cautions."""
    cautions = comparable.lines(other_cautions(tables))
    return comparable.caption(differences(tables), "**") + "\n" + (f"\n**Caution:** {cautions}.\n" if cautions else "")


def page(tables: Tables, verdicts: Verdicts, question: str) -> str:
    """report.md."""
    rules = "\n".join(f"- {row['id']}: {row['rule']}." for row in verdicts)
    return "\n".join([
        f"# {question}\n", "![figure](figure.png)\n",
        CAPTION + f" {HU.caption}\n", _guard(tables),
        "## Verdicts\n", formatting.markdown(*rows_as_text(verdicts)),
        LEDGER_NOTE,
        rules + "\n", "## Arms\n", formatting.markdown(*arm_table(tables)), "## Design\n", design(tables),
        "## Trials and failures\n", failures(tables.trials), "## Provenance (MLflow run ids)\n", provenance(tables.trials),
    ])  # fmt: skip


def note(tables: Tables, verdicts: Verdicts) -> str:
    """What the parent run's description says in the MLflow UI."""
    return short_ledger(verdicts) + "\n" + formatting.markdown(*arm_table(tables))


def terminal(tables: Tables, verdicts: Verdicts) -> str:
    """Cells and verdicts for the terminal, in its width."""
    return terminal_text(*_columns(*arm_table(tables), TERMINAL), measures(tables), verdicts, cautions(tables))
