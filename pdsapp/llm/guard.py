"""The endpoint guard: which addresses may be connected to, and connecting to exactly those.

Public https is allowed. Plain http and every address that is not public need an entry in
PDS_LLM_ALLOWED_HOSTS. A host is resolved once per connection, every answer is checked, and the
connection goes to a checked address: a name that answers differently a moment later gains nothing.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore2

from ..errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

MAX_ADDRESSES = 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER_BY_NAME = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32"),
            *("100.100.100.200/32", "192.0.0.192/32", "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32"),
        ),
    )
)
_NEVER_PUBLIC = (
    *_NEVER_BY_NAME,
    *map(
        ipaddress.ip_network, ("::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16", "fec0::/10")
    ),
)


@dataclass(frozen=True)
class Checked:
    """A destination that may be connected to, at these addresses and no others.

    `is_listed`: allowed by an entry in PDS_LLM_ALLOWED_HOSTS rather than for being public.
    """

    host: str
    port: int
    addresses: tuple[str, ...]
    is_listed: bool


class NameUnknown(OSError):
    """A host name that cannot be resolved. Not a refusal: it may resolve later."""


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The addresses the system knows for a host, in its order. Blocks; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(entry[4][0]) for entry in found]


class EndpointGuard:
    """Says yes or AddressRefused to a URL. Holds no state besides its list: safe to share.

    `allowed` holds host names ("ollama.lab.example", "*.lab.example"), addresses and CIDRs.
    Link-local, metadata, multicast and unspecified addresses need an address or CIDR entry; a host
    name in the list is not enough for those.
    """

    def __init__(self, allowed: Iterable[str] = (), resolver: Resolver = system_resolver):
        self._resolver = resolver
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            self._add(entry.strip())

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            if entry:
                self._hosts.add(entry.lower().rstrip("."))

    def check(self, url: str) -> Checked:
        """Where this URL may be reached now. Blocks while resolving.

        Raises AddressRefused, or NameUnknown (an OSError) if the name does not resolve.
        """
        scheme, host, port = _destination(url)
        literal = self._check_literal(scheme, host, port)
        return literal or self._check_answers(scheme, host, port, _answers(self._resolver, host, port))

    def check_text(self, url: str) -> None:
        """What can be said of a URL without resolving its name. Raises AddressRefused."""
        self._check_literal(*_destination(url))

    async def check_async(self, url: str) -> Checked:
        """The same without blocking the event loop."""
        return await self.check_destination(*_destination(url))

    async def check_destination(self, scheme: str, host: str, port: int) -> Checked:
        """The same for a URL already taken apart."""
        literal = self._check_literal(scheme, host, port)
        if literal:
            return literal
        return self._check_answers(scheme, host, port, await _in_thread(self._resolver, host, port))

    def _check_literal(self, scheme: str, host: str, port: int) -> Checked | None:
        address = literal_address(host)
        return self._check_answers(scheme, host, port, [str(address)]) if address else None

    def _check_answers(self, scheme: str, host: str, port: int, answers: Sequence[str]) -> Checked:
        addresses = list(dict.fromkeys(answers))[:MAX_ADDRESSES]
        if not addresses:
            raise NameUnknown(f"{host} has no address")
        is_named = self.lists_host(host)
        listed = []
        for text in addresses:
            address = literal_address(text)
            if address is None:
                raise AddressRefused(
                    f"{host} resolves to something that is no address. It is not connected to."
                )
            listed.append(self._check_address(host, address, is_named))
        if scheme != "https" and not all(listed):
            raise AddressRefused(_http_refusal(host))
        return Checked(host, port, tuple(addresses), all(listed))

    def _check_address(self, host: str, address: Address, is_named: bool) -> bool:
        """True if allowed by the list, False if allowed for being public; otherwise raises."""
        effective = _embedded(address)
        if any(a in network for network in self._networks for a in (address, effective) if _same(a, network)):
            return True
        if is_named and not any(effective in n for n in _NEVER_BY_NAME if _same(effective, n)):
            return True
        if is_public(address):
            return False
        raise AddressRefused(
            f"{host} leads to {address}, which is not a public address."
            " An administrator can allow it in PDS_LLM_ALLOWED_HOSTS."
        )

    def lists_host(self, host: str) -> bool:
        """Whether a host is allowed by its name."""
        host = host.lower().rstrip(".")
        parents = (f"*.{host[i + 1 :]}" for i, c in enumerate(host) if c == ".")
        return host in self._hosts or any(parent in self._hosts for parent in parents)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, whatever it is wrapped in."""
    address = _embedded(address)
    if any(address in network for network in _NEVER_PUBLIC if _same(address, network)):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def literal_address(host: str) -> Address | None:
    """The address a host literally is, also when spelled 2130706433, 0x7f.1 or 127.1; None for a name."""
    text = host.strip("[]").rstrip(".").split("%", 1)[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    last = text.rsplit(".", 1)[-1].lower()
    if not (last.isdigit() or last.startswith("0x")) or not text.isascii():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except OSError:
        raise AddressRefused(f"{host} is neither a host name nor an address.") from None


def _embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped or NAT64 one; other addresses as they are."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _same(address: Address, network: Network) -> bool:
    return address.version == network.version


def _destination(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise AddressRefused("The address cannot be read.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressRefused("Only http and https addresses can be asked.")
    return parts.scheme, parts.hostname, port


def _http_refusal(host: str) -> str:
    return (
        f"{host} would be asked over plain http, which shows the key to everybody on the way. Use https,"
        " or have an administrator allow the host in PDS_LLM_ALLOWED_HOSTS."
    )


def _answers(resolver: Resolver, host: str, port: int) -> Sequence[str]:
    try:
        return resolver(host, port)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(f"{host}: {error}") from error


async def _in_thread(resolver: Resolver, host: str, port: int) -> Sequence[str]:
    """A daemon thread per look-up: a resolver that hangs must not hold up the loop, nor its end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(answers: Sequence[str] | None, error: Exception | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(answers or ())

    def look_up() -> None:
        answers, error = None, None
        try:
            answers = _answers(resolver, host, port)
        except NameUnknown as problem:
            error = problem
        try:
            loop.call_soon_threadsafe(settle, answers, error)
        except RuntimeError:  # the loop has ended meanwhile: nobody waits for the answer
            return

    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    return await future


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """A network backend that checks a host and connects to a checked address.

    The host name stays in the request, so Host header and TLS server name are unchanged.
    """

    def __init__(self, guard: EndpointGuard, scheme: str, connect_seconds: float):
        self._guard = guard
        self._scheme = scheme
        self._seconds = connect_seconds
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        """A stream to the first checked address that accepts. Raises AddressRefused or an OSError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        try:
            async with asyncio.timeout(self._seconds):
                checked = await self._guard.check_destination(self._scheme, host, port)
        except TimeoutError:
            raise NameUnknown(f"{host}: no answer from the name server") from None
        last: Exception = httpcore2.ConnectError("no address")
        for index, address in enumerate(checked.addresses):
            left = max(0.2, (end - loop.time()) / (len(checked.addresses) - index))
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=left, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        raise last

    async def connect_unix_socket(self, path, timeout=None, socket_options=None):
        """Never: endpoints are not reached through socket files."""
        raise AddressRefused("Endpoints are not reached through socket files.")

    async def sleep(self, seconds: float) -> None:
        """Waits; httpcore's retries, which are off, would use it."""
        await asyncio.sleep(seconds)
