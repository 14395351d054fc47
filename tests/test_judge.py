"""Pairs of answers are judged in both orders, by an endpoint or a local model; keys go nowhere but into the request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from analysis import judge
from analysis.scores import judged, judges
from core import endpoint
from core.endpoint import Said
from core.errors import BadInput

KEY = "sk-very-secret"


class Endpoint:
    """A server on this machine that answers each request with the next of `answers` (a status with a body), the last for ever; or
    prefers the longer answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                status, answer = endpoint.answer(body["messages"][0]["content"])
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://localhost:{endpoint.port}/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode() if not isinstance(answer, bytes) else answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, text: str) -> tuple[int, Any]:
        if self.answers:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        a, b = (text.split(f"[Answer {one}]\n")[1].split("\n\n")[0] for one in "AB")
        return 200, says("tie" if len(a) == len(b) else "The better one is A." if len(a) > len(b) else "B")


AnEndpoint = TypeVar("AnEndpoint", bound=Endpoint)


def says(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def served(made: AnEndpoint, keys: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[AnEndpoint]:
    """The server, until the test has ended; the user's own keys are not seen."""
    for name in keys:
        monkeypatch.delenv(name, raising=False)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(endpoint, "WAIT_SECONDS", 0.0)
    yield from served(Endpoint(), judges.KEYS, monkeypatch)


def test_pairs_are_judged_in_both_orders(
    server: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    table = [["p1", "r", "short", "much longer"], ["p2", "r", "longest of all", "mid"], ["p3", "r", "samest", "me […]"]]
    file = tmp_path / "generations.json"
    file.write_text(json.dumps({"columns": ["prompt", "right answer", "base", "tuned"], "data": table}))
    assert judge.main([str(file), "--judge", server.url, "--model", "m", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["score"] for one in found["pairs"]] == [1.0, 0.0, 0.5]
    assert (found["value"], found["n"], found["consistent"]) == (0.5, 3, 1.0)
    assert 0 < found["low"] < 0.5 < found["high"] < 1
    assert {one["path"] for one in server.asked} == {"/v1/chat/completions"}
    assert {(one["model"], one["temperature"], one["key"]) for one in server.asked} == {("m", 0, f"Bearer {KEY}")}
    texts = [one["messages"][0]["content"] for one in server.asked[:2]]
    assert [text.index("much longer") > text.index("short") for text in texts] == [False, True]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"prompt": p, "answer": "x" * 99}) + "\n" for p in ("p3", "p1", "unknown")))
    assert judge.main([str(other), str(file), "--judge", server.url, "--model", "m"]) == 0
    said, beside = capsys.readouterr()
    assert "2 won, 0 lost, 0 ties" in said
    assert "caution: 1 of 4 answers were cut ([…]); --set evaluation.max_new_tokens=N gives longer ones" in beside
    assert KEY not in said


def test_a_judge_of_places_makes_ties(server: Endpoint) -> None:
    server.answers = [(200, says("A"))]
    outcomes = judged.judge([judged.Pair("p", "one", "two")] * 4, judges.endpoint(server.url, "m"))
    found = judged.rate(outcomes)
    assert (found.value, found.consistent) == (0.5, 0.0)


def test_a_busy_endpoint_is_asked_again(server: Endpoint) -> None:
    server.answers = [(429, {}), (503, {}), (200, says("B"))]
    assert judges.endpoint(server.url, "m", 0.0)("which?") == "B"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("answers", "says_", "n"),
    [
        ([(401, {"error": f"bad key {KEY}"})], "HTTP 401", 1),
        ([(503, {})], "HTTP 503", endpoint.TRIES),
        ([(302, {})], "HTTP 302", 1),
        ([(200, b"<html>")], "its answer is no JSON", 1),
        ([(200, {"object": "list"})], "not an answer of an OpenAI-compatible endpoint (it has: object)", 1),
        ([(200, says("I cannot say."))], "the judge answers neither A nor B nor tie: 'I cannot say.'", 1),
        ([(200, says("<think>\nOkay, a user"))], "neither A nor B nor tie: nothing, as one does that thinks", 1),
    ],
)
def test_an_endpoint_that_does_not_answer_is_told(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch, answers: list[Any], says_: str, n: int
) -> None:
    monkeypatch.setenv("TUNELAB_JUDGE_KEY", KEY)
    server.answers = answers
    with pytest.raises(BadInput) as error:
        judges.endpoint(server.url, "m", 0.0)("which?")
    assert says_ in str(error.value)
    assert KEY not in str(error.value)
    assert error.value.field == "--judge"
    assert len(server.asked) == n


def test_a_key_is_not_sent_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://user:pw@127.0.0.1/v1", "http://127.0.0.1/v1?key=x", "http:///v1"):
        with pytest.raises(BadInput, match="a URL without user, password and query"):
            judges.endpoint(url, "m")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(BadInput, match="a key would be sent unencrypted") as error:
        judges.endpoint("http://judge.example/v1", "m")
    assert KEY not in str(error.value)
    judges.endpoint("https://judge.example/v1", "m")


def test_a_key_is_cut_out_as_a_whole_and_goes_past_no_proxy(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    long = KEY * 20  # longer than what is shown of an error
    monkeypatch.setenv("TUNELAB_JUDGE_KEY", f"{long}\n")  # as a file gives it
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answers = [(401, {"error": f"{'a bad key ' * 12}{long}"})]
    with pytest.raises(BadInput, match="HTTP 401") as error:
        judges.endpoint(server.url, "m", 0.0)("which?")
    assert "sk-" not in str(error.value)
    assert [one["key"] for one in server.asked] == [f"Bearer {long}"]


def test_what_no_request_can_hold_is_refused_before_one_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1/v 1", "http://127.0.0.1/vä"):
        with pytest.raises(BadInput, match="not a URL"):
            judges.endpoint(url, "m")
    for key in ("sk-very\nsecret", "sk-sécret"):
        monkeypatch.setenv("TUNELAB_JUDGE_KEY", key)
        with pytest.raises(BadInput, match="TUNELAB_JUDGE_KEY is no key") as error:
            judges.endpoint("http://127.0.0.1/v1", "m")
        assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A", "A"),
        ("b.", "B"),
        ("**Tie**", "tie"),
        ("The answer: B is better than A", "B"),
        ("TIE", "tie"),
        ("It's a tie.", "tie"),
        ("This is a close one, but B", "B"),
        ("After a careful look: B", "B"),
        ("A close call; B", "B"),
        ("A answers more correctly than B.", "A"),
        ("A beats B", "A"),
        ("A gives the right result.", "A"),
        ("B. Both are equally correct, but B is shorter", "B"),
        ("A. B is neither correct nor complete.", "A"),
        ("b is better", "B"),
        ("Answer b", "B"),
        ("A tie", "tie"),
        ("A is better", "A"),
        ("Neither A nor B", "tie"),
        ("Both are good, B is shorter", "B"),
        ("Both are good.", "tie"),
    ],
)
def test_what_a_judge_says(text: str, said: str) -> None:
    assert judged.reply(text) == said


def test_answers_are_paired_in_their_order_and_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"prompt": "p", "answer": text} for text in ("one\u2028more", "two")]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    first = judged.read(str(file))
    assert [one.second for one in judged.paired(first, [("p", "x"), ("q", "y"), ("p", "z")])] == ["x", "z"]
    assert judged.paired(first, [("p", "x"), ("p", "z")])[0].first == "one\u2028more"
    with pytest.raises(BadInput, match="'p' has 2 answers on one side and 1 on the other"):
        judged.paired(first, [("p", "x")])


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (None, "length", Said("", False)),
        (None, "stop", Said("")),
        ("half of", "content_filter", Said("half of", False)),
        ("<think>\nwell\n</think>\n\nApple", "stop", Said("Apple")),
        ("well</think>Apple", "stop", Said("Apple")),  # the server's template opened the thought
        ("<think>\nwell", "length", Said("", False)),
    ],
)
def test_what_an_endpoint_says_without_its_thoughts(server: Endpoint, content: str | None, reason: str, said: Said) -> None:
    server.answers = [(200, {"choices": [{"message": {"content": content}, "finish_reason": reason}]})]
    ask = endpoint.connect(endpoint.Place(server.url, "m", "--endpoint", ()))
    assert ask([{"role": "user", "content": "?"}], {}) == said


def test_wilsons_interval() -> None:
    won = [judged.Outcome(judged.Pair("p", "a", "b"), 1.0, ("A", "B"))] * 10
    found = judged.rate(won)
    assert (found.value, found.high) == (1.0, pytest.approx(1.0))
    assert found.low == pytest.approx(0.7225, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "says_"),
    [
        ([], "give two sides, or one that is judged against its base"),
        (["a.json", "b.json", "c.json", "--judge", "m"], "give two sides"),
        (["a.json"], "--judge: needs a URL or a local model"),
        (["a.json", "--judge", "http://127.0.0.1/v1"], "--model: an endpoint needs the judge's name"),
        (["a.json", "--judge", "m", "--question", "epoch"], "did you mean 'epochs'"),
        (["a.json", "--judge", "m", "--jugde", "x"], "--jugde: unknown; did you mean '--judge'"),
        (["no.json", "--judge", "m"], "no.json: no such file"),
    ],
)
def test_bad_commands_are_one_line(words: list[str], says_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge.main(words) == 2
    assert says_ in capsys.readouterr().err


def test_a_local_model_judges(make_model: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"prompt": "p", "answer": "a", "base": "b"}) + "\n")
    long = judge.main([str(file), "--judge", make_model("llama")])
    assert long == 2  # 128 positions do not hold the question
    assert "tokens, the judge reads 128" in capsys.readouterr().err
