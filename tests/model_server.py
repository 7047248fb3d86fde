"""A programmable OpenAI-compatible server: the one fake of the test-suite, and it speaks HTTP.

A pytest fixture for it (tests/conftest.py):

    from .model_server import ModelServer

    @pytest.fixture
    def model_server():
        with ModelServer() as server:
            yield server

`server.base_url` goes into a token or a twin. Each chat request takes the next scripted answer, or,
when none is left, what `server.default` makes of the request. `server.history` holds what was asked.

    server.enqueue("Rain again.")                              # a proper reply with this text
    server.enqueue(text("Half a", finish_reason="length"))     # … with another field
    server.enqueue(error(429, "slow down", retry_after="2"))
    server.enqueue(raw(b"<html>…", content_type="text/html"), hang(), close_connection())
    server.default = lambda request: text(f"Reply {len(server.history)}")
"""

import gzip
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MODEL = "fake-model"
DEFAULT_TEXT = "The library opens at nine now, and nobody told the people waiting at eight."


@dataclass(frozen=True)
class Received:
    """One request as it came in. Header names are in lower case; `json` is None if the body is none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.json["messages"]

    @property
    def key(self) -> str | None:
        """What stood behind "Bearer", or None without an Authorization header."""
        value = self.headers.get("authorization")
        return value.removeprefix("Bearer ") if value else None


@dataclass(frozen=True)
class Scripted:
    """One answer, byte by byte if need be. Use the functions below to make one.

    `drip_seconds`: the pause after each byte of the body. `hang_seconds`: silence after the request.
    `cut_after`: close the connection after so many bytes of the body (0: after the head).
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    hang_seconds: float = 0.0
    cut_after: int | None = None
    closes_at_once: bool = False
    length_header: bool = True

    def later(self, seconds: float) -> "Scripted":
        """The same answer after a delay."""
        return replace(self, delay_seconds=seconds)

    def dripping(self, seconds_per_byte: float) -> "Scripted":
        """The same answer, one byte at a time."""
        return replace(self, drip_seconds=seconds_per_byte)


def completion(content: Any, **changes: Any) -> dict[str, Any]:
    """The JSON of a chat completion. `changes`: finish_reason, refusal, usage, model, system_fingerprint."""
    message = {"role": "assistant", "content": content, "refusal": changes.pop("refusal", None)}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": changes.pop("model", MODEL),
        "system_fingerprint": changes.pop("system_fingerprint", "fp_fake"),
        "choices": [{"index": 0, "message": message, "finish_reason": changes.pop("finish_reason", "stop")}],
        "usage": changes.pop("usage", {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}),
        **changes,
    }


def text(content: Any = DEFAULT_TEXT, **changes: Any) -> Scripted:
    """A completion. `content` may be None, a list, a lone surrogate: anything JSON can hold."""
    return data(completion(content, **changes))


def data(value: Any, status: int = 200, **headers: str) -> Scripted:
    """Any JSON value. Headers by keyword: `retry_after="2"` becomes Retry-After."""
    return raw(json.dumps(value).encode(), status, "application/json", **headers)


def raw(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Scripted:
    """Any bytes."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Scripted(status, (("Content-Type", content_type), *named), body)


def html(body: str = "<!DOCTYPE html><html><title>It works!</title></html>", status: int = 200) -> Scripted:
    """A web page where JSON was expected."""
    return raw(body.encode(), status, "text/html; charset=utf-8")


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Scripted:
    """An OpenAI-style error."""
    return data({"error": {"message": message, "type": code, "code": code, "param": None}}, status, **headers)


def redirect(location: str, status: int = 307) -> Scripted:
    """A redirect, with a body as servers send it."""
    return raw(b"moved", status, "text/plain", location=location)


def gzip_bomb(megabytes: int = 100) -> Scripted:
    """A few kilobytes that decompress to many megabytes."""
    packed = gzip.compress(b'{"choices": "' + b"a" * (megabytes * 1_000_000) + b'"}', 9)
    return raw(packed, content_encoding="gzip")


def gzipped(scripted: Scripted) -> Scripted:
    """The same answer, honestly compressed."""
    return replace(
        scripted,
        headers=(*scripted.headers, ("Content-Encoding", "gzip")),
        body=gzip.compress(scripted.body),
    )


def endless(size: int) -> Scripted:
    """A JSON text of so many bytes, without a length header."""
    return replace(raw(b'{"x": "' + b"a" * size + b'"}'), length_header=False)


def hang(seconds: float = 30.0) -> Scripted:
    """Silence, until the client goes away or the server is closed."""
    return Scripted(hang_seconds=seconds)


def close_connection() -> Scripted:
    """The connection closed without a word."""
    return Scripted(closes_at_once=True)


def cut_off(content: str = DEFAULT_TEXT, after: int = 20) -> Scripted:
    """A proper head, then the connection closed in the middle of the body."""
    return replace(text(content), cut_after=after)


@dataclass
class ModelServer:
    """The server; use it as a context manager. Listens on 127.0.0.1, any port.

    `key`: if set, requests with another key get a 401. `models`: what GET /v1/models lists.
    `tls`: a server-side context; then it speaks https, and `server_names` holds the names asked for.
    """

    models: tuple[str, ...] = (MODEL,)
    key: str | None = None
    default: Callable[[Received], Scripted] = field(default=lambda _: text())
    history: list[Received] = field(default_factory=list)
    max_at_once: int = 0
    tls: ssl.SSLContext | None = None
    server_names: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queue: deque[Scripted] = deque()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._at_once = 0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if self.tls is not None:
            self.tls.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> list[Received]:
        """The chat requests of the history."""
        return [r for r in self.history if r.path.endswith("/chat/completions")]

    def enqueue(self, *answers: Scripted | str) -> None:
        """Adds scripted answers for the chat requests to come; a text becomes a proper reply."""
        with self._lock:
            self._queue.extend(text(a) if isinstance(a, str) else a for a in answers)

    def wait_for_calls(self, count: int, seconds: float = 5.0) -> None:
        """Returns when so many chat requests have come in. Raises AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while len(self.calls) < count:
            assert time.monotonic() < end, f"{len(self.calls)} of {count} calls came in"
            time.sleep(0.01)

    def answer(self, received: Received) -> Scripted:
        """What this request gets; takes it from the queue."""
        with self._lock:
            self.history.append(received)
            if self.key is not None and received.key != self.key:
                return error(401, "Incorrect API key provided", "invalid_api_key")
            if received.method == "GET" and received.path.endswith("/models"):
                return data({"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})
            if not received.path.endswith("/chat/completions"):
                return data({"error": {"message": "Not Found", "code": 404}}, 404)
            if self._queue:
                return self._queue.popleft()
        return self.default(received)

    def enter(self) -> None:
        """Counts a request in; `max_at_once` keeps the most there were at one time."""
        with self._lock:
            self._at_once += 1
            self.max_at_once = max(self.max_at_once, self._at_once)

    def leave(self) -> None:
        """Counts it out."""
        with self._lock:
            self._at_once -= 1

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the server's end."""
        self._closed.wait(seconds)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A client that went away is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: ModelServer

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def log_message(self, format, *args):
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            parsed = json.loads(body) if body else None
        except ValueError:
            parsed = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.enter()
        try:
            answer = self.owner.answer(Received(self.command, self.path, headers, body, parsed))
            self._send(answer)
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True
        finally:
            self.owner.leave()

    def _send(self, answer: Scripted) -> None:
        self.owner.pause(answer.delay_seconds)
        if answer.hang_seconds:
            self._wait_for_the_client_to_leave(answer.hang_seconds)
        if answer.closes_at_once or answer.hang_seconds:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.length_header:
            self.send_header("Content-Length", str(len(answer.body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self._send_body(answer)

    def _send_body(self, answer: Scripted) -> None:
        body = answer.body if answer.cut_after is None else answer.body[: answer.cut_after]
        if answer.drip_seconds:
            for i in range(len(body)):
                if self.owner.is_closed:
                    break
                self.wfile.write(body[i : i + 1])
                self.owner.pause(answer.drip_seconds)
        else:
            self.wfile.write(body)
        if answer.cut_after is not None:
            self.close_connection = True

    def _wait_for_the_client_to_leave(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.connection.settimeout(0.05)
        while time.monotonic() < end and not self.owner.is_closed:
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
