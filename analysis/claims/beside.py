"""What was measured beside a question's own measures (other tasks, how answers are written, KL on other texts)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from analysis import arms as a
from analysis.arms import Arm, Frames
from analysis.claims import untuned
from analysis.claims.untuned import Untuned
from analysis.stats.estimate import Estimate
from core.measures import measure

OF_THE_LAB = ("exact_match/", "recall/", "raw_accuracy/", "nll/")  # which its questions show where they ask for them
Beside = Mapping[str, Mapping[str, Estimate]]  # measure → an arm's, or an untuned base's, label → its mean


def means(frames: Frames, arms: Sequence[Arm], bases: Sequence[Untuned], known: Collection[str]) -> Beside:
    """Of every measure that is neither in `known` nor the laboratory's own, where all final trials have it; a change is a rise
    over the base, which has none itself."""
    trials, items = frames
    final = [name for arm in arms for name in arm.final.values()]
    own = items[items["fingerprint"].isin(final)]
    having = own.groupby("measure", observed=True)["fingerprint"].nunique()
    found = {}
    for name in map(str, having.index[having == len(set(final))]):
        if name in known or name.startswith(OF_THE_LAB):
            continue
        panel = a.panel(own, final, name, trials)
        of_arms = {arm.label: a.mean(arm, panel) for arm in arms if arm.final}
        levels = () if measure(name).change else bases
        found[name] = of_arms | {base.label: e for base in levels for e in untuned.means(frames, base.final, [name]).values()}
    return found
