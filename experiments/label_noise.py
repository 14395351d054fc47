"""How many wrong answers do curated data bear?

A share of the 1,000 rows has another answer of its task instead: right in form, wrong in content. A larger share contains the smaller
ones. Claims after Zhou et al. 2023 (LIMA: quality over quantity). The synthetic rows of quality_vs_quantity have a weaker model's errors
instead. The learning rate is the same in every arm.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Trial

LIMA = "https://arxiv.org/abs/2305.11206"

EXPERIMENT = Experiment(
    name="label_noise",
    question="How many wrong answers do 1,000 curated examples bear?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"data.noise_share": (0.0, 0.1, 0.25, 0.5)},
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="wrong_answers_cost_at_most_5_points",
            statement="10 % wrong answers cost at most 5 points of quality",
            published=Published(
                effect="no measured effect found (its quality filter, +0.5 of 6, takes more than wrong answers)",
                source="compare Zhou 2023",
                url=LIMA,
            ),
        ),
    ),
)
