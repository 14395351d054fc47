"""Runs trials of which each attempt but the last is killed at a step, for tests/test_resume.py: `python killed.py CASES FOLDER`.

CASES is a file of {name: {"trial": flat fields, "kills": [steps], "every": seconds}}; a trial named "x" goes to FOLDER/x, and
undisturbed to FOLDER/x-whole. Each attempt is a process of its own, forked before anything was computed: what a process has drawn
or kept warm is gone, and torch is imported once for all.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

from core import preflight, resume, trial, watcher  # noqa: E402
from core.fields import from_flat  # noqa: E402
from core.hardware import Device  # noqa: E402

AFTER_TRAINING = -1  # a kill while the tuned model is measured


def attempt(case: dict[str, Any], folder: Path, kill: int | None) -> None:
    ended, score = watcher.Watcher.on_step_end, trial._score

    def step_end(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        ended(self, args, state, control, **more)
        if state.global_step == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def scored(*arguments: Any) -> Any:
        if kill == AFTER_TRAINING:
            os.kill(os.getpid(), signal.SIGKILL)
        return score(*arguments)

    watcher.Watcher.on_step_end, trial._score = step_end, scored  # type: ignore[method-assign]
    made = from_flat(case["trial"])
    trial.run(made, preflight.provenance(made), folder, Device(checkpoint_seconds=case["every"]))


def forked(case: dict[str, Any], folder: Path, kill: int | None) -> None:
    child = os.fork()
    if not child:
        try:
            attempt(case, folder, kill)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) == (kill is not None), (folder, kill, status)


if __name__ == "__main__":
    import peft  # noqa: F401  # imported once, before the forks
    from transformers import GPT2LMHeadModel, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: F401

    gc.freeze()  # or each of them walks over all that is imported, again and again
    resume.LEAST_SHARE = 0  # a state at each step, however long it takes
    target = Path(sys.argv[2])
    for name, case in json.loads(Path(sys.argv[1]).read_text()).items():
        for kill in [*case["kills"], None]:
            forked(case, target / name, kill)
        forked(case | {"every": 1e9}, target / f"{name}-whole", None)
