"""Where a model is asked: an address, a model name, a key and the parameters that go with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from ..domain.call_limits import NO_LIMITS, CallLimits
from ..errors import BadInput

MAX_URL_LENGTH = 500
_PORTS = {"https": 443, "http": 80}
_SUFFIXES = ("/chat/completions", "/completions", "/models")


@dataclass(frozen=True)
class Endpoint:
    """One place to ask, with the key that belongs to exactly this base URL.

    `source` says who named it: "twin", "token", "platform" or "offline".
    """

    base_url: str
    model: str
    api_key: str | None = field(repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    source: str = "token"
    token_id: int | None = None
    token_name: str | None = None
    token_uuid: UUID | None = None
    limits: CallLimits = NO_LIMITS

    @property
    def place(self) -> str:
        """See `place_of`."""
        return place_of(self.base_url)


def place_of(base_url: str) -> str:
    """What is up or down as one: scheme, host, port and path, the same however the port is written.

    "" for what is no URL.
    """
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def normalize_base_url(text: str) -> str:
    """The base URL in its one spelling: no trailing slash, no "/chat/completions", host in lower case.

    Raises BadInput with a sentence that says what to change. Never adds a path: a missing "/v1" stays
    missing, because some servers have none.
    """
    url = text.strip()
    if not url:
        raise BadInput("The base URL is empty. Write one such as https://api.openai.com/v1.")
    if len(url) > MAX_URL_LENGTH:
        raise BadInput(f"The base URL is longer than {MAX_URL_LENGTH} characters.")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise BadInput("The base URL may hold only plain ASCII characters, no spaces and no backslash.")
    parts = _split(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{host}{port}{_bare_path(parts.path)}"


def _split(url: str) -> SplitResult:
    if "://" not in url:
        raise BadInput(f"The base URL needs https:// (or http://) in front: did you mean https://{url}?")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadInput("The base URL cannot be read. Check host and port.") from None
    if parts.scheme not in ("http", "https"):
        raise BadInput("The base URL must begin with https:// or http://.")
    has_empty_label = "" in (parts.hostname or "").removesuffix(".").split(".")
    if not parts.hostname or has_empty_label or parts.netloc.endswith(":") or port == 0:
        raise BadInput(
            "The base URL has no usable host and port. Write one such as https://api.openai.com/v1."
        )
    if "@" in parts.netloc:
        raise BadInput("The base URL must not hold a user name or password. The key has a field of its own.")
    if parts.query or "?" in url:
        raise BadInput("The base URL must not hold a query (?…). Leave it out.")
    if parts.fragment or "#" in url:
        raise BadInput("The base URL must not hold a fragment (#…). Leave it out.")
    if "%" in parts.netloc:
        raise BadInput("The base URL's host must not hold a % sign.")
    return parts


def _bare_path(path: str) -> str:
    path = path.rstrip("/")
    for suffix in _SUFFIXES:
        if path.lower().endswith(suffix):
            return path[: -len(suffix)].rstrip("/")
    return path
