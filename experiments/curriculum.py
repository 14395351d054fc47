"""Does it help to train on easy rows first?

Sources disagree: Lee et al. 2023 report gains of instruction tuning from a curriculum, Wu et al. 2021 (images) none in usual training
but some in short training and with wrong labels; both abstracts were checked. A row is hard where the untuned base's loss on its
answer is high. Easy rows come first in every epoch, or in the first alone ("once"). Beside three epochs on right answers there are
arms of one epoch, with a quarter of wrong answers, and at a rate several times too high, where training is unsteady. Elsewhere the
learning rate is tuned in each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

WU, LEE = "https://arxiv.org/abs/2012.03107", "https://arxiv.org/abs/2310.09518"
TOO_HIGH = 3e-2  # where 1,000 examples of rank 16 are best at 3e-3 to 8e-3; moved with the width, as the range is

EXPERIMENT = Experiment(
    name="curriculum",
    question="Does it help to train on easy rows first?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"data.order": ("random", "easy-first", "hard-first", "easy-first-once")},
    also=tuple(
        {"data.order": order, name: value}
        for name, value in (("train.epochs", 1.0), ("data.noise_share", 0.25), ("train.learning_rate", TOO_HIGH))
        for order in ("random", "easy-first")
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    tune_again=2,
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="easy_first_beats_random_order",
            statement="Training on easy rows first, in every epoch, beats random order",
            published=Published(
                effect="+3.0 points on MMLU, +1.3 to +4.8 on three others; of images only marginal benefits (Wu 2021)",
                source="Lee 2023, abstract",
                url=LEE,
            ),
        ),
        Claim(
            id="hard_first_gains_at_most_3_points",
            statement="Training on hard rows first gains at most 3 points over random order",
            published=Published(
                effect="random order as good or better than curricula and anti-curricula", source="Wu 2021, abstract", url=WU
            ),
        ),
        Claim(
            id="easy_first_beats_random_order_in_one_epoch",
            statement="With one epoch instead of three, easy rows first beat random order",
            published=Published(effect="improves with a limited budget of training time", source="Wu 2021, abstract", url=WU),
        ),
        Claim(
            id="easy_first_beats_random_order_with_wrong_answers",
            statement="With 25 % wrong answers, easy rows first beat random order",
            published=Published(effect="improves with noisy data", source="Wu 2021, abstract", url=WU),
        ),
        Claim(
            id="easy_first_beats_random_order_at_high_rate",
            statement="At a learning rate several times too high, easy rows first beat random order",
            published=Published(
                effect="curricula help stability (a rule of practice; no measured effect found)", source="compare Wu 2021", url=WU
            ),
        ),
    ),
)
