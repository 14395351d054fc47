"""What a model thinks before it answers, where it marks it with words that are no special tokens (Qwen3, DeepSeek-R1)."""

from __future__ import annotations

THOUGHTS = ("<think>", "</think>")  # around them


def after_thoughts(text: str, begun: bool) -> str:
    """The answer without the thoughts before it; nothing where they do not end. `begun`: the prompt ends with their opening
    mark."""
    opens, closes = THOUGHTS
    return text.partition(closes)[2].strip() if begun or text.lstrip().startswith(opens) else text


def begins(opening: str) -> bool:
    """Whether the model's turn opens with a thought that it is to end."""
    return THOUGHTS[0] in opening and THOUGHTS[1] not in opening
