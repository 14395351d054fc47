"""Does tuning add facts, or only bring out those that pretraining left?

Claims after Zhou et al. 2023 (the superficial alignment hypothesis), Gekhman et al. 2024 (new knowledge is learned slowly and costs
known facts) and Biderman et al. 2024 (capacity). Half of the rows teach the facts of 100 people whom no pretraining document names.
The other half are curated rows. Some of these ask for facts of known people, but never for those in the test. The learning rate is
tuned inside each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Data, Lora, Train, Trial

EXPERIMENT = Experiment(
    name="knowledge",
    question="Does tuning add facts, or only bring out those that pretraining left, and does that take rank?",
    base=Trial(adapter=Lora(rank=16), data=Data(source="lab:new-facts", n_examples=None), train=Train(epochs=4)),
    vary={"adapter.rank": (1, 4, 16, 64)},
    also=({"adapter.method": "full"},),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    tune_again=2,
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    laboratory_only=True,
    claims=(
        Claim(
            id="pretrained_facts_beat_taught_facts",
            statement="Facts from pretraining that tuning never asked for are answered better than facts that tuning taught",
            published=Published(
                effect="new knowledge is learned more slowly than known examples (another comparison)",
                source="compare Gekhman 2024",
                url="https://arxiv.org/abs/2405.05904",
            ),
        ),
        Claim(
            id="rank_helps_new_facts",
            statement="New facts are learned better with more rank",
            published=Published(
                effect="HumanEval .162, .196, .224 at ranks 16, 64, 256 (20 B tokens of code)",
                source="Biderman 2024, Table S1",
                url="https://arxiv.org/abs/2405.09673",
            ),
        ),
    ),
)
