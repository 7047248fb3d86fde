"""Asking a model: one HTTP request per call, a total deadline, and an outcome instead of an exception.

The openai package takes longer to import than all the rest: it is imported with the first call, in workers
before they fork.
"""

import asyncio
import json
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx2

from ..domain.cleaning import without_unstorable
from ..domain.reply import BadReply, Reply, classify, classify_error
from ..errors import AddressRefused, NotConfigured
from .endpoint import Endpoint
from .guard import Checked, EndpointGuard
from .transport import ANSWER, Answer, CallProblem, Connections, GuardedTransport, certificates

if TYPE_CHECKING:
    import openai

USER_AGENT = "discourse-twins"
MAX_CLIENTS = 128
HIDDEN = "[hidden]"
_OURS = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"}
)
_LIMIT_NAMES = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class CallOutcome:
    """What one call gave: a reply or a bad reply, never both.

    `request` is the JSON body that was sent (never a key). `http_status` is None if no answer came.
    """

    reply: Reply | None
    bad: BadReply | None
    http_status: int | None
    latency_ms: int
    request: dict[str, Any]


@dataclass(frozen=True)
class ModelList:
    """The model names an endpoint offers, or why it does not tell. Some servers have no list."""

    models: tuple[str, ...]
    bad: BadReply | None
    http_status: int | None
    latency_ms: int


class ModelClient:
    """Calls to any number of endpoints over shared connections. Use it as `async with ModelClient(…)`.

    Belongs to one event loop; make it after a fork. `proxy` is used for public https only. `ca_file`
    holds certificates to trust besides the system's. `swaps` remembers, per (base URL, model), which
    name the token limit has there; pass one dictionary to several clients to share what they learned.
    """

    def __init__(
        self,
        guard: EndpointGuard,
        proxy: str | None = None,
        ca_file: str | None = None,
        connect_seconds: float = 5,
        max_reply_bytes: int = 1_000_000,
        swaps: dict[tuple[str, str], str] | None = None,
    ):
        self.guard = guard
        self._proxy = proxy
        self._ca_file = ca_file
        self._connect_seconds = connect_seconds
        self._max_reply_bytes = max_reply_bytes
        self._swaps = {} if swaps is None else swaps
        self._connections: Connections | None = None
        self._clients: OrderedDict[tuple[str, str | None], openai.AsyncOpenAI] = OrderedDict()

    async def __aenter__(self) -> "ModelClient":
        import openai  # noqa: F401  # here, so that the first call is not timed with it

        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection; the client opens new ones if it is used again."""
        self._clients.clear()
        if self._connections is not None:
            connections, self._connections = self._connections, None
            await connections.aclose()

    def goes_by_proxy(self, base_url: str, checked: Checked | None) -> bool:
        """Whether this address is asked by way of the proxy; `checked` None if its name does not resolve."""
        return bool(self._proxy) and base_url.startswith("https:") and not (checked and checked.is_listed)

    def ssl_context(self) -> ssl.SSLContext:
        """What certificates are checked with. Raises NotConfigured."""
        return certificates(self._ca_file)

    async def complete(
        self,
        endpoint: Endpoint,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int | None,
        deadline_seconds: float,
    ) -> CallOutcome:
        """The outcome of exactly one chat request. Nothing the endpoint does raises.

        A token limit among the endpoint's parameters goes before `max_tokens`. Cancellation and RQ's
        timeout pass through.
        """
        body = self._body(endpoint, messages, max_tokens)
        began = time.monotonic()
        answer, bad = await self._ask(endpoint, body, deadline_seconds)
        latency_ms = round((time.monotonic() - began) * 1000)
        if answer is None:
            return CallOutcome(None, bad, None, latency_ms, body)
        found = _classified(answer, endpoint.api_key)
        if isinstance(found, Reply):
            return CallOutcome(found, None, answer.status, latency_ms, body)
        if found.swap_parameter and found.swap_parameter[0] in body:
            self._swaps[endpoint.base_url, endpoint.model] = found.swap_parameter[1]
        elif found.swap_parameter:
            found = replace(found, swap_parameter=None, is_retryable=False)
        return CallOutcome(None, found, answer.status, latency_ms, body)

    async def list_models(self, endpoint: Endpoint, deadline_seconds: float) -> ModelList:
        """The models the endpoint says it has. That proves no key: many servers tell everybody."""
        began = time.monotonic()
        answer, bad = await self._ask(endpoint, None, deadline_seconds)
        latency_ms = round((time.monotonic() - began) * 1000)
        if answer is None:
            return ModelList((), bad, None, latency_ms)
        names = _model_names(answer, endpoint.api_key)
        if names is not None:
            return ModelList(names, None, answer.status, latency_ms)
        found = _classified(answer, endpoint.api_key)
        if isinstance(found, Reply):
            found = classify_error("protocol", "a chat answer where a list of models was expected")
        return ModelList((), found, answer.status, latency_ms)

    def _body(
        self, endpoint: Endpoint, messages: Sequence[Mapping[str, str]], max_tokens: int | None
    ) -> dict[str, Any]:
        parameters = {k: v for k, v in endpoint.parameters.items() if k not in _OURS and v is not None}
        body: dict[str, Any] = {
            "model": endpoint.model,
            "messages": [{k: without_unstorable(v) for k, v in m.items()} for m in messages],
            **parameters,
        }
        given = [(n, endpoint.parameters[n]) for n in _LIMIT_NAMES if endpoint.parameters.get(n) is not None]
        name, limit = given[0] if given else ("max_tokens", max_tokens)
        if limit is not None:
            body[self._swaps.get((endpoint.base_url, endpoint.model), name)] = limit
        return body

    async def _ask(
        self, endpoint: Endpoint, body: dict[str, Any] | None, deadline_seconds: float
    ) -> tuple[Answer | None, BadReply | None]:
        import openai

        try:
            async with asyncio.timeout(max(0.0, deadline_seconds)):
                return await self._send(endpoint, body), None
        except TimeoutError:
            return None, classify_error("deadline", f"{deadline_seconds:.0f} s")
        except AddressRefused as error:
            return None, classify_error("refused_address", str(error))
        except NotConfigured as error:
            return None, classify_error("tls", str(error))
        except CallProblem as error:
            return None, _without_key(classify_error(error.kind, error.detail), endpoint.api_key)
        except (openai.OpenAIError, httpx2.InvalidURL, TypeError, ValueError) as error:
            return None, _without_key(classify_error("bad_request", str(error)), endpoint.api_key)

    async def _send(self, endpoint: Endpoint, body: dict[str, Any] | None) -> Answer:
        import openai

        client = self._client(endpoint)
        try:
            if body is None:
                raw = await client.models.with_raw_response.list()
            else:
                # The messages too as they are: the client would look through them part by part, which takes
                # as long as all the rest of a request.
                rest = {k: v for k, v in body.items() if k != "model"}
                raw = await client.chat.completions.with_raw_response.create(
                    model=body["model"], messages=(), extra_body=rest
                )
        except openai.APIStatusError as error:
            return error.response.extensions[ANSWER]
        return raw.http_response.extensions[ANSWER]

    def _client(self, endpoint: Endpoint) -> "openai.AsyncOpenAI":
        import openai

        key = (endpoint.base_url, endpoint.api_key or None)
        if key in self._clients:
            self._clients.move_to_end(key)
            return self._clients[key]
        if not _is_sendable(endpoint.api_key):
            raise CallProblem("bad_key")
        if self._connections is None:
            self._connections = Connections(
                self.guard,
                proxy=self._proxy,
                ssl_context=self.ssl_context(),
                connect_seconds=self._connect_seconds,
            )
        transport = GuardedTransport(self._connections, endpoint.api_key, self._max_reply_bytes)
        client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key or "none",
            max_retries=0,
            http_client=httpx2.AsyncClient(
                transport=transport,
                follow_redirects=False,
                trust_env=False,
                timeout=httpx2.Timeout(None, connect=self._connect_seconds),
                headers={"user-agent": USER_AGENT},
            ),
            timeout=httpx2.Timeout(None, connect=self._connect_seconds),
            default_headers={"User-Agent": USER_AGENT},
        )
        self._clients[key] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return client


def _is_sendable(api_key: str | None) -> bool:
    return not api_key or (api_key.isascii() and api_key.isprintable() and " " not in api_key)


def _classified(answer: Answer, api_key: str | None) -> Reply | BadReply:
    """What the answer is. One that repeats the key is unusable: the key must not become a post."""
    body = answer.body.replace(api_key.encode(), HIDDEN.encode()) if _is_secret(api_key) else answer.body
    found = classify(answer.status, answer.headers, body, now=datetime.now(UTC))
    if isinstance(found, Reply):
        told = (found.text, found.model_returned or "", found.system_fingerprint or "")
        repeats = body != answer.body or (_is_secret(api_key) and any(api_key in text for text in told))
        if not repeats:
            return found
        bad = classify_error("protocol", "an answer that repeats the API key")
        return replace(bad, is_retryable=False)
    return _without_key(found, api_key)


def _without_key(bad: BadReply, api_key: str | None) -> BadReply:
    """An endpoint may echo the key in its error; no part of us repeats it."""
    if not _is_secret(api_key):
        return bad
    return replace(
        bad,
        **{
            name: value.replace(api_key, HIDDEN)
            for name in ("detail", "model_returned", "system_fingerprint", "finish_reason")
            if (value := getattr(bad, name))
        },
    )


def _is_secret(api_key: str | None) -> bool:
    return bool(api_key) and len(api_key) >= 4


def _model_names(answer: Answer, api_key: str | None) -> tuple[str, ...] | None:
    """The names in an OpenAI-style list; None if the answer is no such list."""
    if not 200 <= answer.status < 300:
        return None
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    entries = data.get("data") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        return None
    ids = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    names = [name for name in ids if isinstance(name, str) and name.strip() and name.isprintable()][:2000]
    if _is_secret(api_key):
        names = [name.replace(api_key, HIDDEN) for name in names]
    return tuple(name[:200] for name in names)
