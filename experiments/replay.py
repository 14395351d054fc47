"""What brings back what tuning makes the model forget?

Claims after Scialom et al. 2022 (1 % rehearsal), Ibrahim et al. 2024 (5 to 25 % replay) and Iyer et al. 2022 (OPT-IML, 5 %).
Pretraining documents are added to the 1,000 examples until they are the given share of all sequences, so steps grow with the share. The
instruction examples and the learning rate are the same in every arm. A document is longer than a row, and all of it is in the
loss; the report says which share of the tokens in the loss each share of the sequences is. Documents come from the whole corpus, or
from its programs alone. Code is 7 % of the corpus and no task of the tuning data.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Train, Trial

IBRAHIM = "https://arxiv.org/abs/2403.08763"

EXPERIMENT = Experiment(
    name="replay",
    question="How much replayed pretraining text brings back what tuning makes the model forget, and what does it cost?",
    base=Trial(adapter=Lora(rank=16), train=Train(learning_rate=2e-3)),
    vary={"data.replay_share": (0.0, 0.01, 0.05, 0.1, 0.25)},
    also=tuple({"data.replay_share": share, "data.replay_domain": "code"} for share in (0.05, 0.25, 0.4)),
    seeds=tuple(range(8)),
    with_seed={"data.held_out_fold": (0, 1, 2, 3), "model.name": lab.like("lab:base-0")},
    laboratory_only=True,
    claims=(
        Claim(
            id="replay_5_percent_reduces_forgetting",
            statement="Replayed pretraining text, 5 % of the sequences, reduces the rise on ordinary old text",
            published=Published(
                effect="rise .27 → about .06 nats at 5 % (405 M; not checked against the paper)",
                source="Ibrahim 2024",
                url=IBRAHIM,
            ),
        ),
        Claim(
            id="replay_1_percent_halves_forgetting",
            statement="Replayed pretraining text, 1 % of the sequences, removes at least half of the rise on ordinary old text",
            published=Published(
                effect="almost 100 % of accuracy kept at 1 %", source="Scialom 2022", url="https://arxiv.org/abs/2205.12393"
            ),
        ),
        Claim(
            id="replay_5_percent_reduces_what_is_lost",
            statement="Replayed pretraining text, 5 % of the sequences, reduces what is left of the rise after relearning",
            published=Published(effect="no measured effect found", source="compare Ibrahim 2024", url=IBRAHIM),
        ),
        Claim(
            id="replay_1_percent_costs_held_out",
            statement="Replayed pretraining text, 1 % of the sequences, costs more than 2 points on held-out tasks",
            published=Published(effect="no measured effect found", source="compare Ibrahim 2024", url=IBRAHIM),
        ),
        Claim(
            id="replay_10_percent_costs_little",
            statement="Replayed pretraining text, 10 % of the sequences, costs at most 4 points of quality on seen tasks",
            published=Published(
                effect="improves up to 10 %, then decreases", source="Iyer 2022", url="https://arxiv.org/abs/2212.12017"
            ),
        ),
        Claim(
            id="code_mix_halves_code_forgetting",
            statement="Code mixed in, 40 % of the sequences, removes at least half of the rise on ordinary code",
            published=Published(
                effect="about 40 % code in the mix: a practitioners' rule, no measured effect found",
                source="compare Ibrahim 2024",
                url=IBRAHIM,
            ),
        ),
    ),
)
