"""Do paraphrase templates keep the model from fitting trigger phrases?

Claims after Wei et al. 2021 (FLAN), who wrote ten templates a dataset and found their number negligible for held-out tasks. All
evaluation is on phrasings that no training row has. Every arm has 1,000 examples, the same steps and the same learning rate. A seed
draws the templates, and more templates contain the fewer.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Trial

FLAN = "https://arxiv.org/abs/2109.01652"

EXPERIMENT = Experiment(
    name="instruction_diversity",
    question="Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"data.n_templates": (1, 2, 5, 10)},
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="more_templates_follow_unseen_phrasings",
            statement="On tasks trained on, unseen phrasings are followed better with more training templates",
            published=Published(effect="the purpose of FLAN's ten templates", source="Wei 2021", url=FLAN),
        ),
    ),
)
