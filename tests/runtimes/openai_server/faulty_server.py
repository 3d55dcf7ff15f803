"""A server that speaks like vLLM, says the alphabet, and does one thing wrong if it is told to."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.runtimes.base import LoadSettings, ModelFacts, Prompt
from qgate.runtimes.openai_server.adapter import OpenAIServer
from qgate.runtimes.openai_server.options import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BOS, END, FIRST = 1, 2, 3
VOCABULARY = FIRST + 256
CONTEXT = 128
KEY = "sk-very-secret-0123456789"
LETTERS = "abcdefgh"
"""What it says before it ends, or again and again."""


@dataclass
class Planted:
    """What the server has, does wrong, and was asked."""

    fault: str = ""
    models: tuple[str, ...] = ("toy",)
    key: str | None = None
    gap_s: float = 0.005
    owner: str = "vllm"
    counted: Callable[[str], int] = len
    """Tokens of a prompt that is a text."""
    refused: list[int] | None = None
    """A prompt that gets no answer."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Paths and bodies, in order."""
    most_at_once: int = 0
    port: int = 0
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1


@contextmanager
def serving(planted: Planted) -> Iterator[Planted]:
    """Serve until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"toy": planted}))
    server.daemon_threads, server.block_on_close = True, False
    planted.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield planted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_model(directory: Path, vocabulary: int = VOCABULARY) -> Path:
    """What lies on this disk of the model: its configuration."""
    config = {
        "vocab_size": vocabulary,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": BOS,
        "eos_token_id": END,
    }
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def load(planted: Planted, path: Path, **options: Any) -> tuple[OpenAIServer, ModelFacts]:
    runtime = OpenAIServer()
    settings = LoadSettings(
        path=str(path), window_tokens=8, options=ServerOptions(url=planted.url, **options)
    )
    return runtime, runtime.load(settings)


def prompt(text: str, max_tokens: int) -> Prompt:
    return Prompt(ids=np.array([BOS, *ids_of(text)], dtype=np.int32), max_tokens=max_tokens)


def ids_of(text: str) -> list[int]:
    return [FIRST + byte for byte in text.encode()]


class _Handler(BaseHTTPRequestHandler):
    toy: Planted
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.toy.fault == "redirect":
            self._send(302, b"", Location="http://127.0.0.1:1/v1/models")
        elif self.toy.key is not None and self._key() != self.toy.key:
            said = {"error": {"message": f"Incorrect API key provided: {self._key()}."}}
            self._tell(401, said)
        elif self.path == "/v1/models" and self.toy.fault == "models are no JSON":
            self._send(200, b"<html>hello</html>")
        elif self.path == "/v1/models":
            entries = [
                {"id": name, "owned_by": self.toy.owner, "max_model_len": CONTEXT}
                for name in self.toy.models
            ]
            self._tell(200, {"object": "list", "data": entries})
        elif self.path == "/version":
            self._tell(200, {"version": "9.8.7"})
        else:
            self._tell(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.toy.asked.append((self.path, body))
        if self.toy.owner != "vllm" and self.path != "/v1/completions":
            self._tell(404, {"detail": "Not Found"})
        elif self.path == "/tokenize":
            begin = [BOS] if body["add_special_tokens"] else []
            self._tell(200, {"tokens": [*begin, *ids_of(body["prompt"])]})
        elif self.path == "/detokenize":
            raw = bytes(token - FIRST for token in body["tokens"])
            self._tell(200, {"prompt": raw.decode("utf-8", "replace")})
        elif body.get("stream"):
            self._stream(body)
        else:
            self._complete(body)

    def _complete(self, body: dict[str, Any]) -> None:
        with self.toy.one_more():  # over before the answer goes: the next request follows at once
            time.sleep(self.toy.gap_s)
        if self.toy.fault == "hang":
            time.sleep(30)
        elif self.toy.fault == "500":
            self._tell(500, {"error": {"message": "EngineCore encountered\nan issue"}})
        elif self.toy.fault == "400" or body["prompt"] == self.toy.refused:
            self._tell(400, {"error": {"message": "maximum context length is 128 tokens"}})
        elif self.toy.fault == "cut short":
            raw = json.dumps(_answer(body, self.toy)).encode()
            self._send(200, raw[:50], **{"Content-Length": str(len(raw))})
            self.close_connection = True
        elif self.toy.fault == "no JSON":
            self._send(200, b"<html>busy</html>")
        elif self.toy.fault == "endless":
            self._chunks(b"[" * 65536 for _ in iter(int, 1))
        elif self.toy.fault == "trickle":
            self._chunks(_slowly(b" "))
        else:
            self._tell(200, _answer(body, self.toy))

    def _stream(self, body: dict[str, Any]) -> None:
        events = _events(body, self.toy)
        self._chunks(iter([b"".join(events)]) if self.toy.fault == "held back" else events)

    def _chunks(self, parts: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # nobody listens any more
            self.close_connection = True

    def _tell(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, raw: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _key(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")


def _slowly(part: bytes) -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield part


def _answer(body: dict[str, Any], toy: Planted) -> dict[str, Any]:
    ids = ids_of(LETTERS)[: body["max_tokens"]]
    has_ended = len(LETTERS) < body["max_tokens"]
    ids += [END] * has_ended
    names = [f"token_id:{token}" for token in ids]
    leads: list[Any] = [0.25] * len(ids)
    prompt = body["prompt"]
    own = toy.counted(prompt) if isinstance(prompt, str) else len(prompt)
    told = {
        "index": 0,
        "text": LETTERS[: body["max_tokens"]],
        "finish_reason": "stop" if has_ended else "length",
        "token_ids": ids,
        "logprobs": {
            "tokens": names,
            "token_logprobs": [-0.5] * len(ids),
            "top_logprobs": [
                {name: -0.5, "token_id:0": -0.5 - lead}
                for name, lead in zip(names, leads, strict=True)
            ],
        },
    }
    usage = {"prompt_tokens": own, "completion_tokens": len(ids)}
    spoil = _SPOILT.get(toy.fault)
    if spoil is not None:
        spoil(told, usage)
    return {"choices": [] if toy.fault == "no choice" else [told], "usage": usage}


_SPOILT: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "NaN": lambda told, _: told["logprobs"]["top_logprobs"][0].update({"token_id:0": float("nan")}),
    "not greedy": lambda told, _: told["logprobs"]["top_logprobs"][1].update({"token_id:0": 0.0}),
    "lost logprobs": lambda told, _: told["logprobs"]["top_logprobs"].pop(),
    "other ids": lambda told, _: told["token_ids"].reverse(),
    "old": lambda told, _: told.pop("token_ids"),
    "names": lambda told, _: told["logprobs"].update(
        tokens=[*told["logprobs"]["tokens"][:-1], "x"]
    ),
    "ids are texts": lambda told, _: told.update(token_ids=["3", "4"]),
    "ids are negative": lambda told, _: told["token_ids"].__setitem__(0, -1),
    "text is a number": lambda told, _: told.update(text=5),
    "aborted": lambda told, _: told.update(finish_reason="abort"),
    "fewer": lambda told, usage: _drop_one(told, usage),
    "miscounted": lambda _, usage: usage.update(completion_tokens=99),
    "other prompt": lambda _, usage: usage.update(prompt_tokens=usage["prompt_tokens"] + 1),
}


def _drop_one(told: dict[str, Any], usage: dict[str, Any]) -> None:
    for part in (told["token_ids"], *told["logprobs"].values()):
        part.pop()
    usage["completion_tokens"] -= 1


def _events(body: dict[str, Any], toy: Planted) -> Iterator[bytes]:
    count = body["max_tokens"]
    assert body.get("ignore_eos") or body["logit_bias"]
    told = [ids_of(LETTERS)[at % len(LETTERS)] for at in range(count)]
    per_event = 2 if toy.fault == "two at once" else 1
    if toy.fault == "one too few":
        told.pop()
    elif toy.fault == "one too many":
        told.append(FIRST)
    for start in range(0, len(told), per_event):
        time.sleep(toy.gap_s)
        if toy.fault == "breaks off" and start == count // 2:
            yield b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
            return
        if toy.fault == "event is no JSON" and start == count // 2:
            yield b"data: {half\n\n"
        ids = told[start : start + per_event]
        finish = "length" if start + per_event >= len(told) else None
        choice = {"index": 0, "text": "x" * len(ids), "finish_reason": finish, "token_ids": ids}
        if toy.fault == "no ids":
            del choice["token_ids"]
        if toy.fault == "unfinished":
            choice["finish_reason"] = None
        yield b": a comment\n\ndata: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    if toy.fault == "endless":
        while True:
            yield b": still there\n\n" * 10_000
    elif toy.fault == "endless line":
        while True:
            yield b"data: " + b"[" * 65536
    elif toy.fault == "trickle":
        yield from _slowly(b": still there\n\n")
    yield b'data: {"choices": [], "usage": {"completion_tokens": 1}}\n\ndata: [DONE]\n\n'
