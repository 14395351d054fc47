"""The second stage of a training: on pairs of a chosen and a rejected answer, from the model that the first stage left.

Losses are those of TRL's DPOTrainer, and a test holds ours to them. The trainer itself is that of the first stage
(core/train.py), so that batches, schedule, states and signs are the same; DPOTrainer would bring none of these, copies the
adapter under a second name as the reference, which most methods cannot have, and reads `lm_head.weight` past trained rows. The
reference is the model itself before the first step: its log-probabilities are computed once, and no second model is held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase

from core import batches, head, resume, signs, train
from core.data.encode import EncodedPair
from core.preference_settings import CHOSEN, DPO, IPO
from core.signs import Sign
from core.train import ResponseTrainer
from core.training import Run, Trained

REFERENCE = "reference"
LOSS, MARGIN, ACCURACY, REWARD = "preference_loss", "reward_margin", "reward_accuracy", "chosen_reward"  # in a history


def dpo_loss(gains: torch.Tensor, lengths: torch.Tensor, beta: float) -> torch.Tensor:
    """(b,) of `gains` (2, b): by how much the log-probabilities of the chosen and of the rejected answers are above those of the
    reference (Rafailov et al. 2023, equation 7)."""
    return -logsigmoid(beta * (gains[0] - gains[1]))


def ipo_loss(gains: torch.Tensor, lengths: torch.Tensor, beta: float) -> torch.Tensor:
    """(b,) of gains a token, by the answers' `lengths` (2, b) (Azar et al. 2023, equation 17, with means as TRL has them)."""
    means = gains / lengths
    return (means[0] - means[1] - 1 / (2 * beta)) ** 2


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]] = {DPO: dpo_loss, IPO: ipo_loss}


def collate(pairs: Sequence[EncodedPair], pad: int) -> dict[str, torch.Tensor]:
    """The 2b sequences, chosen before rejected ones, as core/batches.py has them. `labels` (b,) say no more than how many pairs
    there are, which the Trainer counts by them; the tokens are `targets`."""
    found = batches.collate([*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)], pad)
    numbers = torch.tensor([pair.number for pair in pairs])
    return {**found, "targets": found["labels"], "labels": torch.zeros_like(numbers), "numbers": numbers}


def log_probabilities(model: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the answers (2, b), summed over their tokens in float32, and how many tokens these are (2, b)."""
    rows, columns = inputs["at"]
    each = head.log_probabilities(head.scored(model, inputs["input_ids"], (rows, columns)), inputs["targets"])
    zeros = torch.zeros(len(inputs["input_ids"]), device=each.device)
    sums, lengths = zeros.index_add(0, rows, each), zeros.index_add(0, rows, torch.ones_like(each))
    return sums.view(2, -1), lengths.view(2, -1)


class PreferenceTrainer(ResponseTrainer):
    """Of pairs; what the first stage's model holds of them is kept."""

    loss_name = LOSS

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        return collate(rows, self.pad)

    @torch.no_grad()
    def begin(self) -> None:
        signs.show(Path(self.how.output), Sign("reading pairs"))
        model: Any = self.model
        model.eval()
        found = torch.zeros(2, len(self.rows))
        ordered, size = sorted(self.rows, key=lambda pair: -len(pair.ids)), self.args.per_device_train_batch_size
        for start in range(0, len(ordered), size):
            inputs: Any = self._prepare_inputs(self.collate(ordered[start : start + size]))
            with self.accelerator.autocast():
                sums, _ = log_probabilities(model, inputs)
            found[:, inputs["numbers"].cpu()] = sums.float().cpu()
        self.kept[REFERENCE] = found

    def _told_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], n_items: Any) -> torch.Tensor:
        assert self.how.prefer is not None
        beta = self.how.prefer.beta
        sums, lengths = log_probabilities(model, inputs)
        gains = sums - self.kept[REFERENCE].to(sums.device)[:, inputs["numbers"]]
        loss = LOSSES[self.how.prefer.method](gains, lengths, beta).sum() / n_items
        margins = beta * (gains[0] - gains[1])
        beside = {MARGIN: margins, ACCURACY: (margins > 0).float(), REWARD: beta * gains[0]}
        means = {name: values.sum() / n_items for name, values in beside.items()}
        return self.noted(loss, inputs["n_tokens"].sum(), **means)


@contextlib.contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """As TRL has it: the reference is read without."""
    kept = {module: module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    try:
        for module in kept:
            module.p = 0.0
        yield
    finally:
        for module, share in kept.items():
            module.p = share


def begun(keeper: resume.Keeper | None) -> Trained | None:
    """What the first stage came to, where an earlier attempt has got into the second."""
    state = keeper.load() if keeper else None
    return Trained(**state.rest[resume.AFTER]) if state and resume.AFTER in state.rest else None


def fit(model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[EncodedPair], how: Run) -> Trained:
    """Trains the model in place, by `how.prefer` and after `how.after`."""
    assert how.prefer is not None
    if how.prefer.method == CHOSEN:
        return train.fit(model, tokenizer, [pair.chosen for pair in pairs], how)
    with _without_dropout(model):
        return train.fit(model, tokenizer, pairs, how, PreferenceTrainer)
