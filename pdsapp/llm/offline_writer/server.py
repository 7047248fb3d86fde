"""The offline writer's door: a small OpenAI-compatible HTTP server, standard library only."""

import contextlib
import hashlib
import itertools
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .brief import read_brief
from .compose import compose
from .words import vocabulary

MODEL = "offline-writer"
HOST = "127.0.0.1"
MAX_REQUEST_BYTES = 2_000_000
IDLE_SECONDS = 30
CHARACTERS_PER_TOKEN = 4


class Refused(Exception):
    """A request that is not served; becomes an OpenAI-style error body."""

    def __init__(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None
    ):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": code}}


class OfflineWriterServer(ThreadingHTTPServer):
    """Serves GET /v1/models, POST /v1/chat/completions and GET /healthz.

    Requests without a seed differ from each other by a counter, so that asking twice gives two texts.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int] = (HOST, 0), *, listener: socket.socket | None = None):
        super().__init__(address, _Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()
        self._start = time.time_ns()
        self._counter = itertools.count()

    @property
    def base_url(self) -> str:
        """What goes into an endpoint's base URL."""
        host, port = self.server_address[:2]
        return f"http://{f'[{host}]' if ':' in str(host) else host}:{port}/v1"

    def nonce(self) -> str:
        """A new one each time."""
        return f"{self._start}-{next(self._counter)}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is its own business."""


def complete(body: Any, nonce: str, now: float) -> dict[str, Any]:
    """The chat completion for a request body, or Refused. The same messages and seed give the same text."""
    if not isinstance(body, dict):
        raise Refused(400, "The request body must be a JSON object.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refused(400, "“messages” must be a list of messages, at least one.")
    if body.get("model", MODEL) != MODEL:
        wanted = str(body["model"])[:100]
        raise Refused(404, f"The model '{wanted}' does not exist, only '{MODEL}'.", code="model_not_found")
    if body.get("stream"):
        raise Refused(400, "The offline writer does not stream. Leave out “stream”.")
    if body.get("n") not in (None, 1):
        raise Refused(400, "The offline writer writes one text per request. Leave out “n”.")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise Refused(400, "“max_tokens” must be a whole number of at least 1.")
    text, finish_reason = _write(messages, body.get("seed"), nonce, limit)
    prompt_tokens = sum(_tokens(str(m.get("content") or "")) + 4 for m in messages)
    return {
        "id": f"chatcmpl-{hashlib.sha256(nonce.encode()).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": int(now),
        "model": MODEL,
        "system_fingerprint": f"offline_{vocabulary().version}",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": _tokens(text),
            "total_tokens": prompt_tokens + _tokens(text),
        },
    }


def _write(messages: list[dict[str, Any]], seed: Any, nonce: str, limit: int | None) -> tuple[str, str]:
    canonical = json.dumps(messages, sort_keys=True, ensure_ascii=True)
    key = f"{nonce if seed is None else f'seed-{seed}'}|{canonical}"
    text = compose(read_brief(messages), hashlib.sha256(key.encode()).hexdigest())
    if limit is not None and _tokens(text) > limit:
        return text[: limit * CHARACTERS_PER_TOKEN].rstrip(), "length"
    return text, "stop"


def _tokens(text: str) -> int:
    """An estimate, as good as any without a tokeniser."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "offline-writer"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: OfflineWriterServer

    def do_GET(self) -> None:
        """Models and health."""
        path = self.path.partition("?")[0].rstrip("/")
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "discourse-twins"}
        if path == "/healthz":
            self._send(200, {"status": "ok"})
        elif path == "/v1/models":
            self._send(200, {"object": "list", "data": [model]})
        elif path == f"/v1/models/{MODEL}":
            self._send(200, model)
        else:
            self._send_refusal(Refused(404, "Nothing here. The base URL ends in /v1."))

    def do_POST(self) -> None:
        """Chat completions."""
        try:
            body = self._body()
            if self.path.partition("?")[0].rstrip("/") != "/v1/chat/completions":
                raise Refused(404, "Nothing here. The base URL ends in /v1.")
            self._send(200, complete(body, self.server.nonce(), time.time()))
        except Refused as refusal:
            self._send_refusal(refusal)

    def _body(self) -> Any:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_REQUEST_BYTES:
            self.close_connection = True
            raise Refused(
                411 if length < 0 else 413, f"Send at most {MAX_REQUEST_BYTES} bytes, with their length."
            )
        try:
            return json.loads(self.rfile.read(length))
        except (ValueError, RecursionError):
            raise Refused(400, "The request body is not JSON.") from None

    def _send_refusal(self, refusal: Refused) -> None:
        self._send(refusal.status, refusal.body)

    def _send(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status, HTTPStatus(status).phrase)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Prompts and texts never go into a log."""


def serve(host: str = HOST, port: int = 0, *, listener: socket.socket | None = None) -> OfflineWriterServer:
    """A server that listens but does not serve yet: call `serve_forever` on it. Raises OSError."""
    vocabulary()
    return OfflineWriterServer((host, port), listener=listener)


@contextlib.contextmanager
def running_offline_writer() -> Iterator[str]:
    """The base URL of an offline writer that runs, in a thread, for the length of the block."""
    server = serve()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="offline-writer", daemon=True
    )
    thread.start()
    try:
        yield server.base_url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
