"""A model behind an OpenAI-compatible endpoint. Its key is in the environment, goes to that host alone and is never shown."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput, message
from core.thoughts import THOUGHTS, after_thoughts

TRIES, WAIT_SECONDS, TIMEOUT_SECONDS = 4, 1.0, 120
LONGEST_WAIT_SECONDS = 60.0  # that a busy endpoint may ask for
MOST_SAID = 100_000  # bytes of an error that are read: a key in it is there as a whole, and taken out
AGAIN = (408, 409, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Said:
    """What the model wrote; `whole`: it ended by itself and was not cut."""

    text: str
    whole: bool = True


Ask = Callable[[Sequence[Mapping[str, str]], Mapping[str, object]], Said]  # messages; temperature, max_tokens, … → what it says


@dataclass(frozen=True)
class Place:
    """Where a model answers: a URL, what it is called there, the option that names the URL, and the environment variables of
    which the first that is set has the key."""

    url: str
    model: str
    field: str
    keys: tuple[str, ...]


def connect(place: Place, wait_seconds: float = WAIT_SECONDS) -> Ask:
    """What asks the model behind `url`/chat/completions.

    Raises:
        BadInput: the URL cannot be used; later, the endpoint does not answer as one.
    """
    url, field = place.url, place.field
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # read here, as it raises
    except ValueError:
        raise BadInput(f"{field}: not a URL; give one such as http://127.0.0.1:8000/v1", field=field) from None
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise BadInput(f"{field}: a URL without user, password and query, such as http://127.0.0.1:8000/v1", field=field)
    if parts.scheme not in ("http", "https"):
        raise BadInput(f"{field}={url}: must begin with http:// or https://", field=field)
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise BadInput(
            f"{field}={url}: not a URL, which has no spaces and no letters beyond ASCII; write them as %20", field=field
        )
    key = _key(place)
    if key and parts.scheme == "http" and not _is_here(parts.hostname):
        unset = " and ".join(place.keys)
        raise BadInput(f"{field}={url}: a key would be sent unencrypted; use https, or unset {unset}", field=field)
    target = url.rstrip("/") + ("" if url.rstrip("/").endswith("/chat/completions") else "/chat/completions")
    direct = [urllib.request.ProxyHandler({})] if _is_here(parts.hostname) else []  # a proxy would be told the key
    opener = urllib.request.build_opener(_NoRedirect, *direct)

    def ask(messages: Sequence[Mapping[str, str]], settings: Mapping[str, object]) -> Said:
        body = {"model": place.model, **settings, "messages": list(messages)}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(target, json.dumps(body).encode(), headers, method="POST")
        return _said(_sent(opener, request, key, (field, wait_seconds)), field)

    return ask


def _key(place: Place) -> str:
    """The key, without the end of line that a file of it leaves; "" where none is set.

    Raises:
        BadInput: no request can hold it.
    """
    name, key = next(((name, found) for name in place.keys if (found := os.environ.get(name, "").strip())), ("", ""))
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{place.field}: {name} is no key: it has line ends, or letters beyond ASCII; set it again", place.field)
    return key


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sent(opener: urllib.request.OpenerDirector, request: urllib.request.Request, key: str, how: tuple[str, float]) -> Any:
    """The answer's JSON; a busy endpoint is asked again. `how`: the option that names it, and the seconds of the first wait."""
    (field, wait_seconds), why, asked_wait = how, "", 0.0
    for n in range(TRIES):
        if n:
            time.sleep(max(wait_seconds * 2 ** (n - 1), asked_wait))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            why = f"HTTP {error.code}: {_told(error) or error.reason}"
            asked_wait = _retry_after(error)
            if error.code not in AGAIN:
                break
        except (OSError, http.client.HTTPException) as error:
            why = message(error)
        except (ValueError, RecursionError):
            why = "its answer is no JSON"
            break
    shown = message(ValueError(why.replace(key, "***") if key else why))
    raise BadInput(f"{field}: {request.full_url} does not answer ({shown[:200]})", field=field)


def _told(error: urllib.error.HTTPError) -> str:
    """What stands in an error's body, as far as it came."""
    with suppress(OSError, http.client.HTTPException):
        return error.read(MOST_SAID).decode("utf-8", "replace")
    return ""


def _retry_after(error: urllib.error.HTTPError) -> float:
    """The seconds that a busy endpoint asks to be left alone."""
    text = (error.headers.get("Retry-After") or "") if error.headers else ""
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isascii() and text.isdecimal() else 0.0


def _said(answer: Any, field: str) -> Said:
    """The reply without thoughts, as servers give them that do not take these out; where they were cut inside, nothing."""
    try:
        choice = answer["choices"][0]
        content = choice["message"]["content"]
        if content is None:  # cut before it began, or withheld
            content = ""
        if not isinstance(content, str):
            raise TypeError
        begun = THOUGHTS[1] in content and THOUGHTS[0] not in content
        return Said(after_thoughts(content, begun), choice.get("finish_reason") not in ("length", "content_filter"))
    except (KeyError, IndexError, TypeError, AttributeError):
        names = ", ".join(map(str, answer))[:100] if isinstance(answer, Mapping) else type(answer).__name__
        raise BadInput(f"{field}: not an answer of an OpenAI-compatible endpoint (it has: {names})", field=field) from None
