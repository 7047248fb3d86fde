"""What is looked at before anything is started: the system and the port."""

import errno
import os
import shlex
import socket
import time

from ..errors import StackError

BACKLOG = 256
PATIENCE_SECONDS = 0.5
# What the web server writes when it answers; the supervisor waits for it.
WEB_IS_READY = "answering at"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def refuse_windows() -> None:
    """Raises StackError on Windows, where the queue server and process groups do not exist."""
    if os.name == "nt":
        raise StackError(
            "Discourse Twins does not run on Windows itself. Install WSL (`wsl --install`), "
            "open its terminal and run `make run` there."
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on this address; port 0 takes any free one.

    Kept open by the supervisor over restarts of the web server: visitors wait instead of being refused, and
    nobody else can take the port. Raises StackError with what to do when the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise StackError(f"PDS_HOST={host} is not a known address. Use 127.0.0.1.") from None
    listener = socket.socket(family, kind, protocol)
    # A stack that has just ended leaves connections in TIME_WAIT: they do not take the port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if port and _somebody_answers(family, address):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            listener.bind(address)
            listener.listen(BACKLOG)
            return listener
        except OSError as error:
            # The web server of a stack killed a moment ago may still be on its way out.
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(0.1)
                continue
            listener.close()
            raise StackError(_why_not(error, host, port)) from None


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody uses at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def address_of(host: str, listener: socket.socket) -> str:
    """The http address people open, for a socket bound to `host`."""
    name = WILDCARDS.get(host, host)
    if ":" in name:
        name = f"[{name}]"
    return f"http://{name}:{listener.getsockname()[1]}"


def _somebody_answers(family: int, address: tuple) -> bool:
    """Whether a connection is accepted: macOS lets a second program bind beside a wildcard listener."""
    target = (WILDCARDS.get(address[0], address[0]), *address[1:])
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(target) == 0


def _again(port: int) -> str:
    """The command that starts the same on another port."""
    folder = os.environ.get("PDS_DATA_DIR")
    return f"{f'PDS_DATA_DIR={shlex.quote(folder)} ' if folder else ''}PDS_PORT={port} make run"


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 8000
        return (
            f"Port {port} on {host} is taken by another program. "
            f"Stop that program, or choose another port: {_again(other)}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be opened by this user. Choose one above 1023: {_again(8000)}"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"PDS_HOST={host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all."
    return f"Port {port} on {host} cannot be opened ({error.strerror or error}). Set PDS_HOST and PDS_PORT."
