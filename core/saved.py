"""What a trial leaves for use: adapter or full weights, the tokenizer, how to generate, and a README that says how to load them.

Generation with what is saved stops where answers were taught to end: at the token that the chat template ends turns with.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import memory, quantized
from core.adapters import lora
from core.data import encode
from core.hardware import Device
from core.result import write_whole
from core.settings import Model, Trial
from core.template import TODAY

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

FOLDER = "adapter"  # of a trial's folder, adapter or not
REMOVED = "weights-removed.json"  # beside it, where the weights were removed: under which option, and how many bytes
LEFTOVERS = f".{FOLDER}-removed"  # what is being removed
FULL_WEIGHTS_BYTES = 100_000_000  # larger fully tuned models are measured, not kept, unless asked for: a sweep makes dozens
LOAD_WITH_PEFT = """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, GenerationConfig

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoPeftModelForCausalLM.from_pretrained(FOLDER)"""
LOAD_ON_BASE = """from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(BASE)
{resize}model = PeftModel.from_pretrained(base, FOLDER)"""
ON_BASE = "On a base that is loaded already (BASE: its name or folder)"  # before that code
OWN_CODE = "Its base brings code of its own, which runs as it is loaded (trust_remote_code)."
LOADS = re.compile(r"(Auto(?:Tokenizer|(?:Peft)?ModelForCausalLM)\.from_pretrained\([^)]*)")
DATE = re.compile(r"""strftime_now\((["'])([^"'{}]*)\1\)""")  # in a chat template
DATED = f"Its chat template writes {TODAY:%d %B %Y} for the date, as in training, where the base's writes that of the day."
OF_THE_DAY = f"Its chat template writes the date of the day; in training that was {TODAY:%d %B %Y}, whatever the day."
NEW_ROWS = "It holds rows of the embeddings for tokens that the base does not have."
LOAD_FULL = """from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)"""
NOT_FINAL = "not saved: tuning trials choose a setting, and nothing uses their weights"
_ASKED = """messages = [{"role": "user", "content": "Hello"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
settings = GenerationConfig.from_pretrained(FOLDER, max_new_tokens=64)"""
_SHOWN = "print(tokenizer.decode(written, skip_special_tokens=True))"
GENERATE = f"""{_ASKED}
written = model.generate(**inputs, generation_config=settings)[0][inputs["input_ids"].shape[1]:]
{_SHOWN}"""
# PEFT 0.21 hands virtual tokens to generate() under the name that the cache had before transformers 5.24: a prefix is left out,
# and prompts are put before every token again.
_VIRTUAL = f"""import torch

{_ASKED}
# Not by model.generate, which loses virtual tokens (PEFT 0.21 with transformers 5.24).
ids, n, network = inputs["input_ids"], model.active_peft_config.num_virtual_tokens, model.get_base_model()
mask = ids.new_ones(1, n + ids.shape[1])"""
_AFTER_PREFIX = f"""{_VIRTUAL}
ids = torch.cat([ids[:, :1].expand(1, n), ids], dim=1)
prefix = {{"past_key_values": model.get_prompt(1)}}
written = network.generate(input_ids=ids, attention_mask=mask, generation_config=settings, **prefix)[0][ids.shape[1]:]
{_SHOWN}"""
_AFTER_PROMPT = f"""{_VIRTUAL}
embedded = torch.cat([model.get_prompt(1), model.word_embeddings(ids)], dim=1)
written = network.generate(inputs_embeds=embedded, attention_mask=mask, generation_config=settings)[0]
{_SHOWN}"""
_GENERATING = {"PREFIX_TUNING": _AFTER_PREFIX, "PROMPT_TUNING": _AFTER_PROMPT, "P_TUNING": _AFTER_PROMPT}


def generating(config: Mapping[str, Any]) -> str:
    """The code that lets an adapter of this configuration (adapter_config.json) write."""
    return _GENERATING.get(str(config.get("peft_type")), GENERATE)


def on_base(n_rows: int) -> str:
    """The code that puts an adapter on a base; `n_rows`: of embeddings that the base then needs, 0 where its own do."""
    resize = f"if base.get_input_embeddings().weight.shape[0] < {n_rows}:\n    base.resize_token_embeddings({n_rows})\n"
    return LOAD_ON_BASE.format(resize=resize if n_rows else "")


def adapter_code(base: Model, config: Mapping[str, Any], n_rows: int) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What is worth a sentence about an adapter of this configuration, and the code that loads it, by what it is for. `base`: as
    the trial loaded it, with its type; `n_rows`: as in `on_base`."""
    head = quantized.code(base, base.dtype)
    options = f', dtype="{base.dtype}"' + (", quantization_config=quantized" if head else "")
    easy = head + LOAD_WITH_PEFT.replace("CausalLM.from_pretrained(FOLDER)", f"CausalLM.from_pretrained(FOLDER{options})")
    easy, beside = (trusting(base, code) for code in (easy, head + on_base(n_rows).replace("(BASE)", f"(BASE{options})")))
    notes = [NEW_ROWS] if n_rows else []
    notes += [OWN_CODE] if base.trust_remote_code else []
    if head:
        words = quantized.KINDS[base.quantization].words
        notes.append(f"It was trained on the base quantised to {words}; load the base so, or take merged weights.")
    return tuple(notes), (("", f"{easy}\n\n{generating(config)}"), (ON_BASE, beside))


def full_code(base: Model) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The same of fully tuned or merged weights."""
    return (OWN_CODE,) if base.trust_remote_code else (), (("", f"{trusting(base, LOAD_FULL)}\n\n{GENERATE}"),)


def trusting(base: Model, code: str) -> str:
    """The code that loads a model, which runs the model's own where the trial did."""
    return LOADS.sub(r"\1, trust_remote_code=True", code) if base.trust_remote_code else code


def save_trial(model: nn.Module, tokenizer: PreTrainedTokenizerBase, output: Path, trial: Trial, device: Device) -> str:
    """Saves a final trial's weights below its folder; what was done. Of fully tuned ones any number where that was asked for."""
    if trial.evaluation.split != "test":
        return NOT_FINAL
    base = replace(trial.model, dtype=memory.dtype(trial.model, device.kind))
    return save(model, tokenizer, str(output / FOLDER), sys.maxsize if device.keep_weights else FULL_WEIGHTS_BYTES, base)


def save(model: nn.Module, tokenizer: PreTrainedTokenizerBase, directory: str, full_limit_bytes: int, base: Model) -> str:
    """Saves an adapter in PEFT's format, or small full weights as safetensors, with the tokenizer. `base`: as the model was
    loaded, with its type. Returns what was done."""
    from peft import PeftModel
    from transformers import PreTrainedModel

    settings = _generation(model, tokenizer)
    if isinstance(model, PeftModel):
        # Not the embeddings: rows of new tokens are part of the adapter, the base's own rows did not change.
        _save_adapter(model, directory)
    else:
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        if size > full_limit_bytes:
            return f"not saved: {size / 1e6:.0f} MB of full weights are over the limit of {full_limit_bytes / 1e6:.0f} MB"
        assert isinstance(model, PreTrainedModel)
        model.generation_config = settings
        model.save_pretrained(directory)
    ending = encode.ending(tokenizer)
    ending.chat_template = undated(str(ending.chat_template))
    ending.save_pretrained(directory)
    settings.save_pretrained(directory)
    (Path(directory) / "README.md").write_text(_readme(model, tokenizer, base), encoding="utf-8")
    return "saved"


def n_bytes(trial_folder: Path) -> int:
    """What a trial's weights take on the disk, with the tokenizer and all that lies beside them."""
    return sum(path.stat().st_size for path in (trial_folder / FOLDER).rglob("*") if path.is_file())


def remove(trial_folder: Path, option: str) -> None:
    """Removes a trial's weights and records under which option; nobody sees half of them.

    Raises:
        OSError: they cannot be removed; they are there as before.
    """
    weights, record = trial_folder / FOLDER, trial_folder / REMOVED
    row = json.dumps({"option": option, "bytes": n_bytes(trial_folder)}).encode()
    with suppress(OSError):  # a full disk has room afterwards
        write_whole(record, row)
    try:
        weights.replace(trial_folder / LEFTOVERS)
    except OSError:
        record.unlink(missing_ok=True)
        raise
    clear_leftovers(trial_folder)
    with suppress(OSError):
        if not record.exists():
            write_whole(record, row)


def clear_leftovers(trial_folder: Path) -> None:
    """Ends a removal that was interrupted."""
    shutil.rmtree(trial_folder / LEFTOVERS, ignore_errors=True)


def removed_under(trial_folder: Path) -> str | None:
    """The option under which a trial's weights were removed, as it was given; None where none were."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((trial_folder / REMOVED).read_bytes())["option"])
    return None


def _save_adapter(model: Any, directory: str) -> None:
    if not lora.starts_from_base(model):
        model.save_pretrained(directory, save_embedding_layers=False)
        return
    kept = model.peft_config["default"]
    model.peft_config["default"], state = lora.plain(model)
    try:
        model.save_pretrained(directory, state_dict=state, save_embedding_layers=False)
    finally:
        model.peft_config["default"] = kept


def _generation(model: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The base's way of generating, which also ends where turns do."""
    from transformers import GenerationConfig

    settings = copy.deepcopy(model.generation_config)
    before = settings.eos_token_id
    known = before if isinstance(before, list) else [] if before is None else [before]
    ends = list(dict.fromkeys([*encode.end_ids(tokenizer), *known]))
    if ends:
        settings.eos_token_id = ends
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.pad_token_id
    try:
        settings.validate(strict=True)
    except ValueError:  # a base may come with settings that transformers does not save
        return GenerationConfig(eos_token_id=ends, pad_token_id=settings.pad_token_id, bos_token_id=settings.bos_token_id)
    return settings


def _readme(model: Any, tokenizer: PreTrainedTokenizerBase, base: Model) -> str:
    """How to load and use what lies beside it."""
    from peft import PeftModel

    template = encode.template_of(tokenizer)
    turn, dated = template.turn, date_notes(template.is_dated, undated(template.source))
    ends = (
        f"Answers end with {' or '.join(f'`{stop}`' for stop in turn.stops)}, where generation stops."
        if turn.stops
        else ("The chat template ends answers with no token of its own: generation does not stop by itself.")
    )
    if not isinstance(model, PeftModel):
        notes, parts = full_code(base)
        return _page("Fully tuned weights", [*notes, ends, *dated], parts)
    config: Any = model.peft_config["default"]
    needed = getattr(config, "trainable_token_indices", None) is not None
    inner: Any = model.get_base_model()
    notes, parts = adapter_code(base, config.to_dict(), inner.get_input_embeddings().weight.shape[0] if needed else 0)
    return _page("An adapter in PEFT's format", [*notes, ends, *dated], parts)


def undated(template: str) -> str:
    """The template with the date of training where it asks for the day's, in a format that it writes down."""
    return DATE.sub(lambda match: json.dumps(TODAY.strftime(match[2])), template)


def date_notes(asked: bool, template: str) -> list[str]:
    """What is to be known of the date that the template writes; `asked`: in training it asked for the day's."""
    if not asked:
        return []
    return [OF_THE_DAY if "strftime_now(" in template else DATED]


def pin_date(directory: Path, asked: bool) -> list[str]:
    """The same of the template in a tokenizer's directory, which gets the date of training wherever it can be written there."""
    file = directory / "chat_template.jinja"
    if not file.is_file():
        return []
    text = undated(file.read_text(encoding="utf-8"))
    file.write_text(text, encoding="utf-8")
    return date_notes(asked, text)


def _page(title: str, sentences: Sequence[str], parts: Sequence[tuple[str, str]]) -> str:
    blocks = [f"{words}:\n\n```python\n{code}\n```" if words else f"```python\n{code}\n```" for words, code in parts]
    return "\n\n".join([f"# {title}", " ".join([*sentences, "FOLDER is this folder."]), *blocks]) + "\n"
