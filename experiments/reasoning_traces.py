"""Do step-by-step answers help on tasks of several steps, beyond the tokens that they cost?

Claims after Magister et al. 2022, Hsieh et al. 2023 and Mukherjee et al. 2023 (Orca). Requests compose two list skills that pretraining
taught singly ("reverse a b c d and then double each of it"). The same requests are answered by the final result alone, or with the
result of the first step before it. The model writes its answers by itself, steps included, and only the final one counts.

A trace makes a row longer, so equal examples are not equal tokens.
- Equal tokens: EQUAL_TOKENS traces are as many training tokens, requests included, as 1,000 bare rows. This is what one pays for. The
  other way round, 1,000 bare rows run for BARE_EPOCHS passes.
- Equal response tokens, which alone are in the loss: EQUAL_RESPONSE_TOKENS traces. This is the harder test for traces.
In use traces stay dearer: 2.1 times the tokens an answer. The learning rate is tuned inside each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Data, Lora, Trial

BARE, TRACES = "lab:composed", "lab:composed-traces"
EQUAL_TOKENS, EQUAL_RESPONSE_TOKENS = 800, 485  # measured on all 8,000 rows: 26.2 against 32.6 tokens, 6.1 against 12.5
BARE_EPOCHS = 3.74  # × 1,000 bare rows: the tokens of 1,000 traces in 3 epochs

EXPERIMENT = Experiment(
    name="reasoning_traces",
    question="Do step-by-step answers help on tasks of two steps, beyond the tokens that they cost?",
    base=Trial(adapter=Lora(rank=16), data=Data(source=BARE)),
    vary={"data.source": (BARE, TRACES)},
    also=(
        {"data.source": TRACES, "data.n_examples": EQUAL_TOKENS},
        {"data.source": TRACES, "data.n_examples": EQUAL_RESPONSE_TOKENS},
        {"data.source": BARE, "train.epochs": BARE_EPOCHS},
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    tune_again=2,
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="traces_beat_bare_at_equal_examples",
            statement="With traces more final answers are right than with bare answers, at equal examples",
            published=Published(
                effect="8.11 to 21.99 % (T5 XXL on GSM8K, tuned on chains of thought)",
                source="Magister 2022",
                url="https://arxiv.org/abs/2212.08410",
            ),
        ),
        Claim(
            id="traces_beat_bare_at_equal_tokens",
            statement="With traces more final answers are right, at equal training tokens",
            published=Published(
                effect="better than fine-tuning on labels with much fewer examples; tokens not equalised",
                source="Hsieh 2023",
                url="https://arxiv.org/abs/2305.02301",
            ),
        ),
        Claim(
            id="traces_beat_bare_on_unseen_compositions",
            statement="With traces more final answers are right on compositions never trained, at equal examples",
            published=Published(
                effect="Orca 13B above Vicuna 13B by more than 100 % on zero-shot Big-Bench Hard; data differ too",
                source="Mukherjee 2023",
                url="https://arxiv.org/abs/2306.02707",
            ),
        ),
        Claim(
            id="traces_beat_bare_at_equal_response_tokens",
            statement="With traces more final answers are right, at equal response tokens",
            published=Published(
                effect="better than fine-tuning on labels with much fewer examples; tokens not equalised",
                source="Hsieh 2023",
                url="https://arxiv.org/abs/2305.02301",
            ),
        ),
        Claim(
            id="traces_beat_more_passes_over_bare",
            statement="More passes over bare answers do not make up for traces, at equal training tokens",
            published=Published(
                effect="no measured effect found", source="compare Hsieh 2023", url="https://arxiv.org/abs/2305.02301"
            ),
        ),
    ),
)
