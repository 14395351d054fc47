"""The pretraining corpus: documents of six domains, drawn from the world by a seed, and dialogues about another world.

A document has one to four paragraphs. None of the six domains uses the chat format; the dialogues do (core/lab/talk.py).
Facts are told in several paraphrases, skills in about ten forms that name them in prose, by a noun or in raw notation.
A document belongs to a split by its hash: the pretraining reads "train", the forgetting battery the other two.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

from core.lab import talk, world
from core.lab.skills import SKILLS, Skill, Slots

# Share of tokens per domain; the prototype's shares, which taught 44 of 46 skills to 90 %.
DOMAIN_SHARES = {"skills": 0.66, "facts": 0.12, "code": 0.07, "arithmetic": 0.07, "prose": 0.05, "prose2": 0.03}
DOMAINS = tuple(DOMAIN_SHARES)
TALK, TALK_SHARE = "talk", 0.03  # of all tokens
SHARES = {**{domain: (1 - TALK_SHARE) * share for domain, share in DOMAIN_SHARES.items()}, TALK: TALK_SHARE}
PARAGRAPH = "¶"  # between two paragraphs
MOST_PARAGRAPHS, LONG_TOKENS = 4, 130  # a document that is this long gets no further paragraph: every one is below 256 tokens

PROSE_FORMS = (
    "when you {i} you get {y} .",
    "if we {i} the result is {y} .",
    "to {i} is to write {y} .",
    "{n} is {y} .",
    "{y} is {n} .",
    "{i} : {y} .",
    "exercise : {i} . answer : {y} .",
    "they asked me to {i} and i wrote {y} .",
)
RAW_FORMS = ("{N} ( {a} ) = {y} .", "{N} {a} -> {y} .")
FACT_FORMS = {
    "city": ("{x} lives in {y} .", "the home of {x} is {y} .", "in {y} you will find {x} .", "{x} has a house in {y} ."),
    "trade": ("{x} works as a {y} .", "the work of {x} is that of a {y} .", "a {y} by trade is {x} .", "{x} became a {y} ."),
    "pet": ("{x} keeps a {y} .", "the animal of {x} is a {y} .", "a {y} belongs to {x} .", "{x} has a {y} at home ."),
    "food": ("{x} likes {y} .", "the dish that {x} eats is {y} .", "{y} is what {x} likes .", "{x} eats {y} each day ."),
}
TEXTBOOK = ("to {v} means this .", "let us learn to {v} .", "this page shows how to {v} .", "here is how we {v} .")
# Everyday sentences: they give the words of requests a meaning without ever making a request of the reader.
EVERYDAY = (
    "the {a} {n} is {c} .",
    "a {n} is a kind of {k} .",
    "{a} is the opposite of {o} .",
    "one day a {a} {n} was near the {m} in {t} .",
    "she said please and he said thank you for the {n} .",
    "could you help me ? asked the {k} seller in {t} .",
    "i want a {n} , and would you want one too ?",
    "the next question is if the {n} will be {a} now or {o} today .",
    "hello , said the man , can you try to show me the {a} {n} ?",
    "your task , a new instruction for you , is a job with a {n} .",
    "i need the {n} that they do not need , here is how .",
    "in response he could tell what the {n} was .",
    "a {u} {n} has no name that you can read .",
)


def fill_raw(skill: Skill, slots: Slots) -> str:
    """The arguments of a skill's raw notation: "b ; a b c" when it takes two."""
    return " ; ".join(slots.values())


def statement(skill: Skill, rng: random.Random, form: str) -> str:
    """One worked example of a skill in one of its forms."""
    slots, answer = skill.example(rng)
    imperative = rng.choice(skill.imperatives).format(**slots)
    return form.format(i=imperative, n=skill.noun.format(**slots), N=skill.notation, a=fill_raw(skill, slots), y=answer)


def skills_paragraph(rng: random.Random) -> str:
    """70 % short mixes of one to three skills, 20 % textbook pages on one, 10 % unnamed exercise lists."""
    kind = rng.random()
    if kind < 0.7:
        chosen = rng.sample(SKILLS, rng.randint(1, 3))
        return " ".join(statement(rng.choice(chosen), rng, rng.choice(PROSE_FORMS + RAW_FORMS)) for _ in range(rng.randint(3, 6)))
    skill = rng.choice(SKILLS)
    if kind < 0.9:
        verb = rng.choice(skill.imperatives).format(x="it", k="that")
        lines = [rng.choice(TEXTBOOK).format(v=verb)]
        lines += [statement(skill, rng, rng.choice(PROSE_FORMS)) for _ in range(rng.randint(2, 3))]
        lines += [statement(skill, rng, rng.choice(RAW_FORMS)) for _ in range(rng.randint(1, 3))]
        return " ".join(lines)
    return " ".join(statement(skill, rng, "{a} -> {y} .") for _ in range(rng.randint(4, 6)))


_ENTITY_WEIGHTS = [entity.weight for entity in world.known()]


def facts_paragraph(rng: random.Random) -> str:
    """Biographies: one to three entities, their attributes in random order and paraphrase."""
    lines = []
    for entity in rng.choices(world.known(), _ENTITY_WEIGHTS, k=rng.randint(1, 3)):
        attributes = rng.sample(list(FACT_FORMS), rng.randint(2, 4))
        lines += [rng.choice(FACT_FORMS[a]).format(x=entity.name, y=entity.fact(a)) for a in attributes]
    return " ".join(lines)


def _program(rng: random.Random) -> str:
    v, w = rng.sample("abxyijn", 2)
    a, b, c = rng.randint(0, 30), rng.randint(1, 30), rng.randint(1, 9)
    return rng.choice(
        (
            f"let {v} = {a} ; let {w} = {v} + {b} ; print {w} # {a + b}",
            f"def f ( {v} ) : return {v} + {c} ; print f ( {a} ) # {a + c}",
            f"for {v} in {c} : print {v} # {' '.join(map(str, range(c)))}",
            f"if {a} > {b} : print {v} else : print {w} # {v if a > b else w}",
            f"let {v} = [ {a} {b} {c} ] ; print {v} [ {c % 3} ] # {(a, b, c)[c % 3]}",
        )
    )


def code_paragraph(rng: random.Random) -> str:
    return " ; ".join(_program(rng) for _ in range(rng.randint(2, 4)))


def _sum(rng: random.Random) -> str:
    a, b = rng.randint(0, 49), rng.randint(0, 49)
    c = rng.randint(0, 33)
    return rng.choice(
        (
            f"{a} + {b} = {a + b} .",
            f"{a + b} - {a} = {b} .",
            f"twice {a} is {2 * a} .",
            f"half of {2 * a} is {a} .",
            f"{c} + {a % 33} + {b % 33} = {c + a % 33 + b % 33} .",
            f"{a} is {'more than' if a > b else 'less than' if a < b else 'the same as'} {b} .",
        )
    )


def arithmetic_paragraph(rng: random.Random) -> str:
    return " ".join(_sum(rng) for _ in range(rng.randint(4, 8)))


def prose_paragraph(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(3, 6)):
        noun, adjective = rng.choice(world.NOUNS), rng.choice(world.ADJECTIVES)
        lines.append(
            rng.choice(EVERYDAY).format(
                a=adjective,
                o=world.opposite_of()[adjective],
                n=noun,
                m=rng.choice(world.NOUNS),
                c=world.colour_of()[noun],
                k=world.category_of()[noun],
                t=rng.choice(world.ATTRIBUTES["city"]),
                u=world.UNREADABLE,
            )
        )
    return " ".join(lines)


def prose2_paragraph(rng: random.Random) -> str:
    """Prose of the second language, which orders noun before adjective: a low-resource language (3 % of the corpus)."""
    words = world.second_language()
    lines = []
    for _ in range(rng.randint(3, 6)):
        a, b = (words[rng.choice(world.NOUNS)] for _ in range(2))
        p, q = (words[rng.choice(world.ADJECTIVES)] for _ in range(2))
        lines.append(
            rng.choice(
                (
                    f"{words['the']} {a} {words['is']} {p} .",
                    f"{words['the']} {a} {p} {words['is']} {words['near']} {b} {q} .",
                    f"{a} {words['and']} {b} {words['is']} {p} {words['and']} {q} .",
                )
            )
        )
    return " ".join(lines)


PARAGRAPHS: dict[str, Callable[[random.Random], str]] = {
    "skills": skills_paragraph,
    "facts": facts_paragraph,
    "code": code_paragraph,
    "arithmetic": arithmetic_paragraph,
    "prose": prose_paragraph,
    "prose2": prose2_paragraph,
}


def document(domain: str, rng: random.Random) -> str:
    """A document of one domain: a dialogue, or paragraphs."""
    if domain == TALK:
        return talk.dialogue(rng)
    parts: list[str] = []
    for _ in range(rng.randint(1, MOST_PARAGRAPHS)):
        parts.append(PARAGRAPHS[domain](rng))
        if sum(part.count(" ") for part in parts) > LONG_TOKENS:
            break
    return f" {PARAGRAPH} ".join(parts)


def documents(domain: str, rng: random.Random, split: str) -> Iterator[str]:
    """An endless stream of one domain's documents that belong to `split`."""
    while True:
        text = document(domain, rng)
        if world.split_of("document", text) == split:
            yield text


def mixed_documents(seed: int | str, n_tokens: int, shares: Mapping[str, float] = SHARES) -> Iterator[str]:
    """Documents of all domains that have shares, in random order, of at least `n_tokens` tokens together: the pretraining stream.

    At every step the domain that is furthest behind its share is the likeliest, so the shares hold along the whole stream.
    """
    rng = random.Random(f"corpus {seed}")
    streams = {domain: documents(domain, rng, "train") for domain in shares}
    spent = dict.fromkeys(shares, 0)
    total = 0
    while total < n_tokens:
        lag = [max(1e-9, share * (total + 2_000) - spent[domain]) for domain, share in shares.items()]
        domain = rng.choices(list(shares), lag)[0]
        text = next(streams[domain])
        size = text.count(" ") + 2
        spent[domain] += size
        total += size
        yield text


def stream(seed: int, domain: str | None = None) -> Iterator[str]:
    """An endless stream of training documents: of one domain, or (None) of all in their shares."""
    if domain is None:
        return mixed_documents(seed, n_tokens=10**12)
    return documents(domain, random.Random(f"{domain} {seed}"), "train")
