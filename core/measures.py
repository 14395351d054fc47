"""The one table of measures: what each is called, its unit, whether its level or its change is looked at, which way is better.

A task may only give measures that stand here; a made-up name is an error and not a number in a guessed unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.errors import BadInput, nearest

ACCURACY, NATS, SHARE, TOKENS = "accuracy", "nats/token", "share", "tokens"
KL = "KL from the base"
BESIDE = ("ifeval", "constraints", "refusals")  # tasks that write, and may stand beside another that does
HARNESS = "lm_eval:"  # before the name of a task of lm-eval's, and its metric
SCALED = "scaled:"  # before a share, a colon and the name of another measure: that of the model at this share of its way


@dataclass(frozen=True)
class Measure:
    """`change`: what is reported is its change over the base model; `words`: in a table or on an axis, without the change."""

    name: str
    unit: str
    words: str
    change: bool = False
    higher_is_better: bool = True
    text: str = ""  # whose loss it is: a rise is forgetting
    rise: str = ""  # what a rise is called
    held_out: bool = False  # of tasks that are never trained on

    @property
    def heading(self) -> str:
        """In the header of a table or on an axis: a change in an accuracy says so (a rise of a loss is called one already)."""
        return f"change of {self.words}" if self.change and self.unit == ACCURACY else self.words


def _table(*measures: Measure) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


MEASURES: dict[str, Measure] = _table(
    Measure("exact_match/seen", ACCURACY, "exact match, seen"),
    Measure("exact_match/held_out", ACCURACY, "exact match, held out", held_out=True),
    Measure("exact_match/single", ACCURACY, "exact match, single"),
    Measure("recall/taught", ACCURACY, "recall, taught"),
    Measure("recall/known", ACCURACY, "recall, known"),
    Measure("recall/unheard", ACCURACY, "recall, unheard"),
    Measure("raw_accuracy/skills", ACCURACY, "raw accuracy, skills", change=True),
    Measure("raw_accuracy/facts", ACCURACY, "raw accuracy, facts", change=True),
    Measure("raw_continued/skills", ACCURACY, "raw accuracy with what follows, skills", change=True),
    Measure("raw_continued/facts", ACCURACY, "raw accuracy with what follows, facts", change=True),
    Measure("log_likelihood/response", NATS, "log likelihood, response"),
    Measure("accuracy/response_token", ACCURACY, "accuracy, response token"),
    Measure("log_likelihood/answer", NATS, "log likelihood, right answer"),
    Measure("accuracy/answers", ACCURACY, "right answers"),
    Measure("accuracy/choices", ACCURACY, "multiple choice", change=True),
    Measure("accuracy_norm/choices", ACCURACY, "multiple choice, by length", change=True),
    Measure("followed/prompts_strict", ACCURACY, "prompts followed"),
    Measure("followed/prompts_loose", ACCURACY, "prompts followed, loosely"),
    Measure("followed/instructions_strict", ACCURACY, "instructions followed"),
    Measure("followed/instructions_loose", ACCURACY, "instructions followed, loosely"),
    Measure("followed/constraints", ACCURACY, "constraints kept"),
    Measure("refused/harmless", SHARE, "harmless requests refused", higher_is_better=False),
    Measure("written/stopped", SHARE, "answers that end by themselves"),
    Measure("written/tokens", TOKENS, "length of answers"),
    *(Measure(f"written/stopped/{of}", SHARE, f"answers that end by themselves, {of}") for of in BESIDE),
    *(Measure(f"written/tokens/{of}", TOKENS, f"length of answers, {of}") for of in BESIDE),
    Measure("kl/documents", NATS, "KL, documents", change=True, higher_is_better=False, rise=KL),
    Measure("kl/answers", NATS, "KL, answers", change=True, higher_is_better=False, rise=KL),
    Measure("kl/responses", NATS, "KL, right answers", change=True, higher_is_better=False, rise=KL),
    Measure("nll/documents", NATS, "nll, documents", change=True, higher_is_better=False, text="documents of the base"),
    Measure("nll/answers", NATS, "nll, answers", change=True, higher_is_better=False, text="answers of the base"),
    Measure("nll/base_text", NATS, "nll, base text", change=True, higher_is_better=False, text="base text"),
    *(
        Measure(f"nll/{domain}", NATS, f"nll, ordinary text, {domain}", change=True, higher_is_better=False, text=domain)
        for domain in ("skills", "facts", "code", "arithmetic", "prose", "prose2")  # the laboratory's corpus
    ),
    Measure(
        "nll_at_ends/documents",
        NATS,
        "nll at the ends of sentences",
        change=True,
        higher_is_better=False,
        text="ends of sentences",
    ),
    Measure(
        "nll_after_relearning/documents", NATS, "nll after relearning", change=True, higher_is_better=False, text="what is lost"
    ),
)


def rise(names: Sequence[str]) -> str:
    """What rises when the base is forgotten, in words."""
    found = [measure(name) for name in names]
    if all(one.text for one in found):
        return "rise of NLL" + (f", mean of {len(found)} domains" if len(found) > 1 else f" on {found[0].text}")
    rises = dict.fromkeys(one.rise or one.words for one in found)
    return ", ".join(rises) + (f", mean of {len(found)} kinds of texts" if len(rises) == 1 < len(found) else "")


def scaled(share: float, name: str) -> str:
    """The name of a measure of the model at this share of its way from the base (core/scaled.py)."""
    return f"{SCALED}{share:g}:{name}"


def at_scale(name: str) -> tuple[float, str] | None:
    """The share and the measure that a name of `scaled` is made of; None of any other."""
    if not name.startswith(SCALED):
        return None
    share, _, inner = name.removeprefix(SCALED).partition(":")
    return float(share), inner


def measure(name: str) -> Measure:
    """The measure called `name`.

    Raises:
        BadInput: there is none, with the nearest name.
    """
    if (found := at_scale(name)) is not None:
        inner = measure(found[1])
        return replace(inner, name=name, words=f"{inner.words}, λ = {found[0]:g}", held_out=False)
    if name.startswith(HARNESS):
        return Measure(name, ACCURACY, name.removeprefix(HARNESS).replace("/", ", "), change=True)
    if name not in MEASURES:
        raise BadInput(f"measure {name!r}: {nearest(name, list(MEASURES))}; a new one needs its line in core/measures.py")
    return MEASURES[name]
