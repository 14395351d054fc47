"""Tasks of the Language Model Evaluation Harness, asked of the model in place, item by item (`pip install -e '.[lm-eval]'`).

`evaluation.lm_eval` names the harness's own task files (YAML; their data_files may be local, which needs no network) or tasks
that it knows, joined by +. Every metric of which more is better and whose numbers lie between 0 and 1 for all items (acc,
acc_norm, exact_match) becomes a measure, lm_eval:TASK/METRIC. `evaluation.shots` are its few-shot examples where above 0,
`evaluation.max_rows` its limit, `evaluation.lm_eval_chat` its --apply_chat_template.
"""

from __future__ import annotations

import copy
import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core import hardware, measures
from core.data import encode
from core.errors import BadInput, one_line
from core.tasks.measurement import Measurement, Subject
from core.tasks.task_files import FIELD, names

Items = dict[str, list[tuple[str, str, float]]]  # measure → task, item, score


def measure(subject: Subject) -> list[Measurement]:
    """Every score of every item."""
    evaluation = subject.trial.evaluation
    asked = names(evaluation)
    try:
        found = _scored(evaluated(subject, asked))
    except BadInput:
        raise
    except Exception as error:  # its loaders, templates and metrics raise what they like
        if hardware.is_out_of_memory(error) or hardware.is_lost(error):  # nobody's input is to blame
            raise
        raise BadInput(f"{FIELD}={evaluation.lm_eval}: the harness fails ({one_line(error)[:300]})", field=FIELD) from error
    if not found:
        text = "gives no score between 0 and 1 for each item, of which more is better"
        raise BadInput(f"{FIELD}={evaluation.lm_eval}: {text}", field=FIELD)
    return [
        Measurement(
            name,
            "other",
            tuple(task for task, _, _ in items),
            tuple(item for _, item, _ in items),
            np.array([score for _, _, score in items]),
            np.ones(len(items)),
        )
        for name, items in found.items()
    ]


def evaluated(subject: Subject, asked: list[str]) -> Mapping[str, Any]:
    """What the harness says of these tasks, with its samples."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    evaluation = subject.trial.evaluation
    model = HFLM(
        pretrained=subject.model,  # type: ignore[arg-type]  # a PEFT model does as well
        tokenizer=encode.ending(subject.tokenizer) if evaluation.lm_eval_chat else copy.deepcopy(subject.tokenizer),
        batch_size=evaluation.batch_size,
        truncation=True,
    )
    found = simple_evaluate(
        model,
        tasks=list(asked),
        task_manager=TaskManager(include_defaults=not all(Path(one).is_file() for one in asked)),
        num_fewshot=evaluation.shots or None,
        limit=evaluation.max_rows,
        apply_chat_template=evaluation.lm_eval_chat,
        bootstrap_iters=0,
        log_samples=True,
    )
    return found or {}


def _scored(results: Mapping[str, Any]) -> Items:
    """The scores of items, a list of them an item each, by metrics that are shares: one that is elsewhere than between 0 and 1
    for any item (a perplexity, a difference of likelihoods) is left out whole, as the mean of the rest would say nothing; and one
    of which less is better (an error rate), as it is no accuracy."""
    found: Items = defaultdict(list)
    others = set[str]()
    for task, samples in results.get("samples", {}).items():
        more_is_better = results.get("higher_is_better", {}).get(task, {})
        for sample in sorted(samples, key=lambda one: int(one["doc_id"])):
            filtered = "" if sample.get("filter", "none") == "none" else f"/{sample['filter']}"
            for metric in sample.get("metrics", ()):
                if more_is_better.get(metric) is False:
                    continue
                value = sample.get(metric)
                several = value if isinstance(value, list | tuple) else [value]
                name = re.sub(r"[^\w:/. -]", "_", f"{measures.HARNESS}{task}/{metric}{filtered}")
                for i, score in enumerate(several):
                    if isinstance(score, bool | int | float | np.number) and 0 <= float(score) <= 1:
                        item = f"{task}/{sample['doc_id']}" + (f"/{i}" if isinstance(value, list | tuple) else "")
                        found[name].append((task, item, float(score)))
                    else:
                        others.add(name)
    return {name: items for name, items in found.items() if name not in others}
