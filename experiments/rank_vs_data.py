"""When does rank start to matter?

Claims after Schulman et al. 2025 (LoRA Without Regret: rank matters where the data exceed the adapter's capacity) and after a
practitioners' rule: rank 64 nears full fine-tuning beyond 5,000 examples, and more than 128 adds little. The laboratory's base is 128
wide, so that its rank 128 is full rank. There are two kinds of data: curated rows bring out what pretraining left, new facts teach what
it did not hold. Few examples take the steps of many, and new facts stand beside as many curated rows, so that rank is
not compared with the length of training. The learning rate is tuned inside each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Data, Lora, Scalar, Trial

HU = "https://arxiv.org/abs/2106.09685"
SCHULMAN = "https://thinkingmachines.ai/blog/lora/"
FEW, MANY, TAUGHT = 250, 4_000, 2_000
STEPS = 750  # of 4,000 examples in 3 epochs, in batches of 16


def of_few(name: str, value: Scalar) -> dict[str, Scalar]:
    """The arm with this field on few examples and as many steps as many of them take: what differs is the data alone."""
    return {"data.n_examples": FEW, "train.steps": STEPS, name: value}


def of_new_facts(name: str, value: Scalar) -> dict[str, Scalar]:
    """The arm with this field on rows half of which teach new facts."""
    return {"data.source": "lab:new-facts", "data.n_examples": TAUGHT, name: value}


EXPERIMENT = Experiment(
    name="rank_vs_data",
    question="When does LoRA rank start to matter: do more data or new knowledge need more rank?",
    base=Trial(adapter=Lora(rank=16), data=Data(n_examples=MANY)),
    vary={"adapter.rank": (1, 16, 64, 128)},
    also=(
        {"adapter.method": "full"},
        *(of_few("adapter.rank", rank) for rank in (1, 16, 64)),
        of_few("adapter.method", "full"),
        *({"data.n_examples": TAUGHT, "adapter.rank": rank} for rank in (1, 64)),  # as many rows and steps as of new facts
        *(of_new_facts("adapter.rank", rank) for rank in (1, 16, 64)),
        of_new_facts("adapter.method", "full"),
    ),
    tune={
        "train.learning_rate": LogUniform(1.25e-4, 6.4e-2, grid=4)
    },  # first edition: 5e-4 to 1.6e-2 had four arms' best at an end
    tune_trials=6,
    tune_again=2,
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="rank_64_equals_full_at_4000",
            statement="Rank 64 equals full fine-tuning at 4,000 examples: neither below nor above it by more than 3 %",
            published=Published(effect="equal until capacity binds", source="Schulman 2025", url=SCHULMAN),
        ),
        Claim(
            id="rank_buys_more_with_more_data",
            statement="Rank buys more the more data there are: 64 against 1, at 4,000 against 250 examples and equal steps",
            published=Published(effect="low ranks fall behind as data grow", source="Schulman 2025", url=SCHULMAN),
        ),
        Claim(
            id="rank_128_adds_little",
            statement="More than rank 64 adds little: rank 128 is at most 2 points better (4,000 curated examples)",
            published=Published(
                effect="E2E validation loss 1.16 at rank 64, 1.16 at 128 and 512, 1.17 at 1,024",
                source="Hu 2021, Table 18",
                url=HU,
            ),
        ),
        Claim(
            id="rank_buys_more_with_new_facts",
            statement="Rank buys more of new facts than of curated tasks: recall of facts taught against quality, 64 against 1, 2,000 rows of each",
            published=Published(
                effect="low ranks fall behind where data exceed capacity; not measured by kind of data",
                source="compare Schulman 2025",
                url=SCHULMAN,
            ),
        ),
    ),
)
