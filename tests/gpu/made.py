"""What first_minutes.py measures on: random Llamas in the shapes of known models, rows of random tokens, and steps on them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core import adapters, memory, model, skeleton, train
from core.batches import collate
from core.data.encode import Encoded
from core.hardware import Device
from core.settings import Full, Lora, Train, Trial
from core.training import Run, Trained

# vocabulary, width, layers, attention heads, key heads, MLP width: of Qwen2.5-0.5B, Llama-3.2-1B, Llama-3.1-8B
SHAPES = {
    "half": (151_936, 896, 24, 14, 2, 4_864),
    "one": (128_256, 2_048, 16, 32, 8, 8_192),
    "eight": (128_256, 4_096, 32, 32, 8, 14_336),
    "tiny": (2_000, 64, 2, 4, 2, 128),
}
TIED = ("half", "one", "tiny")


@dataclass(frozen=True)
class Case:
    """A training: the model's shape, the method, rows a step and their length in tokens, and how layers are kept."""

    shape: str
    method: str
    rows: int
    length: int
    checkpointing: bool
    cpu: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        return SHAPES["tiny" if self.cpu else self.shape]


def device(cpu: bool) -> Device:
    return Device() if cpu else Device(kind="cuda")


def configuration(case: Case) -> LlamaConfig:
    return llama(case.sizes, tied=case.cpu or case.shape in TIED)


def llama(sizes: Sequence[int], tied: bool = True) -> LlamaConfig:
    """Of these sizes, in the order of SHAPES, for the tokens of `tokenizer`."""
    vocabulary, width, layers, heads, keys, inner = sizes
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        intermediate_size=inner,
        max_position_embeddings=4_096,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def network(case: Case) -> Any:
    """A frozen Llama with random weights: bfloat16 on a GPU, float32 on a CPU."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if case.cpu else torch.bfloat16)
    try:
        with torch.device("cpu" if case.cpu else "cuda"):
            made = LlamaForCausalLM(configuration(case))
    finally:
        torch.set_default_dtype(usual)
    return made.requires_grad_(False).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, "a": 3}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="a")


def save(case: Case, folder: str) -> None:
    """As a checkpoint with a chat template that names no roles."""
    network(case).save_pretrained(folder)
    words = tokenizer()
    words.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    words.save_pretrained(folder)


def adapter(case: Case) -> Lora | Full:
    return Lora(rank=16) if case.method == "lora" else Full()


def adapted(own: Any, case: Case) -> nn.Module:
    return adapters.build(own, adapter(case), ()).model


def built(case: Case) -> nn.Module:
    """The model to train, as core/trial.py makes it; it holds the base, which stays as the reference."""
    base = network(case)
    kept = model.Base(base, tokenizer(), (), "", "", ())
    made = adapted(model.trial_copy(kept, case.method == "full"), case)
    object.__setattr__(made, "reference_base", base)
    return made


def estimated_gib(case: Case) -> float:
    """What core/memory.py says of it, from the configuration alone."""
    trial = Trial(adapter=adapter(case))
    with tempfile.TemporaryDirectory() as folder:
        configuration(case).save_pretrained(folder)
        base = skeleton.read(Path(folder))
        load = memory.load(trial, base, adapters.n_trained(trial, base), case.length, device(case.cpu).kind)
    return load.peak_bytes(case.rows, case.checkpointing) / memory.GIB


def rows(case: Case, steps: int) -> list[Encoded]:
    """Rows of random tokens, the second half of each learnt; of `length` tokens, or between half and one and a half of it where
    speed is measured (a length of 200)."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(case.rows * steps):
        uneven = case.length * (0.5 + torch.rand(1, generator=generator).item())
        length = int(uneven) if case.length <= 200 else case.length
        ids = torch.randint(3, case.sizes[0], (length,), generator=generator).tolist()
        made.append(Encoded(f"r{i}", ids, [0] * (length // 2) + [1] * (length - length // 2)))
    return made


def mean_tokens(case: Case, steps: int) -> float:
    """Of a step, without padding."""
    return sum(len(row.ids) for row in rows(case, steps)) / steps


def fit(made: nn.Module, case: Case, steps: int) -> Trained:
    settings = Train(steps=steps, batch_size=case.rows, learning_rate=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        how = Run(settings, 0, device(case.cpu), not case.cpu, folder, case.rows, case.checkpointing)
        return train.fit(made, tokenizer(), rows(case, steps), how)


def plain_fit(made: Any, case: Case, steps: int) -> Any:
    """The same by TRL's SFTTrainer as it comes, but for its reports and logs."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    given = [
        {"input_ids": row.ids, "labels": [token if learnt else -100 for token, learnt in zip(row.ids, row.mask, strict=True)]}
        for row in rows(case, steps)
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=case.rows,
            max_steps=steps,
            gradient_checkpointing=case.checkpointing,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=case.cpu,
            bf16=not case.cpu,
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            learning_rate=1e-4,
        )
        began = time.perf_counter()
        trainer = SFTTrainer(model=made, args=config, processing_class=tokenizer(), train_dataset=Dataset.from_list(given))
        trainer.train()
        return SimpleNamespace(seconds=time.perf_counter() - began)


def one_step(case: Case) -> Callable[[], None]:
    """Forward and backward of one batch, as training does it."""
    made = built(case)
    made.train()
    batch = {name: value.to("cpu" if case.cpu else "cuda") for name, value in collate(rows(case, 1), 0).items()}

    def step() -> None:
        with torch.autocast("cpu" if case.cpu else "cuda", torch.bfloat16, enabled=not case.cpu):
            loss = train.response_loss(made, batch)
        loss.backward()

    return step


def laboratory_losses(place: Device) -> list[float]:
    """Of ten steps of LoRA on the laboratory's base in float32."""
    from core.data import encode, selection
    from core.settings import Data, Model

    trial = Trial(model=Model(dtype="float32"), data=Data(n_examples=160), train=Train(steps=10))
    model.warm.clear()
    base = model.load(trial.model, place)
    encoded = encode.encode_all(base.tokenizer, selection.select(trial.data, trial.evaluation, 0).train, 256).rows
    torch.manual_seed(0)
    made = adapters.build(model.trial_copy(base, False), trial.adapter, base.new_tokens).model
    with tempfile.TemporaryDirectory() as folder:
        trained = train.fit(made, base.tokenizer, encoded, Run(trial.train, 0, place, False, folder))
    return [point["loss"] for point in trained.history]


def laboratory_trial(method: str, dtype: str, cpu: bool) -> dict[str, Any]:
    """A whole trial at the method's usual rate: what it found and what it took."""
    from core import preflight
    from core import trial as trials
    from core.settings import Data, Evaluation, Model

    rate, adapter = (3e-3, Lora(rank=16)) if method == "lora" else (6.3e-4, Full())
    asked = Trial(model=Model(dtype=dtype), adapter=adapter, train=Train(learning_rate=rate))
    if cpu:
        asked = replace(
            asked, data=Data(n_examples=32), train=replace(asked.train, epochs=1), evaluation=Evaluation(items_per_task=2)
        )
    with tempfile.TemporaryDirectory() as folder:
        result = trials.run(asked, preflight.provenance(asked), Path(folder), device(cpu))
    names = ("quality", "forgetting", "train/seconds", "eval/seconds", "peak_memory_gib")
    return {
        "state": str(result.state),
        "reason": result.reason[:200],
        "seconds": result.seconds,
        **{name: result.metrics.get(name) for name in names},
    }


class Joint(nn.Module):
    """A frozen linear layer under K adapters; the input's rows are K trials' rows, one trial after the other."""

    def __init__(self, base: nn.Linear, n_trials: int, rank: int) -> None:
        super().__init__()
        self.base, self.n_trials = base, n_trials
        place = base.weight.device
        self.a = nn.Parameter(torch.randn(n_trials, base.in_features, rank, device=place) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(n_trials, rank, base.out_features, device=place))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = torch.bmm(torch.bmm(x.reshape(self.n_trials, -1, x.shape[-1]), self.a), self.b)
        return self.base(x) + 2.0 * change.view(*x.shape[:-1], -1)


def joint_step(n_trials: int, cpu: bool) -> Callable[[], None]:
    """A step of K LoRA trials of the laboratory's base, 16 rows each, every layer adapted at rank 16; AdamW for all."""
    from core.data import encode, selection
    from core.settings import Data, Model

    base = model.load(Model(dtype="float32"), device(cpu))
    own = model.trial_copy(base, False)
    layers = [(name, layer) for name, layer in own.named_modules() if isinstance(layer, nn.Linear) and "lm_head" not in name]
    for name, layer in layers:
        parent, _, leaf = name.rpartition(".")
        setattr(own.get_submodule(parent), leaf, Joint(layer, n_trials, 16))
    trained = [parameter for parameter in own.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, fused=not cpu)
    found = selection.select(Data(n_examples=16), Trial().evaluation, 0).train
    batch: Sequence[Encoded] = encode.encode_all(base.tokenizer, found, 256).rows
    collated = {name: value.to("cpu" if cpu else "cuda") for name, value in collate(list(batch) * n_trials, 0).items()}

    def step() -> None:
        train.response_loss(own, collated).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
