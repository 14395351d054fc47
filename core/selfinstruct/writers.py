"""Who writes: a model behind an endpoint, or one on this machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.endpoint import Ask, Said
from core.errors import BadInput
from core.selfinstruct import prompts
from core.selfinstruct.pipeline import Request, Writer

if TYPE_CHECKING:
    from core.model import Base
    from core.tasks.generation import Written

PROPOSAL_TOKENS = 400  # NEW_TASKS lines
BATCH = 8  # requests of a local model at a time


def endpoint(ask: Ask, answer_tokens: int, at_once: int) -> Writer:
    """Chat messages to an endpoint, `at_once` of them; each reply is given as it comes. After one that fails no other is sent."""

    def one(request: Request) -> Said:
        if request.instruction is None:
            return ask(request.chat, {"temperature": 1, "max_tokens": PROPOSAL_TOKENS, "seed": request.seed})
        return ask(request.chat, {"temperature": 0, "max_tokens": answer_tokens})

    def write(requests: Sequence[Request]) -> Iterator[dict[str, Said]]:
        over = threading.Event()

        def unless_over(request: Request) -> Said | None:
            try:
                return None if over.is_set() else one(request)
            except BaseException:
                over.set()
                raise

        with ThreadPoolExecutor(max_workers=at_once) as pool:
            waiting = {pool.submit(unless_over, request): request.key for request in requests}
            failed: BadInput | None = None
            try:
                for done in as_completed(waiting):
                    try:
                        said = done.result()
                    except BadInput as error:  # what others are answered meanwhile is kept
                        failed = failed or error
                    else:
                        if said is not None:
                            yield {waiting[done]: said}
            finally:
                over.set()  # where it is interrupted the pool waits for all that it was given
            if failed:
                raise failed

    return write


def local(name: str, answer_tokens: int) -> Writer:
    """A model on this machine: through its chat template where it brings one, else as a text that it goes on with. Proposals are
    sampled at temperature 1, answers are greedy. It is loaded when it is first asked, and BadInput says then why it can't be."""

    @functools.cache
    def loaded() -> _Local:
        from core import base as bases
        from core import chat, hardware
        from core import model as models
        from core.settings import Model

        settings = Model(name=name)
        chats = chat.choose(chat.own_template(bases.read(settings).directory), None).source is not None
        return _Local(models.load(settings, hardware.Device()), chats, answer_tokens)

    def write(requests: Sequence[Request]) -> Iterator[dict[str, Said]]:
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            yield dict(zip((one.key for one in batch), loaded().replies(batch), strict=True))

    return write


@dataclass(frozen=True)
class _Local:
    """A loaded base, whether it is asked in a chat, and how long its answers may be."""

    base: Base
    chats: bool
    answer_tokens: int

    def replies(self, batch: Sequence[Request]) -> list[Said]:
        """To requests of one kind: all are for proposals, or none is."""
        from core.data import encode
        from core.tasks import generation

        proposals, base = batch[0].instruction is None, self.base
        most = PROPOSAL_TOKENS if proposals else self.answer_tokens
        how = generation.Decoding(encode.end_ids(base.tokenizer), most, BATCH, batch[0].seed if proposals else None)
        found = generation.write(base.model, [self._ids(one, most) for one in batch], how)
        texts = generation.texts(base.tokenizer, found)
        if self.chats:
            texts = generation.answers_in(base.tokenizer, texts)
        return [self._said(*one) for one in zip(batch, texts, found, strict=True)]

    def _ids(self, request: Request, most: int) -> list[int]:
        """The request as tokens, with as many of its examples as leave room for the reply."""
        from core.tasks.measurement import context_of

        context = context_of(self.base.model)
        while True:
            ids = self._asked(request)
            if context is None or len(request.examples) < 2 or len(ids) + most <= context:
                return ids
            request = replace(request, examples=request.examples[1:])

    def _asked(self, request: Request) -> list[int]:
        from core.tasks import generation
        from core.tasks.prompts import Prompt

        tokenizer = self.base.tokenizer
        if not self.chats:
            return list(tokenizer(request.text, verbose=False)["input_ids"])
        try:
            return generation.prompt_ids(tokenizer, [Prompt(request.chat)])[0]
        except BadInput as error:
            raise BadInput(f"{request.place}: {error.text}" if request.place else error.text, field=error.field) from None

    def _said(self, request: Request, text: str, written: Written) -> Said:
        if self.chats:
            return Said(text, written.stopped)
        if request.instruction is None:
            return Said(prompts.begun(text, len(request.examples)))
        cut, stopped = prompts.until_stop(text)
        return Said(cut, stopped or written.stopped)
