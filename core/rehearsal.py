"""Whether the libraries take a base model's files: tried before a sweep starts, in a process of its own as it needs torch.

A small base is loaded, read, written with and saved as a trial does it; of a larger one the model is built without its weights,
which still tells every name and shape that does not fit. What went well is remembered by content, so that it is tried once.

    python -m core.rehearsal TASK     prints {"refused": text, "field": field} as its last line; an empty text: all is well
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core import architecture, checkpoint, installation, quantized, remembered, weights
from core import base as bases
from core.data.rows import is_lab
from core.errors import BadInput, one_line
from core.fields import content_hash
from core.hardware import Device
from core.settings import Model

if TYPE_CHECKING:
    from core.model import Base

SMALL_BYTES = 100_000_000  # of weights, which are read in about a second
LIMIT_SECONDS = 300.0  # importing torch from a slow share takes a minute
TOKENS = 6
OF_SHAPES = re.compile(r"shape|size|dimension")  # in what torch says of matrices that do not fit
CODE = ("rehearsal.py", "model.py", "saved.py", "chat.py", "template.py", "data/encode.py", "tasks/generation.py")
BESIDE = ("generation_config.json", "*.py")  # read when a model is loaded, and no part of its content hash


def check(model: Model, base: bases.BaseFiles) -> None:
    """Tries the base, unless that went well before.

    Raises:
        BadInput: it cannot be loaded, or not computed with.
    """
    if is_lab(model.name):
        return
    files = [file for pattern in BESIDE for file in sorted(base.directory.glob(pattern)) if file.is_file()]  # no folder, no pipe
    beside = [checkpoint.file_hash(file) for file in files]
    versions = [installation.version(package) for package in installation.PACKAGES]
    asked = asdict(model) | {"name": "", "revision": ""}  # the hash says which model it is
    key = ["rehearsal", base.hash, beside, asked, versions, remembered.code_hash(CODE)]
    if remembered.recall(key) is None:
        found = _looked_at(model, content_hash(key))
        if isinstance(found, BadInput):
            raise BadInput(found.text, field=found.field)
        if found is None:
            remembered.keep(key, {"tried": True})


class Killed:
    """In the place of an answer: the process was killed, for its memory, say, of which a trial may have more."""


@functools.lru_cache(maxsize=16)
def _looked_at(model: Model, content: str) -> BadInput | Killed | None:
    """Once for all arms; a refusal is not remembered beyond this process, as it may lie in the machine."""
    return look(model)


def look(model: Model) -> BadInput | Killed | None:
    """What a process of its own says of the model; None if it is taken."""
    environment = installation.environment(PYTHONUTF8="1", CUDA_VISIBLE_DEVICES="")
    command = installation.command("core.rehearsal", json.dumps(asdict(model)))
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        text = f"transformers does not build it within {LIMIT_SECONDS:.0f} s; look at the sizes in its config.json"
        return BadInput(f"model.name={model.name}: {text}", field="model.name")
    if done.returncode:
        if done.returncode < 0:
            return Killed()
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return BadInput(f"model.name={model.name}: it cannot be tried ({said[-1]:.200})", field="model.name")
    found = json.loads(done.stdout.decode(errors="replace").strip().rpartition("\n")[2])
    return BadInput(found["refused"], field=found["field"]) if found["refused"] else None


def rehearse(model: Model) -> None:
    """Loads the base and does with it what a trial does, in this process.

    Raises:
        BadInput: it cannot be loaded, or not computed with.
    """
    import torch

    from core import hardware
    from core.model import read_anew

    files = bases.read(model)
    small = sum(path.stat().st_size for path in weights.files(files.directory)) <= SMALL_BYTES
    if not small and quantized.name_of(model, files.quantization) != "none":
        return  # it is packed while its weights are read
    try:
        base = read_anew(model, Device(), None if small else torch.device("meta"))
        _check_tokens(files, base)
        with torch.no_grad():
            _try_small(base) if small else _try_shapes(base)
    except BadInput:
        raise
    except Exception as error:  # the code of models raises what it likes
        if not hardware.is_out_of_memory(error):  # a trial may have more
            raise architecture.unusable(files.directory, model.name, error) from error


def _check_tokens(files: bases.BaseFiles, base: Base) -> None:
    """Every token of the tokenizer, with those that its settings add, has a row in the embeddings; special ones need none that
    are neither in the template nor an end, a beginning or padding.

    Raises:
        BadInput: some have none.
    """
    tokenizer = base.tokenizer
    ends = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
    special = {index: token.content for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    unused = {i for i, token in special.items() if token not in ends and token not in str(tokenizer.chat_template)}
    vocabulary = {i: token for token, i in tokenizer.get_vocab().items() if i not in unused.union(base.new_tokens)}
    last = max(vocabulary, default=-1)
    tokenizer("a", add_special_tokens=False, verbose=False)
    if files.vocabulary and last >= files.vocabulary:
        where = files.directory / "tokenizer_config.json"
        text = f"{vocabulary[last]!r} is token {last}, and the model has {files.vocabulary} (vocab_size); take it out"
        raise BadInput(f"model: {where}: {text}, or take the tokenizer that belongs to the model", field="model.name")


def _try_small(base: Base) -> None:
    """A few tokens as a trial trains on them, scores them, goes on from them; and a trial's files.

    Raises:
        BadInput: what comes out is not finite.
    """
    import torch

    from core import saved
    from core.tasks import generation

    model: Any = base.model
    ids = _ids(base)
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():  # a few tokens may not show it
            text = f"{name} has weights that are not finite: fetch the model again"
            raise BadInput(f"model.name={base.path}: {text}", field="model.name")
    model.train()
    model(input_ids=ids, use_cache=False)
    model.eval()
    logits = model(input_ids=ids, use_cache=False).logits
    if not torch.isfinite(logits).all():
        text = "its logits are not finite; its weights or the numbers in its config.json are damaged: fetch the model again"
        raise BadInput(f"model.name={base.path}: {text}", field="model.name")
    prompt = ids[0, : max(1, ids.shape[1] // 2)].tolist()
    generation.write(model, [prompt], generation.Decoding((len(base.tokenizer) + 1,), 2, 1))
    if not quantized.is_quantized(model):  # such weights are never saved
        with tempfile.TemporaryDirectory() as directory:
            saved.save(model, base.tokenizer, directory, sys.maxsize, Model(name=base.path))


def _try_shapes(base: Base) -> None:
    """A few tokens through a model without weights. Code that looks at values, and some kernels, cannot be tried so."""
    model: Any = base.model
    model.train()
    try:
        model(input_ids=_ids(base).to("meta"), use_cache=False)
    except NotImplementedError:
        return
    except RuntimeError as error:
        if "meta" in str(error) or not OF_SHAPES.search(str(error)):  # torch has no types of its own for these errors
            return
        raise


def _ids(base: Base) -> Any:
    """(1, n) ids of tokens that the model knows, as many as its context holds."""
    import torch

    network: Any = base.model
    n_known = min(len(base.tokenizer), network.get_input_embeddings().weight.shape[0])
    return (torch.arange(min(TOKENS, base.context_tokens or TOKENS)) % n_known)[None]


def main(task: str) -> None:
    refused = None
    with contextlib.redirect_stdout(sys.stderr):
        try:
            rehearse(Model(**json.loads(task)))
        except BadInput as error:
            refused = error
    print(json.dumps({"refused": refused.text if refused else "", "field": refused.field if refused else ""}))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # the parent tells it in one line
        sys.exit(one_line(error))
