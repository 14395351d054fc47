"""What is the best trade-off between quality and forgetting in a budget, and which settings decide it?

An open search takes the place of a grid. It searches rank, target modules, learning rate, epochs, examples and clusters at once,
by successive halving (Li et al. 2020, ASHA, in its synchronous form). The first rung gives every configuration a ninth of its own
tokens, and the best trade-offs go on. Three found arms then run with fresh seeds on the test split, beside the project's usual recipe
as it is and once more tuned: at the steps of the best found recipe, with the rate that is best there. Claims are against the tuned one.
So the knee may forget less because it trains for fewer steps; its claim says so, and its note has both numbers of steps. Each of the
fresh seeds holds out another quarter of the clusters; the search holds out the first.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, OpenSearch, Published
from core.settings import Data, Lora, Train, Trial

NOT_FOUND = Published(
    effect="no number found", source="practitioners' rule; compare Biderman 2024", url="https://arxiv.org/abs/2405.09673"
)

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
    seeds=tuple(range(8)),
    with_seed={
        "data.held_out_fold": (0, 1, 2, 3),
        "model.name": lab.like("lab:base-0"),  # each fold on two of them
    },
    claims=(
        Claim(
            id="search_beats_tuned_usual_recipe",
            statement="A search finds more quality than the usual recipe (rank 16 on all layers, 1,000 examples) with its rate tuned, at equal steps",
            published=NOT_FOUND,
        ),
        Claim(
            id="search_beats_tuned_usual_recipe_held_out",
            statement="What the search finds best is better on held-out tasks too than the usual recipe with its rate tuned, at equal steps",
            published=NOT_FOUND,
        ),
        Claim(
            id="knee_forgets_less_than_tuned_usual",
            statement="The knee of the search, at its own steps, forgets less than the usual recipe tuned at the steps of the best found one, which may be many more: rise on ordinary old text",
            published=NOT_FOUND,
        ),
    ),
)
