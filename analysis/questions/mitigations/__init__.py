"""What keeps a model from forgetting at equal quality?"""

from __future__ import annotations

from analysis import formatting
from analysis.claims.question import Question
from analysis.claims.tables import Tables, View
from analysis.questions.mitigations.compared import HELD_OUT, LEFT, QUALITIES, Mitigations, prepare
from analysis.questions.mitigations.figure import draw
from analysis.questions.mitigations.rules import RULES
from analysis.questions.mitigations.ways import PLAIN, with_way
from analysis.stats import Estimate

VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", HELD_OUT, "forgetting", LEFT, "raw_accuracy/skills", "kl/responses"),
    curves="way",
    derive=with_way,
)
CAPTION = (
    "Each way along its learning rates; dotted: one training, scaled back to its base. What a way saves is the forgetting of "
    "the plain training of its method less its own where both first reach 80 to 95 % of the gain that both reach. Last: every "
    "final trial, with a quadratic. Lines are 95 % intervals."
)


def sections(t: Tables[Mitigations]) -> list[str]:
    """Each way against the plain training of its method, at equal quality on tasks trained on and on held-out ones."""
    rows = [
        [way.name, f"{len(way.places_K)}", *(cell for name in _qualities(t) for cell in _cells(t, way.name, name))]
        for way in t.own.ways
        if way.kind != PLAIN
    ]
    if not rows:
        return []
    of = {"quality": "tasks trained on", HELD_OUT: "held-out tasks"}
    header = ["way", "points"]
    header += [text for name in _qualities(t) for text in (f"{of[name]}: its forgetting → plain", "saved")]
    unit = t.units["forgetting"]
    note = (
        f"Forgetting in {unit} where a curve first reaches 80 to 95 % of the gain in quality that both reach; plain is the same "
        "method without, along its learning rates. A way that is scaled back is one training, along the share of its way from "
        "the base. Penalties and shares have one strength each: another may do better or worse.\n"
    )
    return ["## At equal quality\n", formatting.markdown(header, rows), note]


def _qualities(t: Tables[Mitigations]) -> list[str]:
    return [name for name in QUALITIES if name in t.panels]


def _cells(t: Tables[Mitigations], way: str, quality: str) -> list[str]:
    found = t.own.saved.get((way, quality))
    if found is None:
        return [formatting.NONE] * 2
    return [" → ".join(formatting.number(e.value) for e in (found.first, found.second)), _saved(found.difference)]


def _saved(e: Estimate) -> str:
    return formatting.estimate(e, signed=True)


QUESTION = Question(VIEW, RULES, prepare=prepare, draw=draw, caption=CAPTION, sections=sections)
