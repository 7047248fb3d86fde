"""Sending a notice or a heartbeat to its address: checked, signed, no redirects, five seconds at most."""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import httpcore2

from ..config import Settings
from ..errors import AddressRefused, NotConfigured
from ..llm.guard import EndpointGuard, NameUnknown
from ..llm.transport import Connections, certificates
from ..models import Notice

SECONDS = 5.0
CONNECT_SECONDS = 3.0
USER_AGENT = "discourse-twins"


@dataclass(frozen=True)
class Sent:
    """How a try ended. `problem` is "" if it was taken, else a sentence without the address."""

    status: int | None
    problem: str


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What a receiver compares: HMAC-SHA256 of `timestamp.body` in hexadecimal."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def send(settings: Settings, notice: Notice, now: datetime) -> Sent:
    """Posts a notice once. Never raises for what the other side does."""
    body, timestamp = notice.body.encode(), str(int(now.timestamp()))
    headers = {
        "content-type": "application/json",
        "x-pds-delivery": str(notice.uuid),
        "x-pds-event": notice.event,
        "x-pds-timestamp": timestamp,
        "x-pds-signature": signature(settings.require("notice_secret"), timestamp, body),
    }
    return _ask(settings, "POST", settings.require("notice_url"), headers, body)


def beat(settings: Settings) -> Sent:
    """Asks for the heartbeat address once."""
    return _ask(settings, "GET", settings.require("heartbeat_url"), {}, b"")


def _ask(settings: Settings, method: str, url: str, headers: dict[str, str], body: bytes) -> Sent:
    try:
        status = asyncio.run(_exchange(settings, method, url, headers, body))
    except (AddressRefused, NotConfigured) as error:
        return Sent(None, str(error))
    except TimeoutError:
        return Sent(None, f"No answer within {SECONDS:.0f} seconds.")
    except (NameUnknown, httpcore2.ConnectError, OSError, EOFError):
        return Sent(None, "The host cannot be found or reached.")
    except (
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.TimeoutException,
        httpcore2.ProxyError,
    ) as error:
        return Sent(None, f"No usable answer ({type(error).__name__}).")
    if 200 <= status < 300:
        return Sent(status, "")
    hint = " Redirects are not followed: give the address it leads to." if 300 <= status < 400 else ""
    return Sent(status, f"It answered with status {status}.{hint}")


async def _exchange(settings: Settings, method: str, url: str, headers: dict[str, str], body: bytes) -> int:
    """The status of the answer, whose body nobody reads. The whole exchange within the time limit."""
    parts = urlsplit(url)
    connections = Connections(
        EndpointGuard(settings.allowed_hosts),
        proxy=settings.llm_proxy.get_secret_value() if settings.llm_proxy else None,
        ssl_context=certificates(str(settings.llm_ca_file) if settings.llm_ca_file else None),
        connect_seconds=CONNECT_SECONDS,
    )
    try:
        async with asyncio.timeout(SECONDS):
            port = parts.port or (443 if parts.scheme == "https" else 80)
            pools = await connections.pools_for(parts.scheme, parts.hostname, port)
            sent = {
                "host": parts.netloc,
                "user-agent": USER_AGENT,
                "content-length": str(len(body)),
                **headers,
            }
            asked = httpcore2.Request(
                method=method,
                url=url,
                headers=[(name.encode(), value.encode()) for name, value in sent.items()],
                content=body,
            )
            with pools.one() as pool:
                response = await pool.handle_async_request(asked)
                await response.aclose()
                return response.status
    finally:
        await connections.aclose()
