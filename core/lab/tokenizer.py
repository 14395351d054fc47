"""The laboratory's tokenizer: one token a word, the words of the world and of every phrase, and the chat's special tokens.

Pretraining meets every token but the padding, and each has an embedding of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.lab import corpus, requests, skills, talk, world
from core.lab.talk import ASSISTANT, END, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "<eos>", world.UNREADABLE
CONTEXT_TOKENS = 256
SPECIAL = (PAD, EOS, UNKNOWN, USER, ASSISTANT, END)

# A turn ends with a token of its own, which pretraining has seen in dialogues alone; a document ends with <eos>.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|> {% generation %}{{ message['content'] + ' <|end|>' }}{% endgeneration %}{{ ' ' }}"
    "{% else %}{{ '<|user|> ' + message['content'] + ' <|end|> ' }}{% endif %}"
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
    phrases += [*talk.ISLANDS, *talk.SHIPS, *talk.CAPTAINS, *talk.CARGO, *talk.WEATHER]
    phrases += [text for pair in (*talk.EXCHANGES, *talk.GREETINGS) for text in pair]
    phrases += [frame for frames in requests.FRAMES.values() for frame in frames]
    phrases += [text for style in requests.STYLES for text in (*style.asks, style.answer)]
    phrases += ["let def return print for in if else # [ ] + - = > ; ( ) :", "twice half of more less than the same as is"]
    phrases += ["even odd high low yes no", corpus.PARAGRAPH]
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
        additional_special_tokens=[USER, ASSISTANT, END],
        model_max_length=CONTEXT_TOKENS,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save(directory: Path) -> None:
    build().save_pretrained(directory)
