"""Content hashes of the laboratory: what its world says, and which instruction data it gives. No torch."""

from __future__ import annotations

import functools
import hashlib
import random
from dataclasses import asdict

from core.fields import content_hash
from core.lab import composed, corpus, disjoint, instruct, requests


@functools.cache
def corpus_hash() -> str:
    """A hash of what the corpus says: 200 documents of every domain and dialogues, drawn from a fixed seed."""
    rng = random.Random("corpus hash")
    return content_hash({domain: [corpus.document(domain, rng) for _ in range(200)] for domain in corpus.SHARES})


@functools.cache
def version() -> str:
    """A hash of world, frames, instruction data and their filter: the provenance of all but the composed sources."""
    synthetic = hashlib.sha256(instruct.SYNTHETIC_FILE.read_bytes()).hexdigest() if instruct.SYNTHETIC_FILE.exists() else "none"
    sizes = {"n_curated": instruct.N_CURATED, "n_large": instruct.N_LARGE, "filter": disjoint.FILTER}
    sizes["new_facts"] = instruct.N_TAUGHT * instruct.PHRASINGS
    return content_hash(
        {
            "corpus": corpus_hash(),
            "frames": requests.FRAMES,
            "styles": [asdict(style) for style in requests.STYLES],
            "synthetic": synthetic,
        }
        | sizes
    )


@functools.cache
def version_of(source: str) -> str:
    """The provenance of a laboratory source: `version`, and for composed requests the rows and questions too, which came
    later (those of one fold: the compositions are the same in all); of a group its clusters."""
    if source in requests.GROUPS:
        return content_hash({"laboratory": version(), "clusters": requests.GROUPS[source]})
    if source not in requests.COMPOSED:
        return version()
    asked = [[q.id, q.prompt, q.answer] for split in ("validation", "test") for q in composed.questions(split, 50)]
    return content_hash({"laboratory": version(), "rows": composed.training_rows(source, 0), "questions": asked})
