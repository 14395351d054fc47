"""Content hashes of the laboratory: what its world says, and which instruction data it gives. No torch.

Rows and questions are made by programs, so some of what these make is hashed: what goes into them does not tell of their changes.
"""

from __future__ import annotations

import functools
import hashlib
import random
from dataclasses import asdict

from core.fields import content_hash
from core.lab import composed, corpus, disjoint, instruct, pairs, requests
from core.preference_settings import LAB_PAIRS

N_HASHED = 500  # rows


@functools.cache
def corpus_hash() -> str:
    """A hash of what the corpus says: 200 documents of every domain and dialogues, drawn from a fixed seed."""
    rng = random.Random("corpus hash")
    return content_hash({domain: [corpus.document(domain, rng) for _ in range(200)] for domain in corpus.SHARES})


@functools.cache
def version() -> str:
    """A hash of world, instruction data, questions and filter: the provenance of all but the composed sources."""
    synthetic = hashlib.sha256(instruct.SYNTHETIC_FILE.read_bytes()).hexdigest() if instruct.SYNTHETIC_FILE.exists() else "none"
    asked = [asdict(q) for split in ("validation", "test") for q in instruct.questions(split, 4)]
    facts = [asdict(q) for found in instruct.fact_questions("test").values() for q in found[:100]]
    return content_hash(
        {
            "corpus": corpus_hash(),
            "frames": requests.FRAMES,
            "sizes": [instruct.N_CURATED, instruct.N_LARGE, instruct.N_TAUGHT, instruct.PHRASINGS],
            "rows": instruct.curated(0, N_HASHED),
            "questions": asked + facts,
            "synthetic": synthetic,
            "filter": disjoint.FILTER,
        }
    )


@functools.cache
def version_of(source: str) -> str:
    """The provenance of a laboratory source: `version`, and for composed requests the rows and questions too, which came
    later (those of one fold: the compositions are the same in all); of a group its clusters; of pairs what is rejected."""
    if source == LAB_PAIRS:
        made = pairs.with_wrong_answers(instruct.curated(0, N_HASHED))
        return content_hash({"laboratory": version(), "rejected": [rejected for _, rejected in made]})
    if source in requests.GROUPS:
        return content_hash({"laboratory": version(), "clusters": requests.GROUPS[source]})
    if source not in requests.COMPOSED:
        return version()
    asked = [[q.id, q.prompt, q.answer] for split in ("validation", "test") for q in composed.questions(split, 50)]
    return content_hash({"laboratory": version(), "rows": composed.training_rows(source, 0), "questions": asked})
