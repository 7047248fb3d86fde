"""A model server that answers after a fixed time and costs next to nothing: one process, raw asyncio.

It speaks HTTP/1.1 with connections that stay open, and answers every chat request with a text of the length
the prompt asks for, so that nothing has to be rewritten. The base URL says how long it takes:
`http://127.0.0.1:PORT/2000/v1` answers after 2,000 milliseconds, `/0/v1` at once. `GET /calls` says how many
it has answered, and how many it had in hand together at most.
"""

import asyncio
import gc
import json
import re
import signal
import sys

WORDS = (
    "Rain over the river again, and nobody brought the right shoes. The bakery was open, the queue was long "
    "and the bread was worth it. Somebody at the corner said the bridge will close in spring, and somebody "
    "else said it always does. Still a good walk, and a better one with a friend beside you. See you later."
)
BAND = re.compile(rb"<length>between (\d+) and (\d+) characters")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATH = re.compile(rb"POST /(\d+)/v1/chat/completions ")
MIDDLE = 140


class Server:
    """What the connections share: how many calls came, and how many are in hand."""

    def __init__(self) -> None:
        self.calls = self.in_hand = self.most_at_once = 0

    def begin(self) -> int:
        """The number of this call."""
        self.calls += 1
        self.in_hand += 1
        self.most_at_once = max(self.most_at_once, self.in_hand)
        return self.calls


class Connection(asyncio.Protocol):
    """One connection; a client sends its next request after the answer to the last."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers once the whole request is here."""
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        found = LENGTH.search(self._received, 0, head_end)
        end = head_end + 4 + (int(found[1]) if found else 0)
        if len(self._received) < end:
            return
        request, self._received = self._received[:end], self._received[end:]
        self._answer(request)

    def _answer(self, request: bytes) -> None:
        if (path := PATH.match(request)) is None:
            counts = {"calls": self._server.calls, "most_at_once": self._server.most_at_once}
            is_known = request.startswith(b"GET /calls ")
            self._send(_response(b"200 OK" if is_known else b"404 Not Found", counts))
            return
        body = _completion(request, self._server.begin())
        if wait_ms := int(path[1]):
            asyncio.get_running_loop().call_later(wait_ms / 1000, self._send_completion, body)
        else:
            self._send_completion(body)

    def _send_completion(self, body: dict) -> None:
        self._server.in_hand -= 1
        self._send(_response(b"200 OK", body))

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)


def text_for(request: bytes, number: int) -> str:
    """A text in the middle of the band that the request names last; the number makes it one of its own."""
    found = BAND.findall(request)
    length = (int(found[-1][0]) + int(found[-1][1])) // 2 if found else MIDDLE
    return f"{number} {WORDS}"[: length - 1].rstrip(" .,") + "."


def _completion(request: bytes, number: int) -> dict:
    prompt_tokens = len(request) // 4
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "system_fingerprint": "fp_bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text_for(request, number)},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 40,
            "total_tokens": prompt_tokens + 40,
        },
    }


def _response(status: bytes, body: dict) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(data)) + data


async def serve() -> None:
    """Prints the address it listens on, and serves until SIGTERM or SIGINT."""
    loop, stop, server = asyncio.get_running_loop(), asyncio.Event(), Server()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
    gc.freeze()
    await stop.wait()
    listening.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(serve()))
