"""Does a small base rank recipes of data as a larger one does?

After RegMix (Liu et al. 2024: proxies of 1 M parameters find mixtures for 1 B) and DataDecide (Magnusson et al. 2025: which of two
corpora is better), both of pretraining, here of tuning. Twelve recipes of 500 rows differ in source, choice, breadth and right
answers. Each is trained on bases of 0.2, 0.9 and 4 M parameters at one learning rate, near the best of all three (2 to 4e-3 in
model_scale's first edition). Of 0.2 and 0.9 M a seed draws one of three bases; of 4 M there is one yet. Intervals are for new recipes of these kinds, and more seeds make the
ranks themselves surer; twelve recipes tell a correlation of 0.95 from 0.5 with 80 % power.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Data, Lora, Scalar, Train, Trial

REGMIX, DATADECIDE = "https://arxiv.org/abs/2407.01492", "https://arxiv.org/abs/2504.11393"
SIZES = ("lab:base-small", "lab:base", "lab:base-large")
BASES = tuple(f"{size}-0" for size in SIZES)  # each stands for its size
N_BASES = 3  # of each size, at most
RECIPES: tuple[dict[str, Scalar], ...] = (  # beside 500 curated rows
    {"data.source": "lab:synthetic"},
    {"data.source": "lab:synthetic", "data.best_share": 0.1},
    {"data.source": "lab:synthetic", "data.select": "long"},
    {"data.source": "lab:new-facts"},
    {"data.n_clusters": 2},
    {"data.n_clusters": 3},
    {"data.n_clusters": 5},
    {"data.n_tasks": 16},
    {"data.n_templates": 1},
    {"data.noise_share": 0.25},
    {"data.noise_share": 0.5},
)

EXPERIMENT = Experiment(
    name="proxy_transfer",
    question="Does a small base rank recipes of data as a larger one does?",
    base=Trial(adapter=Lora(rank=16), data=Data(n_examples=500), train=Train(learning_rate=3e-3)),
    vary={"model.name": BASES},
    also=tuple({"model.name": name, **recipe} for name in BASES for recipe in RECIPES),
    seeds=tuple(range(6)),
    drawn={name: lab.like(name)[:N_BASES] for name in BASES},
    laboratory_only=True,
    claims=(
        Claim(
            id="smallest_base_ranks_recipes_as_largest",
            statement="Bases of 0.2 M rank recipes as bases of 4 M do: rank correlation above 0.5 (seen tasks)",
            published=Published(
                effect="the mixture that 1 M proxies predict is the best of 64 at 1 B",
                source="compare Liu 2024, abstract",
                url=REGMIX,
            ),
        ),
        Claim(
            id="smallest_base_ranks_recipes_as_largest_held_out",
            statement="Bases of 0.2 M rank recipes as bases of 4 M do: rank correlation above 0.5 (held-out tasks)",
            published=Published(
                effect="the mixture that 1 M proxies predict is the best of 64 at 1 B",
                source="compare Liu 2024, abstract",
                url=REGMIX,
            ),
        ),
        Claim(
            id="middle_base_ranks_recipes_as_largest",
            statement="Bases of 0.9 M rank recipes as bases of 4 M do: rank correlation above 0.5 (seen tasks)",
            published=Published(
                effect="the mixture that 1 M proxies predict is the best of 64 at 1 B",
                source="compare Liu 2024, abstract",
                url=REGMIX,
            ),
        ),
        Claim(
            id="smallest_base_decides_pairs_of_recipes",
            statement="Bases of 0.2 M put more than 70 % of the pairs of recipes in the order of bases of 4 M (seen tasks)",
            published=Published(
                effect="about 80 % of pairs right (150 M for 1 B, 25 corpora)", source="Magnusson 2025, abstract", url=DATADECIDE
            ),
        ),
        Claim(
            id="smallest_bases_pick_costs_largest_little",
            statement="The recipe that bases of 0.2 M find best costs bases of 4 M at most 6 points against their best other one (seen tasks)",
            published=Published(
                effect="the mixture that 1 M proxies predict is the best of 64 at 1 B",
                source="compare Liu 2024, abstract",
                url=REGMIX,
            ),
        ),
    ),
)
