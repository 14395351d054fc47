"""The judges that can be asked: an OpenAI-compatible endpoint, or a local model."""

from __future__ import annotations

from analysis.scores.judged import Judge, reply
from core.endpoint import WAIT_SECONDS, Place, connect
from core.errors import BadInput

KEYS = ("TUNELAB_JUDGE_KEY", "OPENAI_API_KEY")  # environment variables; the first that is set
FIELD = "--judge"


def endpoint(url: str, model: str, wait_seconds: float = WAIT_SECONDS) -> Judge:
    """A judge behind `url`/chat/completions. Its key, where it wants one, is in the environment and is never shown.

    Raises:
        BadInput: the URL cannot be used; later, the endpoint does not answer as one.
    """
    asked = connect(Place(url, model, FIELD, KEYS), wait_seconds)
    settings = {"temperature": 0, "max_tokens": 8}
    return lambda text: reply(asked([{"role": "user", "content": text}], settings).text)


def local(name: str) -> Judge:
    """A model on this machine: of the next tokens A and B, which it holds for the likelier after its chat template's opening."""
    import torch

    from core import hardware
    from core import model as models
    from core.settings import Model
    from core.tasks import generation
    from core.tasks.measurement import context_of, device_of
    from core.tasks.prompts import Prompt

    base = models.load(Model(name=name), hardware.Device())
    letters = [base.tokenizer(letter, add_special_tokens=False)["input_ids"][-1] for letter in "AB"]

    @torch.no_grad()
    def ask(text: str) -> str:
        ids = generation.prompt_ids(base.tokenizer, [Prompt.of(text)])[0]
        if (context := context_of(base.model)) is not None and len(ids) > context:
            raise BadInput(f"{FIELD}={name}: a pair has {len(ids)} tokens, the judge reads {context}", field=FIELD)
        logits = base.model(input_ids=torch.tensor([ids], device=device_of(base.model))).logits[0, -1]
        return "AB"[int(logits[letters].argmax())]

    return ask
