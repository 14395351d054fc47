"""Do examples before the question help, and does tuning beat a base that is prompted with them?

Two findings of practice (Wei et al. 2021, FLAN): tuning lets a model answer without examples what a larger one answers with them, and
examples help a tuned model still. Every arm is tuned alike and asked with other numbers of examples, and so is its untuned base, which
stands in tables and figures beside it: the prompted base is what tuning has to beat. Examples are the same for every seed and arm,
of the question's own task and style; more than two of the longest do not fit into the laboratory's context.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Trial

FLAN = "https://arxiv.org/abs/2109.01652"

EXPERIMENT = Experiment(
    name="shots",
    question="Do examples before the question help, and does tuning beat a prompted base?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"evaluation.shots": (0, 1, 2)},
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="tuning_beats_a_prompted_base",
            statement="A tuned model without examples answers better than its base with two",
            published=Published(
                effect="137 B tuned without examples above 175 B untuned with them on 6 tasks named",
                source="Wei 2021, abstract",
                url=FLAN,
            ),
        ),
        Claim(
            id="examples_help_a_tuned_model",
            statement="A tuned model answers better with two examples than with none",
            published=Published(effect="better on all task clusters", source="Wei 2021, section 4.4", url=FLAN),
        ),
        Claim(
            id="examples_help_the_base",
            statement="The untuned base answers better with two examples than with none",
            published=Published(effect="no measured effect found", source="compare Wei 2021", url=FLAN),
        ),
    ),
)
