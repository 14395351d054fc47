"""A base is pretrained: its loop writes its state every few minutes and goes on from it, to the same weights bit for bit.

The state has the weights, the optimizers' moments, torch's random numbers and the step; the documents of the steps before are
drawn again. It is written by core/resume.py, as that of a trial is: whole, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core import resume
from core.lab.make import attention, recipe
from core.lab.make.recipe import STORED, Base
from core.result import write_whole
from core.resume import Keeper, State

CARD = "card.json"
TEACHER_SHARE = 0.35  # how far into pretraining the synthetic data's teacher is taken
TOLD_EVERY = 50  # steps
RANDOM_NUMBERS = "random numbers"


@dataclass
class Reading:
    """A base while it is pretrained: its weights, and how far it is."""

    base: Base
    model: LlamaForCausalLM
    vocabulary: PreTrainedTokenizerFast
    step: int = 0  # done
    seconds: float = 0.0  # of earlier attempts
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0  # seconds of all attempts, when it is pretrained

    def __post_init__(self) -> None:
        self.optimizers = recipe.optimizers(self.model, self.base.size)

    @property
    def spent(self) -> float:
        """Seconds, of all attempts."""
        return self.seconds + time.monotonic() - self.began

    def state(self) -> State:
        tensors = {f"model/{name}": weight for name, weight in self.model.named_parameters()}
        for i, optimizer in enumerate(self.optimizers):
            for parameter, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{i}/{parameter}/{name}": moment for name, moment in moments.items()}
        return State(self.step, tensors | {RANDOM_NUMBERS: torch.get_rng_state()}, {"seconds": self.spent})

    def restore(self, state: State) -> None:
        """Takes up the state, of the same base."""
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(state.tensors[f"model/{name}"])
        moments: dict[int, dict[int, dict[str, torch.Tensor]]] = {i: {} for i in range(len(self.optimizers))}
        for name, tensor in state.tensors.items():
            kind, *place = name.split("/")
            if kind == "optimizer":
                moments[int(place[0])].setdefault(int(place[1]), {})[place[2]] = tensor
        for i, optimizer in enumerate(self.optimizers):
            whole: dict[str, Any] = optimizer.state_dict()
            optimizer.load_state_dict({**whole, "state": moments[i]})
        torch.set_rng_state(state.tensors[RANDOM_NUMBERS])
        self.step, self.seconds = state.step, float(state.rest["seconds"])

    def learn(self, batch: torch.Tensor) -> torch.Tensor:
        """One optimizer step; the loss before it."""
        share = recipe.learning_rate_factor(self.step, self.base.n_steps)
        batch = batch.to(self.model.device)
        with torch.autocast(batch.device.type, dtype=torch.bfloat16):
            loss = self.model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()  # type: ignore[no-any-return]


Windows = Callable[[int], Iterator[torch.Tensor]]  # the batches from a step on


def read(reading: Reading, keeper: Keeper, windows: Windows, at_teacher: Callable[[], None]) -> None:
    """Trains in place over the base's tokens, from the keeper's last state on; `at_teacher` is called on the way."""
    if (state := keeper.load()) is not None:
        reading.restore(state)
        print(f"goes on at step {reading.step}", flush=True)
    elif keeper.trouble:
        print(f"begins anew; the state in {keeper.folder} is {keeper.trouble}", flush=True)
        keeper.trouble = ""
    first, n_steps = reading.step, reading.base.n_steps
    started = time.monotonic()
    reading.model.train()
    for batch in windows(first):
        if reading.step == n_steps:
            break
        with attention.used(reading.model):
            loss = reading.learn(batch)
        if reading.step == int(TEACHER_SHARE * n_steps):
            at_teacher()
        if keeper.due() or (first < reading.step == n_steps):
            keeper.save(reading.state())
            keeper.trouble and print(f"the state of step {reading.step} {keeper.trouble}", flush=True)
            keeper.trouble = ""
        if reading.step % TOLD_EVERY == 0 or reading.step == n_steps:
            a_step = (time.monotonic() - started) / (reading.step - first)
            told = f"{recipe.BATCH_TOKENS / a_step:,.0f} tokens/s  ETA {(n_steps - reading.step) * a_step / 60:.0f} min"
            print(f"step {reading.step}/{n_steps}  loss {loss.item():.3f}  {told}", flush=True)


@dataclass(frozen=True)
class Place:
    """Where a base is written, on how many threads it is made, how often its state is written, and whether the synthetic data's
    teacher is left there too."""

    folder: Path
    threads: int
    state_seconds: float
    teacher: bool


def pretrained(
    base: Base, vocabulary: PreTrainedTokenizerFast, made_of: Mapping[str, str], place: Place, windows: Windows
) -> Reading:
    """Pretrains a base, or goes on with it where its state is of the same text (`made_of`: its hashes), and writes weights and
    tokenizer. The state stays for whoever writes the card."""
    place.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(place.threads)
    torch.manual_seed(base.seed)
    model = recipe.build_model(base.size, vocabulary)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]  # transformers' stub
    print(f"{model.num_parameters():,} parameters, {len(vocabulary)} words, {base.n_tokens:,} tokens", flush=True)
    mark = {name: str(value) for name, value in asdict(base).items()}
    mark |= {"threads": str(place.threads), "torch": torch.__version__, "device": str(model.device), **made_of}
    reading = Reading(base, model, vocabulary)

    def at_teacher() -> None:
        if not place.teacher:
            return
        model.save_pretrained(place.folder / "teacher")
        vocabulary.save_pretrained(place.folder / "teacher")

    read(reading, Keeper(place.folder, mark, place.state_seconds), windows, at_teacher)
    reading.ended = reading.spent
    model.to(STORED).save_pretrained(place.folder)  # type: ignore[arg-type]  # transformers' stub
    model.float()
    vocabulary.save_pretrained(place.folder)
    return reading


def card_of(folder: Path) -> dict[str, Any] | None:
    """The card of the base that is finished in the folder; None where there is none."""
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card


def finish(folder: Path, card: Mapping[str, Any]) -> None:
    """Writes the card, which says that the base is finished; the state is needed no more."""
    write_whole(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())
    resume.clear(folder)


def described(reading: Reading, folder: Path) -> dict[str, Any]:
    """What every card says of a base."""
    return {
        "parameters": reading.model.num_parameters(),
        "seed": reading.base.seed,
        "tokens": reading.step * recipe.BATCH_TOKENS,
        "steps": reading.step,
        "torch": torch.__version__,
        "device": str(reading.model.device),
        "minutes": round(reading.ended / 60, 1),
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
