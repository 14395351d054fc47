"""Learning rates for a model of any width, by method, from what was published. Pure.

The questions' rates were made for the laboratory's base, which is 128 wide; a wider model takes lower ones. The rule is that of
Schulman et al. 2025 (LoRA Without Regret, https://thinkingmachines.ai/blog/lora/), fitted to 14 Llama and Qwen models: LoRA's
best rate is 5e-4 × (2000 / width)^p, whatever the rank, and that of full fine-tuning a tenth. What else is known agrees:

- the laboratory (width 128, rule: 4.2e-3 and 4.2e-4): best rates of its first edition 1e-3 to 7.2e-3 for LoRA, 8.3e-4 for full;
- muP (Yang et al. 2022), where Adam's rate goes with 1 / width: from 576 to 8,192, within a factor of 1.4 of the rule for full;
- a later sweep over 26 models by the same authors (tinker-cookbook, hyperparam_utils.py): 1e-4 to 1e-3 for LoRA, 0.3 to 3.5
  times the rule. A range reaches REACH to both sides.

LoRA's rule was fitted with alpha = 32, which is alpha / rank = 2 at rank 16.
"""

from __future__ import annotations

from collections.abc import Iterable

RATE = "train.learning_rate"
RATIO = "prefer.rate_ratio"  # of a second stage's rate over it
SOURCE = "Schulman 2025"
LABORATORY_WIDTH, LABORATORY_TYPE = 128, "llama"
FULL_RATE, AT_WIDTH = 5e-5, 2_000
LORA_OVER_FULL = 10.0
EXPONENT, QWEN_EXPONENT = 0.775, 0.0775  # of the width: Llama, taken for all others too; Qwen
REACH = 8.0  # times lower and higher than the rule: above its known error, and the 15 instead of 10 of short runs
DIGITS = 2  # of a rate that nobody typed


def rate_of(tuned: Iterable[str]) -> str | None:
    """The field of these that is a learning rate, or a second stage's share of it; None where none is."""
    names = set(tuned)
    return next((name for name in (RATE, RATIO) if name in names), None)


def best(width: int, model_type: str, full: bool) -> float:
    """The learning rate at which a model of this width is expected to learn best: of full fine-tuning, or of LoRA."""
    power = QWEN_EXPONENT if model_type.startswith("qwen") else EXPONENT
    return FULL_RATE * (1 if full else LORA_OVER_FULL) * (AT_WIDTH / width) ** power


def moved(rate: float, width: int, model_type: str, over_lora: float = 1.0) -> float:
    """A rate made for the laboratory's base, for a model of this width. `over_lora`: times this, for another method."""
    ratio = best(width, model_type, False) / best(LABORATORY_WIDTH, LABORATORY_TYPE, False)
    return rounded(rate * ratio * over_lora)


def around(centre: float, low: float, high: float) -> tuple[float, float]:
    """The range around a rate that is as wide as low..high, and at most REACH to both sides."""
    reach = min(REACH, (high / low) ** 0.5)
    return rounded(centre / reach), rounded(centre * reach)


def rounded(rate: float) -> float:
    return float(f"{rate:.{DIGITS}g}")


def text(rate: float) -> str:
    """A learning rate as people write it: 3.2e-3."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
