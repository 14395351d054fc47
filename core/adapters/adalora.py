"""AdaLoRA's budget: which of its singular values stay is decided along the training, and a penalty keeps its matrices orthogonal.

PEFT decides from the gradients after each optimizer step; here it is told how many steps there are, and what it remembers is kept
with the training's state. The settings and the parameters are an entry of RECIPES as others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WARM, FINAL = 0.1, 0.3  # shares of the steps before the budget falls, and after it has reached its end
ORTHOGONAL = 0.1  # the penalty's weight; the paper's are 0.1 to 0.5
AVERAGES = ("exp_avg_ipt", "exp_avg_unc")  # what PEFT remembers of each weight: how important it is, and how surely
MASK = "mask"  # which singular values of a layer stay


def _tuner(model: Any) -> Any:
    """PEFT's AdaLoRA in a model; None in others."""
    found = getattr(model, "base_model", None)
    return found if hasattr(found, "rankallocator") else None


class Budget:
    """Of a training of `steps` optimizer steps. A later training of the same model leaves what was decided."""

    def __init__(self, tuner: Any, steps: int, again: bool) -> None:
        self.tuner, self.config, self.again = tuner, tuner.peft_config["default"], again
        # PEFT: from total_step − tfinal on, what was masked stays so; -1 is before the first step
        times = (-1, 0, 0) if again else (steps, int(WARM * steps), int(FINAL * steps))
        self.config.total_step, self.config.tinit, self.config.tfinal = times

    @classmethod
    def of(cls, model: Any, steps: int, again: bool = False) -> Budget | None:
        """None where the model has no AdaLoRA."""
        tuner = _tuner(model)
        return cls(tuner, steps, again) if tuner is not None else None

    def step(self, step: int, kept: dict[str, torch.Tensor]) -> None:
        """After optimizer step `step` (from 0), while its gradients are held. Adds what it remembers to `kept`."""
        import torch

        if self.config.rank_pattern or not self.again:
            self.tuner.update_and_allocate(step)
        for what in AVERAGES:
            own = getattr(self.tuner.rankallocator, what)
            kept |= {f"{what}|{name}": value for name, value in own.items()}
        kept |= {f"{MASK}|{name}": torch.tensor(mask) for name, mask in (self.config.rank_pattern or {}).items()}

    def take(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Goes on from what was kept."""
        device = next(self.tuner.parameters()).device
        held: dict[str, dict[str, torch.Tensor]] = {what: {} for what in (*AVERAGES, MASK)}
        for name, value in kept.items():
            what, _, weight = name.partition("|")
            if what in held:
                held[what][weight] = value.to(device)
        allocator = self.tuner.rankallocator
        for what in AVERAGES:
            setattr(allocator, what, held[what])
        allocator.ipt = dict(held[AVERAGES[0]])  # computed anew at each step; PEFT looks at its names
        self.config.rank_pattern = {name: mask.tolist() for name, mask in held[MASK].items()}


def penalty(model: Any) -> torch.Tensor | None:
    """How far AdaLoRA's matrices are from orthogonal ones, weighted, as PEFT adds it to losses that it computes itself; None for
    other methods."""
    import torch

    if _tuner(model) is None:
        return None
    found = [(name, one) for name, one in model.named_parameters() if "lora_A" in name or "lora_B" in name]
    products = [one @ one.T if "lora_A" in name else one.T @ one for name, one in found]
    apart = [torch.linalg.matrix_norm(one - torch.eye(len(one), device=one.device)) for one in products]
    return ORTHOGONAL * torch.stack(apart).mean()
