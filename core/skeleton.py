"""A base model from its config.json alone: the model is built without memory for its weights, so every shape is what transformers
makes of the configuration, whatever the architecture. Needs torch, and no weights."""

from __future__ import annotations

from pathlib import Path

from core import architecture, checkpoint
from core.base import BaseFiles
from core.errors import BadInput, first_line, one_line
from core.naming import expanded

FILE = "config.json"
FIELD = "model.name"


def locate(where: str) -> Path:
    """The directory of a config.json: the file itself, its directory, or a hub id, of which only this file is fetched.

    Raises:
        BadInput: there is none.
    """
    path = expanded(FIELD, where)
    if path.is_file() and path.name == FILE:
        return path.parent
    if path.is_dir() and (path / FILE).is_file():
        return path
    if path.exists() or checkpoint.is_local(where):
        raise BadInput(f"{where}: no {FILE} there; give a directory that has one, the file itself, or a hub id", field=FIELD)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(where, FILE)).parent
    except Exception as error:  # no network, no such repository, gated: many kinds
        raise BadInput(
            f"{where}: neither a directory here nor a model that the hub gives ({first_line(error)})", field=FIELD
        ) from None


def read(directory: Path) -> BaseFiles:
    """The base with the shapes of its parameters, each once; tokens that a chat template would add are not counted.

    Raises:
        BadInput: the configuration is of no causal language model that transformers builds.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = architecture.read(directory, trust_remote_code=False)
    try:
        config = AutoConfig.from_pretrained(directory)
        config.quantization_config = None  # as it is unpacked
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # the code of models raises what it likes
        raise BadInput(f"{directory / FILE}: no model can be built of it ({one_line(error)})", field=FIELD) from None
    return BaseFiles(directory, settings, {name: tuple(parameter.shape) for name, parameter in model.named_parameters()})
