"""The table of our order beside PEFT's, and what our intervals say of it."""

from __future__ import annotations

import itertools

import pandas as pd

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.adapter_methods.peft import N_QUESTIONS, PUBLISHED, URL, Beside, Pairs, told_apart_by_items
from core.adapters import METHODS

MOST_NAMED = 12  # pairs in a sentence


def frame(t: Tables[Beside]) -> pd.DataFrame:
    """One row a method of both tables, the best quality of ours first."""
    rows = []
    theirs = sorted(t.own.methods, key=lambda name: -PUBLISHED[name].accuracy)
    for place, name in enumerate(t.own.methods, 1):
        arm, one = t.arm({"adapter.method": name}), PUBLISHED[name]
        assert arm is not None
        means, trials = t.means[arm.label], t.trials[t.trials["fingerprint"].isin(arm.final.values())]
        row: dict[str, object] = {"method": name, "place": place, "place_peft": theirs.index(name) + 1}
        for measure in ("quality", "forgetting"):
            if measure in means:
                e = means[measure]
                row |= {measure: e.value, f"{measure}_low": e.low, f"{measure}_high": e.high}
        row["trained"] = trials["trainable_parameters"].iloc[0]
        if "peak_memory_gib" in trials:
            row["memory_gib"] = trials["peak_memory_gib"].max()
        row |= {"accuracy_peft": one.accuracy, "forgetting_peft": one.forgetting, "trained_peft": one.n_trained}
        rows.append(row | {"memory_gib_peft": one.memory_gib, "learning_rate_peft": one.learning_rate, "entry_peft": one.name})
    return pd.DataFrame(rows)


def sections(t: Tables[Beside]) -> list[str]:
    """Our order beside PEFT's; nothing where fewer than two methods are in both."""
    if len(t.own.methods) < 2:
        return []
    header = ["method", "ours", "quality", "forgetting", "trained", "PEFT's", "accuracy", "forgetting", "trained", "GiB", "rate"]
    body = []
    for row in frame(t).to_dict("records"):
        name = str(row["method"])
        arm, one = t.arm({"adapter.method": name}), PUBLISHED[name]
        assert arm is not None
        means = t.means[arm.label]
        own = [formatting.estimate(means.get(measure)) for measure in ("quality", "forgetting")]
        theirs = [f"{one.accuracy:.3f}", f"{one.forgetting:.3f}", f"{one.n_trained:,}", f"{one.memory_gib:g}"]
        rate = formatting.rate_text(one.learning_rate)
        places = f"{row['place']}", f"{row['place_peft']}"
        body.append([METHODS[name].label, places[0], *own, f"{row['trained']:,.0f}", places[1], *theirs, rate])
    note = (
        f"PEFT's: {URL}; Llama-3.2-3B, one seed and one rate, {N_QUESTIONS:,} questions (standard error of an accuracy of one "
        f"half: 0.014). Of {t.own.n_pairs} pairs of these methods their questions alone tell {_theirs(t)} apart, whatever "
        "another seed would do. Places are by quality.\n"
    )
    told = [sentence(words, pairs) for words, pairs in (("quality", t.own.quality), ("forgetting", t.own.forgetting)) if pairs]
    told = told or ["Which of ours differ is not known: no two seeds finished in all of them."]
    return ["## Beside PEFT's comparison\n", formatting.markdown(header, body), note, "\n".join(told) + "\n"]


def _theirs(t: Tables[Beside]) -> int:
    pairs = itertools.combinations([PUBLISHED[name] for name in t.own.methods], 2)
    return sum(told_apart_by_items(one, other) for one, other in pairs)


def sentence(measure: str, pairs: Pairs) -> str:
    """Which pairs our intervals tell apart, and how many of these have PEFT's order."""
    e = pairs.correlation
    shown = formatting.estimate(e) if e.known else f"{formatting.number(e.value)} ({e.why})"
    named = "; ".join(f"{METHODS[a].label} above {METHODS[b].label}" for a, b in pairs.opposite[:MOST_NAMED])
    more = f", and {len(pairs.opposite) - MOST_NAMED} more" if len(pairs.opposite) > MOST_NAMED else ""
    against = f", {len(pairs.opposite)} the opposite one ({named}{more})" if pairs.opposite else ""
    return (
        f"- **{measure}**: our intervals tell {pairs.n_told} of {pairs.n_pairs} pairs apart (5 % over all of them, Holm); of "
        f"these {pairs.n_agree} have PEFT's order{against}. Rank correlation over {pairs.n_methods} methods: {shown}."
    )
