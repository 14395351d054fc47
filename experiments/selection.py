"""Does selecting rows by a model's scores beat random ones, at equal tokens?

Sources disagree: Li et al. 2023 (IFD) and Zhao et al. 2024 (longest answers) report gains of selections from 52,000 Alpaca rows;
Xia et al. 2024 and Ivison et al. 2025 find random rows hard to beat. The abstracts were checked. Each seed draws 8,000 candidates;
every arm takes as many of them as together have the tokens of 1,000 random ones, so that compute is equal and rows and steps are not.
The untuned base scores them, or a smaller one (Superfiltering, Li et al. 2024). Of the synthetic rows that a program can judge 60 %
are wrong. The learning rate is tuned in each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Data, Lora, Trial

IFD, SUPER = "https://arxiv.org/abs/2308.12032", "https://arxiv.org/abs/2402.00530"
LONG, RANDOM = "https://arxiv.org/abs/2402.04833", "https://arxiv.org/abs/2410.09335"
IVISON = "https://arxiv.org/abs/2503.01807"
SMALLER = "lab:base-small-0"

EXPERIMENT = Experiment(
    name="selection",
    question="Does selecting rows by a model's scores beat random ones, at equal tokens?",
    base=Trial(adapter=Lora(rank=16), data=Data(source="lab:synthetic", n_candidates=8_000, budget="tokens")),
    vary={"data.select": ("random", "low-perplexity", "mid-perplexity", "high-perplexity", "high-ifd", "long", "k-centre")},
    also=(
        {"data.select": "low-perplexity", "data.scorer": SMALLER},
        {"data.select": "high-ifd", "data.scorer": SMALLER},
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    tune_again=2,
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="high_ifd_beats_random_rows",
            statement="Rows of high instruction-following difficulty beat random ones at equal tokens",
            published=Published(
                effect="5 to 10 % of Alpaca by IFD preferred to all of it (compared with all, not with random rows)",
                source="Li 2023 (from memory)", url=IFD,
            ),
        ),
        Claim(
            id="long_answers_beat_random_rows",
            statement="Rows with the longest answers beat random ones at equal tokens",
            published=Published(
                effect="1,000 longest of 52,000 preferred to LIMA's and AlpaGasus' rows (at equal rows)", source="Zhao 2024, abstract",
                url=LONG,
            ),
        ),
        Claim(
            id="low_perplexity_gains_at_most_3_points",
            statement="Rows that the base finds likely gain at most 3 points over random ones at equal tokens",
            published=Published(effect="self-scoring methods hardly beat random rows", source="Xia 2024, abstract", url=RANDOM),
        ),
        Claim(
            id="high_perplexity_falls_behind_random_rows",
            statement="Rows that the base finds unlikely are worse than random ones at equal tokens",
            published=Published(
                effect="many methods fall short of random rows (perplexity is not named)", source="compare Ivison 2025, abstract",
                url=IVISON,
            ),
        ),
        Claim(
            id="k_centre_beats_random_rows",
            statement="Rows chosen for diversity (k-centre) beat random ones at equal tokens",
            published=Published(
                effect="diversity counts more than quality (k-centre is not named)", source="compare Xia 2024, abstract", url=RANDOM
            ),
        ),
        Claim(
            id="smaller_scorer_selects_as_well",
            statement="A smaller base selects by IFD as well as the base itself (at most 3 points below)",
            published=Published(
                effect="weak and strong models agree on difficulty; tuned on a small one's choice, benchmarks improve (no number taken)",
                source="Li 2024, abstract", url=SUPER,
            ),
        ),
    ),
)  # fmt: skip
