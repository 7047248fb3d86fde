"""The lowest rungs of a test: is the address allowed, does somebody listen there, is its TLS accepted?"""

import asyncio
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..domain.quoting import one_line
from ..domain.reasons import Reason
from ..errors import AddressRefused
from .client import ModelClient
from .guard import Checked, NameUnknown

CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Step:
    """One thing that was tried. `ok` is None if it could not be told; `ms` are milliseconds, None where
    the step took no request of its own."""

    name: str
    ok: bool | None
    detail: str
    ms: int | None


async def ground_steps(
    client: ModelClient, base_url: str, seconds: float = CONNECT_SECONDS
) -> tuple[list[Step], Reason | None]:
    """The steps "address", "connect" and, for https, "tls"; and why it ends there, None if it goes on.

    Connects to what the guard has checked and to nothing else, sends no request and no key. What goes by
    the proxy is not connected to from here.
    """
    address, checked, refused = await _check_address(client, base_url, seconds)
    if refused is not None:
        return [address], refused
    if client.goes_by_proxy(base_url, checked):
        words = "Goes by the proxy in PDS_LLM_PROXY, which the next step tries."
        return [address, Step("connect", None, words, None)], None
    connect, writer = await _connect(checked, seconds)
    if writer is None:
        return [address, connect], Reason.endpoint_down
    try:
        if urlsplit(base_url).scheme != "https":
            return [address, connect], None
        tls = await _shake_hands(writer, checked.host, client.ssl_context(), seconds)
    finally:
        writer.transport.abort()
    return [address, connect, tls], None if tls.ok else Reason.endpoint_down


async def _check_address(
    client: ModelClient, base_url: str, seconds: float
) -> tuple[Step, Checked | None, Reason | None]:
    began = time.monotonic()
    checked, reason = None, None
    try:
        async with asyncio.timeout(seconds):
            checked = await client.guard.check_async(base_url)
        ok, detail = True, f"Allowed: {checked.host} at {', '.join(checked.addresses[:3])}."
    except AddressRefused as error:
        ok, detail, reason = False, str(error), Reason.endpoint_refused
    except (NameUnknown, TimeoutError):
        host = urlsplit(base_url).hostname
        if client.goes_by_proxy(base_url, None):
            ok, detail = None, f"{host} does not resolve here. Behind a proxy that may be right."
        else:
            ok, reason = False, Reason.endpoint_down
            detail = f"The host name {host} does not resolve. Check its spelling in the base URL."
    return Step("address", ok, detail, _ms(began)), checked, reason


async def _connect(checked: Checked, seconds: float) -> tuple[Step, asyncio.StreamWriter | None]:
    began = time.monotonic()
    place = f"{checked.host}, port {checked.port}"
    words = ""
    for address in checked.addresses[:3]:
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(address, checked.port)
            return Step("connect", True, f"Connected to {address}, port {checked.port}.", _ms(began)), writer
        except ConnectionRefusedError:
            words = f"Nothing listens at {place}. Is the server running, is the port right?"
        except TimeoutError:
            words = f"No connection to {place} within {seconds:.0f} s. Is it running, is a firewall between?"
        except OSError as error:
            why = one_line(error.strerror or str(error), 120)
            words = f"{place} cannot be reached ({why}). Check the base URL and the network."
    return Step("connect", False, words, _ms(began)), None


async def _shake_hands(
    writer: asyncio.StreamWriter, host: str, context: ssl.SSLContext, seconds: float
) -> Step:
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await writer.start_tls(context, server_hostname=host)
        version = writer.get_extra_info("ssl_object").version()
        return Step("tls", True, f"The certificate is accepted ({version}).", _ms(began))
    except ssl.SSLCertVerificationError as error:
        why = one_line(error.verify_message, 200).rstrip(".")
        words = (
            f"The TLS certificate is not accepted: {why}. Check the host name in the base URL; a certificate "
            "of your own house has to be trusted by this machine first."
        )
    except TimeoutError:
        words = f"No TLS answer within {seconds:.0f} s. Is this the port of the https server?"
    except (ssl.SSLError, OSError) as error:
        why = one_line(getattr(error, "reason", "") or str(error) or "connection closed", 120)
        words = f"No TLS is spoken at this port ({why}). Is it http:// rather than https://?"
    return Step("tls", False, words, _ms(began))


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
