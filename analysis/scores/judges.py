"""The judges that can be asked: an OpenAI-compatible endpoint, or a local model."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from analysis.scores.judged import Judge, reply
from core.errors import BadInput, message

KEYS = ("TUNELAB_JUDGE_KEY", "OPENAI_API_KEY")  # environment variables; the first that is set
TRIES, WAIT_SECONDS, TIMEOUT_SECONDS = 4, 1.0, 120
AGAIN = (408, 409, 429, 500, 502, 503, 504)
FIELD = "--judge"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def endpoint(url: str, model: str, wait_seconds: float = WAIT_SECONDS) -> Judge:
    """A judge behind `url`/chat/completions. Its key, where it wants one, is in the environment and is never shown.

    Raises:
        BadInput: the URL cannot be used; later, the endpoint does not answer as one.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # read here, as it raises
    except ValueError:
        raise BadInput(f"{FIELD}: not a URL; give one such as http://127.0.0.1:8000/v1", field=FIELD) from None
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise BadInput(f"{FIELD}: a URL without user, password and query, such as http://127.0.0.1:8000/v1", field=FIELD)
    key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
    if key and parts.scheme == "http" and not _is_here(parts.hostname):
        raise BadInput(f"{FIELD}={url}: a key would be sent unencrypted; use https, or unset {' and '.join(KEYS)}", field=FIELD)
    target = url.rstrip("/") + ("" if url.rstrip("/").endswith("/chat/completions") else "/chat/completions")
    opener = urllib.request.build_opener(_NoRedirect)

    def ask(text: str) -> str:
        body = {"model": model, "temperature": 0, "max_tokens": 8, "messages": [{"role": "user", "content": text}]}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(target, json.dumps(body).encode(), headers, method="POST")
        return reply(_content(_sent(opener, request, key, wait_seconds)))

    return ask


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sent(opener: urllib.request.OpenerDirector, request: urllib.request.Request, key: str, wait_seconds: float) -> Any:
    """The answer's JSON; a busy endpoint is asked again."""
    why = ""
    for n in range(TRIES):
        if n:
            time.sleep(wait_seconds * 2 ** (n - 1))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read(300).decode("utf-8", "replace")
            why = f"HTTP {error.code}: {said or error.reason}"
            if error.code not in AGAIN:
                break
        except (OSError, http.client.HTTPException) as error:
            why = message(error)
        except ValueError:
            why = "its answer is no JSON"
            break
    shown = message(ValueError(why.replace(key, "***") if key else why))
    raise BadInput(f"{FIELD}: {request.full_url} does not answer ({shown[:200]})", field=FIELD)


def _content(answer: Any) -> str:
    try:
        content = answer["choices"][0]["message"]["content"]
        if not isinstance(content, str):
            raise TypeError
    except (KeyError, IndexError, TypeError):
        names = ", ".join(map(str, answer))[:100] if isinstance(answer, Mapping) else type(answer).__name__
        raise BadInput(f"{FIELD}: not an answer of an OpenAI-compatible endpoint (it has: {names})", field=FIELD) from None
    return content


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
