"""Numbers, intervals and tables as text: Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis.escaping import escaped, printable
from analysis.stats.estimate import Estimate
from core import rates
from core.measures import MEASURES

NONE = "–"


def decimals(low: float, high: float) -> int:
    """Decimals that show an interval's half width with two digits, at most 3."""
    half = abs(high - low) / 2
    return 3 if half == 0 or not math.isfinite(half) else min(max(1 - math.floor(math.log10(half)), 0), 3)


def number(value: float | None, places: int = 3, signed: bool = False, percent: bool = False) -> str:
    """A number with a true minus sign; – for nan and None."""
    if value is None or math.isnan(value):
        return NONE
    return _digits(value, places, signed, percent) + (" %" if percent else "")


def _digits(value: float, places: int, signed: bool, percent: bool) -> str:
    if percent:
        value, places = 100 * value, max(places - 2, 0)
    return f"{value:{'+' if signed else ''}.{places}f}".replace("-", "−")


def estimate(e: Estimate | None, signed: bool = False, percent: bool = False) -> str:
    """ "0.812 [0.790, 0.834]"; a ratio as "2.1× [1.5×, 3.0×]"; without an interval the value and why there is none."""
    if e is None or math.isnan(e.value):
        return f"{NONE} ({e.why})" if e is not None and e.why else NONE
    if not e.known:
        return f"{value(e, signed, percent)} ({e.why})"
    ends = e.value, e.low, e.high
    return ratio(ends) if e.scale == "log" else interval(ends, signed, percent)


def value(e: Estimate, signed: bool = False, percent: bool = False) -> str:
    """The value of an estimate without an interval, where why it has none stands elsewhere."""
    if e.scale == "log" and not math.isnan(e.value):
        return f"{e.value:.2g}×"
    return number(e.value, decimals(e.low, e.high), signed, percent)


def ratio(ends: tuple[float, float, float]) -> str:
    """ "2.1× [1.5×, 3.0×]" of a ratio, its low and its high end."""
    return "{:.2g}× [{:.2g}×, {:.2g}×]".format(*ends)


def interval(ends: tuple[float, float, float], signed: bool = False, percent: bool = False) -> str:
    """ "0.812 [0.790, 0.834]" of a value, its low and its high end."""
    places = decimals(*ends[1:])
    value, low, high = (_digits(x, places, signed, percent) for x in ends)
    return f"{value} [{low}, {high}]" + (" %" if percent else "")


rate_text = rates.text


def best_rate(e: Estimate) -> str:
    """The top of a learning-rate curve with its interval, or why there is none."""
    if not e.known:
        return e.missing.short if e.missing else NONE
    return f"{rate_text(e.value)} [{rate_text(e.low)}, {rate_text(e.high)}]"


def joined(*notes: str) -> str:
    """The notes that say something."""
    return "; ".join(note for note in notes if note)


def heading(name: str) -> str:
    """A measure's name in a table or on an axis: what is a change says so."""
    return MEASURES[name].heading if name in MEASURES else name


def readable(name: str) -> str:
    """A measure in words: exact_match/seen → exact match, seen. "quality" and "forgetting" are words already."""
    return MEASURES[name].words if name in MEASURES else name


def asked_on(name: str) -> str:
    """On which tasks a measure of quality is taken, as a title."""
    return "Tasks trained on" if name == "quality" else title(readable(name))


def title(words: str) -> str:
    """With a capital at the beginning; others stay, as in KL."""
    return words[:1].upper() + words[1:]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; what is no Markup is text."""
    lines = [list(map(escaped, header)), ["---"] * len(header), *(list(map(escaped, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def latex(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """A booktabs table; needs \\usepackage{booktabs}."""
    body = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join([
        r"\begin{table}", r"\centering", r"\small", rf"\caption{{{_escape(caption)}}}", rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", " & ".join(_escape(cell) for cell in header) + r" \\",
        r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{c: "\\" + c for c in "&%_#${}"},
          "×": r"$\times$", "−": r"$-$", "–": "--", "±": r"$\pm$", "≤": r"$\le$", "≥": r"$\ge$", "→": r"$\to$"}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Reason → the names that have it, in their order."""
    found: dict[str, list[str]] = {}
    for name, why in reasons.items():
        found.setdefault(why, []).append(name)
    return found
