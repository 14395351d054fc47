"""Which names are no task of the harness's. Asked in a process of its own, as the harness imports torch and reads 14,000 files;
that all are known is remembered for its version.

    python -m core.tasks.harness_names NAME...     prints, as its last line, {name: what helps} of the unknown ones
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from core import installation, remembered
from core.errors import nearest

LIMIT_SECONDS = 180.0  # 17 s on two cores; where it takes longer the trial tells


def unknown(names: Sequence[str]) -> dict[str, str]:
    """The names that the harness does not know, each with what helps; empty where it can't be asked."""
    key = ["harness names", installation.version("lm_eval"), *names]
    if not names or remembered.recall(key) is not None:
        return {}
    environment = installation.environment(PYTHONUTF8="1")
    command = installation.command("core.tasks.harness_names", *names)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=LIMIT_SECONDS)
        found: dict[str, str] = json.loads(done.stdout.decode(errors="replace").strip().rpartition("\n")[2])
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    if not found:
        remembered.keep(key, {"known": True})
    return found


def main(names: Sequence[str]) -> None:
    from lm_eval.tasks import TaskManager

    known = list(TaskManager().all_tasks)
    told = {name: nearest(name, known) for name in set(names) - set(known)}
    many = "give one of those that `lm-eval ls tasks` lists, or a task file of your own (FILE.yaml)"
    print(json.dumps({name: text if text.startswith("did you") else many for name, text in told.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
