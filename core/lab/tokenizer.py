"""The laboratory's tokenizer: one token a word, the words of the world and of every phrase, and the chat's special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.lab import corpus, requests, skills, world

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN, USER, ASSISTANT = "<pad>", "<eos>", "<unk>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, EOS, UNKNOWN, USER, ASSISTANT)

# The end of a turn is the end-of-text token, which pretraining has seen after every document; the role tokens it has not.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|> {% generation %}{{ message['content'] + ' <eos>' }}{% endgeneration %}"
    "{% else %}{{ '<|user|> ' + message['content'] + ' ' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def vocabulary() -> list[str]:
    """Special tokens, then every word the laboratory can say, sorted: the same list on every machine."""
    phrases: list[str] = [*world.LETTERS, *world.NUMBERS, *world.NOUNS, *world.ADJECTIVES, *world.COLOURS, *world.CATEGORIES]
    phrases += [*world.FIRST_NAMES, *world.LAST_NAMES, *world.second_language().values()]
    phrases += [value for values in world.ATTRIBUTES.values() for value in values]
    for skill in skills.SKILLS:
        phrases += [*skill.imperatives, skill.noun, skill.unread, skill.notation]
    phrases += [*corpus.PROSE_FORMS, *corpus.RAW_FORMS, *corpus.TEXTBOOK, *corpus.EVERYDAY, "it that"]
    phrases += [form for forms in corpus.FACT_FORMS.values() for form in forms]
    phrases += [frame for frames in requests.FRAMES.values() for frame in frames]
    phrases += ["let def return print for in if else # [ ] + - = > ; ( ) :", "twice half of more less than the same as is"]
    phrases += ["even odd high low yes no"]
    words = {word for phrase in phrases for word in phrase.split() if not word.startswith("{")}
    return [*SPECIAL, *sorted(words)]


def build() -> PreTrainedTokenizerFast:
    """The tokenizer as a Hugging Face fast tokenizer with its chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=256,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save(directory: Path) -> None:
    build().save_pretrained(directory)
