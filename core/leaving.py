"""A trained model leaves: from a trial's folder to a directory that plain transformers and PEFT load, here or elsewhere.

An adapter is copied, with its base named as others know it. Merged weights are made on the base in the precision that the trial
was measured in (a quantised base is dequantised for it) and compared with the adapter in place.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import chat, checkpoint, quantized, saved, unchanged
from core.adapters import METHODS
from core.errors import BadInput
from core.fields import from_flat
from core.hardware import Device, n_cores
from core.result import FILE, Result
from core.settings import Model, Trial

if TYPE_CHECKING:
    import torch

SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)/snapshots/(?P<revision>[^/]+)")
UNKNOWN_LICENCE = "unknown: ask the base's owner"
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
PROBE = "Say in one sentence what you are."


@dataclass(frozen=True)
class Base:
    """The base that a trial was tuned on. `name`: as others know it, where they do (a hub id); `address`: what loads it here."""

    model: Model
    directory: Path
    name: str
    address: str
    revision: str | None
    licence: dict[str, str]  # the fields of its own model card

    @property
    def is_public(self) -> bool:
        """Whether its address is a hub id, good on any machine."""
        return self.address == self.name


@dataclass(frozen=True)
class Agreement:
    """How far the weights that left are from the trial's model in place, on one prompt."""

    largest_difference: float  # of a logit
    largest_logit: float
    same_tokens: bool  # whether the likeliest next token is the same everywhere


@dataclass(frozen=True)
class Left:
    """What was written: `kind` in words, what is worth a sentence, and the code that loads it, by what it is for."""

    kind: str
    notes: tuple[str, ...]
    code: tuple[tuple[str, str], ...]
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Source:
    """A finished trial whose weights were kept."""

    folder: Path
    trial: Trial
    result: Result

    @property
    def weights(self) -> Path:
        return self.folder / saved.FOLDER

    @property
    def is_adapter(self) -> bool:
        return (self.weights / checkpoint.ADAPTER).is_file()


def source(folder: Path) -> Source:
    """The trial in `folder`.

    Raises:
        BadInput: it has not finished, or its weights are not there.
    """
    if not (folder / FILE).is_file():
        raise BadInput(f"{folder}: no trial has finished there; if runs were moved, give --output")
    result = Result.read(folder / FILE)
    found = Source(folder, from_flat(result.trial), result)
    if not any(found.weights.glob("*.safetensors")):
        raise BadInput(f"{folder}: {why_not_kept(folder, result)}")
    return found


def why_not_kept(folder: Path, result: Result) -> str:
    """Why there are no weights, and what brings them."""
    if "kept_on" in result.facts:
        return f"its weights are on {result.facts['kept_on']}; copy them here, or export there"
    if option := saved.removed_under(folder):
        again = f"delete its {FILE} to train it again, with a larger budget or none"
        return f"its weights were removed under {option}; {again}"
    again = f"delete its {FILE}, and the sweep's command with --keep-weights runs that trial again"
    return f"its weights were measured and not kept; {again}"


def base_of(trial: Source, moved: str | None, name: str | None) -> Base:
    """The base of a trial, with the content that it was tuned on. `moved`: where it is now; `name`: what others call it.

    Raises:
        BadInput: it is not there, or another.
    """
    model = trial.trial.model if moved is None else replace(trial.trial.model, name=moved, revision=None)
    try:
        directory = checkpoint.locate(model)
        content = trial.result.provenance.get("model", "")
        unchanged.check("model.name", model.name, content, checkpoint.model_hash(directory))
    except BadInput as error:
        cause = "" if moved is None else " (--base)"
        raise BadInput(f"{error.text}{cause}; if the base was moved, say with --base DIR where it is now", "--base") from None
    hub = _hub(model.name, directory)
    if name is not None:
        return Base(model, directory, name, name, None, _licence(directory))
    if hub:
        return Base(model, directory, hub[0], hub[0], hub[1], _licence(directory))
    shown = model.name if model.name.startswith("lab:") else directory.resolve().name
    licence = {"license": "apache-2.0"} if model.name.startswith("lab:") else _licence(directory)
    return Base(model, directory, shown, str(directory.resolve()), None, licence)


def _hub(name: str, directory: Path) -> tuple[str, str | None] | None:
    """Hub id and revision of a base that came from the hub: asked for by its id, or by its place in the hub's cache."""
    cached = SNAPSHOT.search(directory.resolve().as_posix()) or SNAPSHOT.search(directory.absolute().as_posix())
    if cached:
        return f"{cached['owner']}/{cached['name']}", cached["revision"]
    return None if checkpoint.is_local(name) else (name, None)


def _licence(directory: Path) -> dict[str, str]:
    """The licence fields of the model card beside the weights, or config.json's; "unknown" where neither says."""
    readme, found = directory / "README.md", dict[str, Any]()
    if readme.is_file():
        from huggingface_hub import metadata_load

        try:
            found = metadata_load(readme) or {}
        except Exception:  # a card that is no YAML says nothing
            found = {}
    if not found.get("license"):
        try:
            found = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
    fields = {key: found[key] for key in ("license", "license_name", "license_link") if isinstance(found.get(key), str)}
    return fields if fields.get("license") else {"license": UNKNOWN_LICENCE}


def write(trial: Source, base: Base, target: Path, merged: bool) -> Left:
    """Writes the model into `target`, an empty directory, with tokenizer, chat template and generation settings."""
    method = METHODS[trial.trial.adapter.method]
    if merged and not method.merges:
        raise BadInput(f"--merged: what {method.label} learns is no part of any weight; leave it out", "--merged")
    for pattern in LICENCES:
        for file in base.directory.glob(pattern):
            if file.is_file():
                shutil.copyfile(file, target / file.name)
    if not trial.is_adapter:
        return _whole(trial, target)
    return _merged(trial, base, target) if merged else _adapter(trial, base, target)


def _copy(trial: Source, target: Path) -> None:
    for file in trial.weights.iterdir():
        if file.is_file() and file.name != "README.md":
            shutil.copyfile(file, target / file.name)


def _whole(trial: Source, target: Path) -> Left:
    _copy(trial, target)
    notes, code = saved.full_code(trial.trial.model)
    return Left("fully tuned weights (safetensors)", (*notes, *_dated(trial, target)), code)


def _adapter(trial: Source, base: Base, target: Path) -> Left:
    _copy(trial, target)
    path = target / checkpoint.ADAPTER
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.address, "revision": base.revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    dtype = trial.result.facts.get("dtype", "auto")
    notes, parts = saved.adapter_code(replace(trial.trial.model, dtype=dtype), config, _rows(target, config))
    return Left("adapter in PEFT's format (safetensors)", (*notes, *_dated(trial, target)), parts)


def _kind(trial: Source) -> str:
    """What the base was quantised to, in words."""
    return quantized.KINDS.get(trial.trial.model.quantization, quantized.KINDS["nf4"]).words


def _rows(directory: Path, config: dict[str, Any]) -> int:
    """How many rows the base's embeddings need for tokens that were added; 0 where none was."""
    trained = config.get("trainable_token_indices")
    if not trained:
        return 0
    ids = [index for rows in (trained.values() if isinstance(trained, dict) else [trained]) for index in rows]
    inner = chat.tokenizer(directory)
    return max(inner.get_vocab_size() if inner is not None else 0, max(ids) + 1)


def _merged(trial: Source, base: Base, target: Path) -> Left:
    import torch
    from peft import PeftModel

    from core import model as models
    from core import warm
    from core.tasks import generation
    from core.tasks.prompts import Prompt

    dtype = trial.result.facts.get("dtype", "float32")
    try:
        loaded = models.load(replace(base.model, dtype=dtype), Device(threads=n_cores()))
        ids = generation.prompt_ids(loaded.tokenizer, [Prompt.of(PROBE)])[0]
        in_place = PeftModel.from_pretrained(models.trial_copy(loaded, False), str(trial.weights))
        before = _logits(in_place, ids)
        del in_place
        network: Any = loaded.model
        packed = quantized.is_quantized(network)
        if packed:
            network = network.dequantize()
        tuned: Any = PeftModel.from_pretrained(network.float(), str(trial.weights)).merge_and_unload(safe_merge=True)
        models.round_parameters(tuned, getattr(torch, dtype))
        tuned.config.dtype = getattr(torch, dtype)
        saved.save(tuned, loaded.tokenizer, str(target), 1 << 62, trial.trial.model)
        after = _logits(tuned, ids)
    finally:
        warm.clear()  # the base that was kept is no longer the base
    agreement = Agreement(
        float((after - before).abs().max()), float(before.abs().max()), bool((after.argmax(-1) == before.argmax(-1)).all())
    )
    text = f"The base had been quantised to {_kind(trial)}: the adapter is merged into the base dequantised from it."
    notes, code = saved.full_code(trial.trial.model)
    notes = (*notes, *((text,) if packed else ()), *_dated(trial, target))
    return Left(f"merged weights in {dtype} (safetensors)", notes, code, agreement)


def _dated(trial: Source, target: Path) -> list[str]:
    """What the template that leaves says of the day, which is that of training as far as it can be written into it."""
    return saved.pin_date(target, "whatever the day" in trial.result.facts.get("template_date", ""))


def _logits(network: Any, ids: Sequence[int]) -> torch.Tensor:
    import torch

    with torch.no_grad():
        found: torch.Tensor = network.eval()(torch.tensor([list(ids)])).logits.float()
    return found
