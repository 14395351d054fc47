"""Do 1,000 curated examples match or beat 52,000 synthetic ones?

Claims after Zhou et al. 2023 (LIMA), Taori et al. 2023 (Alpaca) and Chen et al. 2023 (AlpaGasus: 9K of 52K kept by score). The synthetic
rows come from a weaker teacher by the Self-Instruct road. Of the 52,000 a fold of the laboratory gives 21,498 to 25,368
(core/lab/disjoint.py says which it leaves out). "Equal steps": the arm takes the steps of 1,000 examples in 3 epochs. "All": one epoch
over all of them, about eight times as many steps. "Best tenth": by the score that each synthetic row carries, the mean log-probability
that its teacher gave its own answer. "Homogeneous": right, curated rows of two clusters. The learning rate is tuned inside each arm.
Each seed holds out another quarter of the clusters, so that claims on held-out tasks speak for new clusters.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

LIMA = "https://arxiv.org/abs/2305.11206"
ALPAGASUS = "https://arxiv.org/abs/2307.08701"
STEPS = 189  # of 1,000 examples in 3 epochs, in batches of 16

EXPERIMENT = Experiment(
    name="quality_vs_quantity",
    question="Do 1,000 curated examples match or beat 52,000 synthetic ones?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"data.source": ("lab:curated", "lab:synthetic")},
    also=(
        {"data.source": "lab:synthetic", "data.n_examples": 4_000, "train.steps": STEPS},
        {"data.source": "lab:synthetic", "data.n_examples": 16_000, "train.steps": STEPS},
        {"data.source": "lab:synthetic", "data.n_examples": 4_000},
        {"data.source": "lab:synthetic", "data.n_examples": None, "train.epochs": 1.0},
        {"data.source": "lab:synthetic", "data.best_share": 0.1},
        {"data.source": "lab:synthetic", "data.best_share": 0.1, "data.n_examples": None},
        {"data.source": "lab:curated", "data.n_clusters": 2},
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    tune_again=2,
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={
        "data.held_out_fold": (0, 1, 2, 3),
        "model.name": lab.like("lab:base-0"),  # each fold on two of them
    },
    claims=(
        Claim(
            id="curated_matches_all_synthetic_seen",
            statement="1,000 curated examples match or beat all synthetic ones, one epoch (seen tasks; at most 2 points below)",
            published=Published(effect="LIMA 65B preferred to or equal with Alpaca 65B", source="Zhou 2023", url=LIMA),
        ),
        Claim(
            id="curated_beats_all_synthetic_held_out",
            statement="1,000 curated examples beat all synthetic ones, one epoch, on held-out tasks",
            published=Published(effect="LIMA 65B preferred to or equal with Alpaca 65B", source="Zhou 2023", url=LIMA),
        ),
        Claim(
            id="four_times_synthetic_no_gain",
            statement="Four times the synthetic data at equal epochs gives no gain (at most 3 points)",
            published=Published(effect="flat over a 16-fold increase", source="Zhou 2023, Fig. 6", url=LIMA),
        ),
        Claim(
            id="curated_beats_synthetic_at_equal_size",
            statement="Quality counts at equal volume: 1,000 curated (right, diverse) examples beat 1,000 synthetic (diverse) ones",
            published=Published(effect="3.83 against 3.33 of 6, 2,000 examples each", source="Zhou 2023, Fig. 5", url=LIMA),
        ),
        Claim(
            id="diverse_beats_homogeneous_held_out",
            statement="Diversity counts at equal volume: 1,000 examples of all clusters beat 1,000 of two clusters (held-out tasks)",
            published=Published(effect="3.83 against 3.49 of 6, 2,000 examples each", source="Zhou 2023, Fig. 5", url=LIMA),
        ),
        Claim(
            id="best_tenth_beats_all",
            statement="The best tenth of the synthetic rows by score (3 epochs) beats all of them (1 epoch, three times the steps)",
            published=Published(effect="9K of 52K preferred to all", source="Chen 2023", url=ALPAGASUS),
        ),
        Claim(
            id="best_tenth_beats_random_at_equal_size",
            statement="1,000 of the best tenth by score beat 1,000 drawn from all synthetic rows",
            published=Published(effect="9K chosen of 52K preferred to all", source="Chen 2023", url=ALPAGASUS),
        ),
    ),
)
