"""How the laboratory puts its requests: the sources of instruction data by name, the frames of each split, and a question."""

from __future__ import annotations

from dataclasses import dataclass

NEW_FACTS = "lab:new-facts"  # of people that pretraining never met; it asks for facts, so no fold may hold those out
SOURCES = ("lab:curated", "lab:synthetic")
COMPOSED = ("lab:composed", "lab:composed-traces")  # requests of two steps: bare answers, and answers with the steps
# Curated rows of the clusters of one kind: sources to mix. Each fold holds out some clusters of each.
GROUPS = {
    "lab:lists": ("order", "pick", "count", "trim", "expand", "judge"),
    "lab:words": ("lexicon", "translate", "facts"),
    "lab:numbers": ("arithmetic", "number", "neighbour"),
}
MIXED = (*SOURCES, *GROUPS)  # what can stand in a mixture
ALL_SOURCES = (*SOURCES, *GROUPS, NEW_FACTS, *COMPOSED)

# How a request is put around an imperative. No frame is in two splits.
FRAMES = {
    "train": (
        "{i} .",
        "please {i} .",
        "can you {i} ?",
        "i need you to {i} .",
        "your task is to {i} .",
        "help me : {i} .",
        "instruction : {i} . response :",
        "could you {i} for me ?",
        "now {i} , thank you .",
        "question : how do you {i} ?",
    ),
    "validation": ("i want you to {i} now .", "here is a task : {i} .", "would you {i} , please ?"),
    "test": ("try to {i} .", "the next job for you : {i} .", "hello , will you {i} today ?", "show me how you {i} ."),
}


@dataclass(frozen=True)
class Question:
    """One evaluation item: `prompt` and the one right `answer`;"""

    id: str
    task: str
    cluster: str
    prompt: str
    answer: str
