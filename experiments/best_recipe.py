"""What is the best trade-off between quality and forgetting in a budget, and which settings decide it?

An open search takes the place of a grid. It searches rank, target modules, learning rate, epochs, examples and clusters at once,
by successive halving (Li et al. 2020, ASHA, in its synchronous form). The first rung gives every configuration a ninth of its own
tokens, and the best trade-offs go on. Three found arms then run with fresh seeds on the test split, beside the project's usual recipe.
The usual recipe is not tuned and takes 189 steps; a found one may take 1,125. The report says what each takes.
"""

from core.experiment import Claim, Experiment, LogUniform, OpenSearch, Published
from core.settings import Data, Lora, Train, Trial

BIDERMAN = "https://arxiv.org/abs/2405.09673"

EXPERIMENT = Experiment(
    name="best_recipe",
    question="What is the best trade-off between quality and forgetting in this budget, and which settings decide it?",
    base=Trial(adapter=Lora(rank=16), data=Data(n_examples=1_000), train=Train(learning_rate=3e-3, epochs=3.0)),
    vary={},
    search=OpenSearch(
        space={
            "adapter.rank": (2, 4, 8, 16, 32, 64),
            "adapter.targets": ("attention-qv", "attention", "mlp", "all-linear"),
            "train.learning_rate": LogUniform(3e-4, 3e-2),
            "train.epochs": LogUniform(1.0, 9.0),
            "data.n_examples": (250, 500, 1_000, 2_000),
            "data.n_clusters": (2, 4, 6, 9),
        },
        configurations=81,
        startup=27,
        batch=9,
    ),
    seeds=(0, 1, 2, 3, 4, 5),
    with_seed={"model.name": ("lab:base-0", "lab:base-1")},
    claims=(
        Claim(
            id="search_beats_usual_recipe",
            statement="The usual recipe (rank 16 on all layers, 3 epochs of 1,000 examples) is not the best: a search finds more quality, at up to six times the steps",
            published=Published(effect="no number found", source="practitioners' rule; compare Biderman 2024", url=BIDERMAN),
        ),
        Claim(
            id="knee_forgets_less_than_usual",
            statement="The knee of the search forgets less than the usual recipe",
            published=Published(effect="no number found", source="practitioners' rule; compare Biderman 2024", url=BIDERMAN),
        ),
        Claim(
            id="knee_costs_at_most_2_points",
            statement="The knee of the search costs at most 2 points of quality against the usual recipe",
            published=Published(effect="no number found", source="practitioners' rule; compare Biderman 2024", url=BIDERMAN),
        ),
    ),
)
