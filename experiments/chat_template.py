"""Does the template of the questions have to match that of training, and do prompts belong in the loss?

Two rules of practice (compare Wei et al. 2021 and Shi et al. 2024): the template at inference must be the one of training, and the
loss is taken on response tokens only. Every arm trains on the same chats. The questions are put in the same template, in the words
of another one ("she said : … he said :"), or plainly, without any marks.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Trial

FLAN = "https://arxiv.org/abs/2109.01652"
MASKING = "https://arxiv.org/abs/2405.14394"

EXPERIMENT = Experiment(
    name="chat_template",
    question="Does the template of the questions have to match that of training, and do prompts belong in the loss?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"evaluation.chat": ("template", "other", "plain"), "train.loss_on": ("response", "all")},
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    laboratory_only=True,
    claims=(
        Claim(
            id="no_template_is_answered_worse",
            statement="Questions without the template of training are answered worse",
            published=Published(
                effect="the other way round: 37.3 against 55.2 (tuned without templates, asked with them)",
                source="Wei 2021, Fig. 8",
                url=FLAN,
            ),
        ),
        Claim(
            id="another_template_is_answered_worse",
            statement="Questions in the words of another template are answered worse",
            published=Published(
                effect="46.6 against 55.2 (tuned on dataset names, asked by instruction)", source="Wei 2021, Fig. 8", url=FLAN
            ),
        ),
        Claim(
            id="response_loss_beats_full_loss",
            statement="Loss on response tokens only gives better quality than loss on all tokens",
            published=Published(
                effect="the opposite where answers are short and prompts long",
                source="Shi 2024, Instruction Modelling",
                url=MASKING,
            ),
        ),
    ),
)
