"""In which shares should sources be mixed?

Arms lie evenly over the shares of the sources (a simplex): each alone, mixtures of them, equal shares. A response surface is fitted to
them (Scheffé's mixture polynomials, and the exponential law of Ye et al. 2024) and told with the error that it has on mixtures left out
of the fit. In the laboratory the sources are curated rows of three kinds of tasks, and quality is over all of them. "The same amount" is
`data.amount`: equal steps here, so that rows of a source that runs out come again; `--set data.amount=epochs,steps,repetition` compares
all three meanings. All arms have one learning rate: in the first edition the best one hardly depended on the shares, and
a rate that is tuned with one run an arm would add its noise to the surface. A seed draws one of the laboratory's eight bases. With rows
of your own: `--data A,B` (two to four files), which measures quality on held-out rows of each in equal numbers; `--data A=1,B=3` on
three times as many of B.
"""

from core import lab
from core.data.shares import STEPS, simplex
from core.experiment import Claim, Experiment, Published
from core.settings import Data, Lora, Train, Trial

YE = "https://arxiv.org/abs/2403.16952"
SOURCES = "lab:lists=1+lab:words=1+lab:numbers=1"
LEVELS = simplex(3)

EXPERIMENT = Experiment(
    name="mixture",
    question="In which shares should sources be mixed?",
    base=Trial(
        adapter=Lora(rank=16), train=Train(learning_rate=2e-3), data=Data(source=SOURCES, shares=LEVELS[0], amount=STEPS)
    ),
    vary={"data.shares": LEVELS, "data.amount": (STEPS,)},
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="equal_shares_beat_every_single_source",
            statement="A mixture in equal shares beats each of its sources alone",
            published=Published(
                effect="mixtures of tasks beat fewer tasks at one size; no effect of shares alone taken", source="compare Wei 2021",
                url="https://arxiv.org/abs/2109.01652",
            ),
        ),
        Claim(
            id="equal_shares_lose_little_to_the_best_mixture",
            statement="Equal shares lose at most 3 points of quality to the best mixture on the response surface",
            published=Published(
                effect="tuned shares of domains: +6.5 points few-shot over default ones in pretraining (not checked beyond the abstract)",
                source="Xie 2023 (DoReMi)", url="https://arxiv.org/abs/2305.10429",
            ),
        ),
        Claim(
            id="surface_predicts_mixtures_left_out",
            statement="The response surface predicts mixtures that were left out of its fit to 3 points of quality (root mean square)",
            published=Published(
                effect="losses of mixtures not tried are predicted, in pretraining (no number taken)", source="Ye 2024", url=YE
            ),
        ),
    ),
)  # fmt: skip
