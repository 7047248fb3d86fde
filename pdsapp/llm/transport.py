"""HTTP as this product allows it: checked addresses, few headers, bounded answers, no redirects.

The openai client builds the requests; this transport carries them. It reads the whole answer within a
limit before anybody sees it, so that neither the success nor the error path can read more.
"""

import asyncio
import functools
import ssl
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2

from ..errors import AddressRefused, NotConfigured
from .guard import EndpointGuard, NameUnknown, PinnedBackend

ANSWER = "pds_answer"
DECODE_STEP_BYTES = 65_536
REQUESTS_IN_POOL = 8
_SENT_HEADERS = frozenset(
    {"host", "accept", "content-type", "content-length", "transfer-encoding", "user-agent"}
)
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@dataclass(frozen=True)
class Answer:
    """What came back, decompressed and complete. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CallProblem(Exception):
    """No answer; `kind` is a kind `domain.reply.classify_error` knows."""

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Connections:
    """The open connections of one event loop, shared by all keys. Close them with `aclose`.

    With a proxy, public https goes through it, and what PDS_LLM_ALLOWED_HOSTS lists is reached
    directly. The proxy resolves names itself; what also resolves here is checked before.
    """

    def __init__(
        self, guard: EndpointGuard, *, proxy: str | None, ssl_context: ssl.SSLContext, connect_seconds: float
    ):
        self._guard = guard
        self._connect_seconds = connect_seconds
        self._direct = {
            scheme: _Pools(
                ssl_context=ssl_context, network_backend=PinnedBackend(guard, scheme, connect_seconds)
            )
            for scheme in ("http", "https")
        }
        self._proxied = None
        if proxy:
            url = httpx2.URL(proxy)
            self._proxied = _Pools(
                ssl_context=ssl_context,
                proxy=httpcore2.Proxy(
                    url=str(url.copy_with(username=None, password=None)),
                    auth=(url.username, url.password) if url.username else None,
                ),
            )

    async def pools_for(self, scheme: str, host: str, port: int) -> "_Pools":
        """The pools this destination goes by. Raises AddressRefused."""
        if scheme not in self._direct:
            raise AddressRefused("Only http and https addresses can be asked.")
        if self._proxied is None or scheme == "http":
            return self._direct[scheme]
        try:
            async with asyncio.timeout(self._connect_seconds):
                checked = await self._guard.check_destination(scheme, host, port)
        except (NameUnknown, TimeoutError):
            return self._proxied
        return self._direct[scheme] if checked.is_listed else self._proxied

    async def aclose(self) -> None:
        """Closes every connection."""
        for pools in (*self._direct.values(), self._proxied):
            if pools is not None:
                await pools.aclose()


class _Pools:
    """Connection pools of one kind, each for a few requests at once.

    A pool looks at all its connections for every request: with hundreds in one that takes longer than the
    request itself.
    """

    def __init__(self, **options: Any):
        self._options = options
        self._busy: dict[httpcore2.AsyncConnectionPool, int] = {}

    @contextmanager
    def one(self) -> Iterator[httpcore2.AsyncConnectionPool]:
        """A pool that has room for a request; the first that has, so that connections are used again."""
        pool = next((pool for pool, busy in self._busy.items() if busy < REQUESTS_IN_POOL), None)
        if pool is None:
            pool = httpcore2.AsyncConnectionPool(
                max_connections=None,
                max_keepalive_connections=REQUESTS_IN_POOL,
                keepalive_expiry=5.0,
                **self._options,
            )
            self._busy[pool] = 0
        self._busy[pool] += 1
        try:
            yield pool
        finally:
            self._busy[pool] -= 1

    async def aclose(self) -> None:
        """Closes every connection."""
        for pool in self._busy:
            await pool.aclose()


@functools.lru_cache(maxsize=4)
def certificates(ca_file: str | None) -> ssl.SSLContext:
    """What servers are checked with: the usual authorities, and those in `ca_file` (PEM) besides.

    Raises NotConfigured if that file cannot be read or holds none.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            why = error.strerror or error.__class__.__name__
            raise NotConfigured(
                f"PDS_LLM_CA_FILE: the certificates in {ca_file} cannot be used ({why}). It has to be a file "
                f"of PEM certificates that this process may read."
            ) from None
    return context


class GuardedTransport(httpx2.AsyncBaseTransport):
    """A transport for one key over shared connections. Raises CallProblem when no answer came.

    Only the headers a chat request needs leave the house: nothing from the process environment
    (organisation, project, custom headers), no cookies, nothing about the machine.
    """

    def __init__(self, connections: Connections, api_key: str | None, max_bytes: int):
        self._connections = connections
        self._authorization = [(b"authorization", f"Bearer {api_key}".encode("ascii"))] if api_key else []
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, its body read. The answer as it came is in `response.extensions[ANSWER]`."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            pools = await self._connections.pools_for(url.scheme, url.host, port)
            with pools.one() as pool:
                answer = await self._exchange(pool, request)
        except httpcore2.ProxyError as error:
            raise CallProblem("proxy", str(error)) from error
        except NameUnknown as error:
            raise CallProblem("resolve", str(error)) from error
        except ssl.SSLError as error:
            raise CallProblem("tls", error.reason or "") from error
        except httpcore2.ConnectError as error:
            raise CallProblem(*_connect_problem(error)) from error
        except httpcore2.TimeoutException as error:
            raise CallProblem("timeout", type(error).__name__) from error
        except httpcore2.ProtocolError as error:
            closed = "disconnected" in str(error) or "closed" in str(error) or "without sending" in str(error)
            raise CallProblem("closed" if closed else "protocol", str(error)) from error
        except (httpcore2.NetworkError, OSError, EOFError) as error:
            raise CallProblem("closed", str(error)) from error
        headers = {k: v for k, v in answer.headers.items() if k in ("content-type", "retry-after")}
        return httpx2.Response(
            answer.status, headers=headers, content=answer.body, extensions={ANSWER: answer}, request=request
        )

    async def _exchange(self, pool: httpcore2.AsyncConnectionPool, request: httpx2.Request) -> Answer:
        kept = [(k, v) for k, v in request.headers.raw if k.decode("latin-1").lower() in _SENT_HEADERS]
        response = await pool.handle_async_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=[*kept, *self._authorization, (b"accept-encoding", b"identity")],
                content=request.stream,
                extensions={"timeout": request.extensions.get("timeout", {})},
            )
        )
        try:
            headers = _readable(response.headers)
            body = await _read(response, headers.get("content-encoding", ""), self._max_bytes)
        finally:
            await response.aclose()
        return Answer(response.status, headers, body)


def _readable(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return headers


async def _read(response: httpcore2.Response, encoding: str, limit: int) -> bytes:
    """The body, decompressed step by step: never more than `limit` bytes exist at once."""
    decoder = _decoder(encoding)
    body = bytearray()
    received = 0
    async for chunk in response.aiter_stream():
        received += len(chunk)
        if received > limit:
            raise CallProblem("too_large", f"more than {limit:,} bytes")
        pending = chunk
        while pending:
            if decoder is None:
                piece, pending = pending, b""
            else:
                try:
                    piece = decoder.decompress(pending, DECODE_STEP_BYTES)
                except zlib.error as error:
                    raise CallProblem("encoding", str(error)) from error
                pending = decoder.unconsumed_tail
            body += piece
            if len(body) > limit:
                raise CallProblem("too_large", f"more than {limit:,} bytes once decompressed")
    return bytes(body)


def _decoder(encoding: str):
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _ENCODINGS:
        raise CallProblem("encoding", f"content-encoding {name}")
    return zlib.decompressobj(_ENCODINGS[name])


def _connect_problem(error: Exception) -> tuple[str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "tls", getattr(cause, "verify_message", "") or cause.reason or ""
        cause = cause.__cause__ or cause.__context__
    return "connect", str(error)
