"""The card of a model that leaves: what it was asked, what it was made of, how it scored, and how to load it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import formatting
from analysis.arms import AXES, Arm, is_change
from analysis.claims.tables import Tables
from analysis.escaping import Markup, escaped
from analysis.stats.estimate import Over
from core.experiment import Experiment
from core.fields import flatten
from core.leaving import Base, Left, Source

PATHS = ("data.source", "data.eval_source", "evaluation.base_text", "evaluation.choices", "evaluation.choices_dev", "model.name")
PARTS = ("adapter.", "train.", "data.")


@dataclass(frozen=True)
class Card:
    """Everything that a card is made from. `chosen`: how arm and seed were chosen, a sentence each."""

    experiment: Experiment
    sweep: str
    tables: Tables[Any]
    arm: Arm
    source: Source
    base: Base
    left: Left
    chosen: Sequence[str]


def text(card: Card) -> str:
    """The README.md of the directory."""
    end = card.source.result.facts.get("turn_end", "")
    ends = f"Answers end with {end}, where generation stops." if end != "no token" else "Generation does not stop by itself."
    code = [f"{words}:\n\n```python\n{block}\n```" if words else f"```python\n{block}\n```" for words, block in card.left.code]
    parts = [
        _front(card),
        f"# {escaped(card.base.name)}, tuned: {escaped(card.arm.label)}",
        f"{formatting.title(card.left.kind)} of {escaped(card.base.name)}{_revision(card.base)}. "
        + " ".join([*map(escaped, card.chosen), *card.left.notes]),
        "## How to load it",
        f"FOLDER is this folder. {escaped(ends)}" + _where(card),
        *code,
        _agreement(card.left),
        "## Scores",
        _about_scores(card),
        formatting.markdown(
            ["measure", "before tuning", "after: this arm, mean of its seeds", "after: this model"], _scores(card)
        ),
        "## Made with",
        f"Question: {escaped(card.experiment.question)}",
        formatting.markdown(["setting", "value"], [(name, value) for name, value in _settings(card.source).items()]),
        "## Data",
        formatting.markdown(["what", "source", "content hash"], _data(card.source)),
        "## Licence",
        _licence(card.base),
        "## Provenance",
        formatting.markdown(["what", "which"], _provenance(card)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _front(card: Card) -> str:
    """The metadata that the hub reads, as YAML."""
    import yaml

    licence = dict(card.base.licence)
    if licence["license"].startswith("unknown"):
        licence = {"license": "unknown"}
    fields: dict[str, object] = dict(licence)
    if card.base.is_public:
        fields |= {"base_model": card.base.name, "base_model_relation": "adapter" if "adapter" in card.left.kind else "finetune"}
    fields |= {"library_name": "peft" if "adapter" in card.left.kind else "transformers", "pipeline_tag": "text-generation"}
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _revision(base: Base) -> str:
    return f", revision {escaped(base.revision)}" if base.revision else ""


def _where(card: Card) -> str:
    if card.base.is_public or "adapter" not in card.left.kind:
        return ""
    return (
        " The adapter names its base by the folder in which it lay when this was written; elsewhere load it on a copy of it"
        " (content hash below), as in the second snippet."
    )


def _agreement(left: Left) -> str:
    if left.agreement is None:
        return ""
    one = left.agreement
    same = "the same" if one.same_tokens else "**not everywhere the same**"
    return (
        f"Checked on one prompt against the trial's adapter in place: logits (up to {one.largest_logit:.1f}) differ by at most "
        f"{one.largest_difference:.1e}, and the likeliest next tokens are {same}."
    )


def _about_scores(card: Card) -> str:
    of = len(card.arm.final)
    seeds = f"{of} seed{'s' * (of > 1)}"
    over = {one.over for one in card.tables.means[card.arm.label].values() if one.known}
    whom = "new bases like those that were drawn, new seeds" if Over.NEW_BASES in over else "new seeds"
    better = " The best of several arms looks a little better than it is." if len(card.tables.arms) > 1 else ""
    return (
        f"On the test split, {seeds}; brackets are 95 % intervals for {whom} and new items. "
        f"Forgetting is measured as {escaped(card.source.result.facts.get('forgetting_measures', 'the change of its measures'))}."
        + better
    )


def _scores(card: Card) -> list[list[str]]:
    t, metrics = card.tables, card.source.result.metrics
    own = t.trials[t.trials["fingerprint"].isin(card.arm.final.values())]
    rows = []
    for name, mean in t.means[card.arm.label].items():
        change = is_change(name)
        here = metrics.get(name if name in AXES else f"delta/{name}" if change else f"after/{name}")
        heading = f"{formatting.heading(name)} ({t.units[name]})"
        rows.append([heading, _before(own, name), formatting.estimate(mean), formatting.number(here)])
    return rows


def _before(own: pd.DataFrame, name: str) -> str:
    column = "quality_before" if name == "quality" else f"before/{name}"
    return formatting.number(float(own[column].mean())) if column in own and own[column].notna().any() else formatting.NONE


def _settings(source: Source) -> dict[str, str]:
    flat = flatten(source.trial)
    shown = {name: flat[name] for name in flat if name.startswith(PARTS) and name not in PATHS and flat[name] is not None}
    return {name: str(value) for name, value in (shown | {"seed": source.trial.seed}).items()}


def _data(source: Source) -> list[list[str]]:
    """What was read, by its own name: the folders of a machine are nobody's concern."""
    flat, hashes = flatten(source.trial), source.result.provenance
    asked = {"training rows": ("data.source", "data"), "evaluation rows": ("data.eval_source", "eval_data")}
    asked |= {"base text": ("evaluation.base_text", "base_text"), "multiple choice": ("evaluation.choices", "choices")}
    return [[what, _own_name(flat[name]), hashes.get(key, formatting.NONE)] for what, (name, key) in asked.items() if flat[name]]


def _own_name(value: object) -> str:
    text = str(value)
    return (
        Path(text).name if text.startswith((".", "/", "~")) or Path(text).suffix in (".jsonl", ".json", ".csv", ".gz") else text
    )


def _licence(base: Base) -> str:
    told = ", ".join(f"{name}: {escaped(value)}" for name, value in base.licence.items())
    return f"Of the base, as its files say: {told}. The rows that it was tuned on may have terms of their own."


def _provenance(card: Card) -> list[list[str]]:
    facts: Mapping[str, str] = card.source.result.facts
    rows = {
        "sweep": f"{card.experiment.name} {card.sweep}",
        "trial": f"{card.source.result.fingerprint}, seed {card.source.trial.seed}",
        "base": f"{card.base.name}, content hash {card.source.result.provenance.get('model', formatting.NONE)}",
        "chat template": f"{facts.get('template', '')}, hash {facts.get('template_hash', '')}",
        "device": f"{facts.get('device', '')}, {facts.get('dtype', '')}, quantization {facts.get('quantization', '')}",
        "commit of Tunelab": facts.get("git_commit", ""),
        "versions": ", ".join(
            f"{name.removeprefix('version.')} {value}" for name, value in facts.items() if name.startswith("version.")
        ),
    }
    return [[Markup(name), value] for name, value in rows.items()]
