"""The web server of the local stack: waitress, on the socket the supervisor has bound.

`python -m pdsapp.stack.web`; without `--socket` from the supervisor it binds PDS_HOST and PDS_PORT itself.
On SIGTERM it takes no new connections, finishes the answers it has begun and ends.
"""

import argparse
import contextlib
import io
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import RequestEntityTooLarge

from .preflight import WEB_IS_READY, address_of, bind

HEARTBEAT_SECONDS = 5
THREADS = 8
# The largest that any page takes. Longer ones are read and dropped: the application refuses them by length.
KEPT_BODY_BYTES = 21_000_000
LONGEST_BODY_BYTES = 1_000_000_000
FINISH_SECONDS = 0.6


class _Nowhere:
    """Where a body goes that is too long to be kept."""

    def append(self, _data: bytes) -> None:
        """Drops it."""

    def getfile(self) -> io.BytesIO:
        """Nothing to read."""
        return io.BytesIO()

    def close(self) -> None:
        """Nothing to let go of."""

    def __len__(self) -> int:
        return 0


class _Parser(HTTPRequestParser):
    """Reads a body that is too long to its end instead of cutting the line: its sender gets a page."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if not self.chunked and self.content_length > KEPT_BODY_BYTES:
            self.body_rcv = FixedStreamReceiver(self.content_length, _Nowhere())

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if self.chunked and self.body_bytes_received > KEPT_BODY_BYTES:  # its length was not announced
            self.error = RequestEntityTooLarge(f"At most {KEPT_BODY_BYTES:,} bytes are taken.")
            self.completed = True
        return consumed


class _Channel(HTTPChannel):
    parser_class = _Parser


def main() -> None:
    """Serve the application until SIGTERM or Ctrl-C."""
    from ..config import read_settings

    parser = argparse.ArgumentParser(prog="pdsapp.stack.web")
    parser.add_argument("--socket", type=int, help="descriptor of a listening socket to serve")
    parser.add_argument("--heartbeat-file", type=Path, help="written every 5 s while requests are taken")
    arguments = parser.parse_args()
    settings = read_settings()
    if arguments.socket is None:
        listener = bind(settings.host, settings.port)
    else:
        listener = socket.socket(fileno=arguments.socket)
    run(listener, arguments.heartbeat_file)


def run(listener: socket.socket, heartbeat_file: Path | None) -> None:
    """Serve the application with the settings of the environment until SIGTERM or Ctrl-C."""
    from .. import collector, create_app
    from ..config import read_settings
    from ..services import hand_backups

    settings = read_settings()
    hand_backups.clear(settings)
    app = create_app(settings)
    collector.settle()
    serve(
        app,
        listener,
        heartbeat_file,
        has_proxy=settings.trusted_proxies > 0,
        ready=f"{WEB_IS_READY} {address_of(settings.host, listener)}",
    )


def serve(
    app: Callable,
    listener: socket.socket,
    heartbeat_file: Path | None = None,
    has_proxy: bool = False,
    ready: str = "",
) -> None:
    """Answer on a listening socket until SIGTERM or Ctrl-C. Only for the main thread.

    The forwarding headers of a proxy are left to the app if there is one, else dropped. `ready` is printed
    once both signals are heard.
    """
    # A request that waits some milliseconds for a thread is not worth a warning.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    channels: dict = {}
    server = create_server(
        app,
        map=channels,
        sockets=[listener],
        threads=THREADS,
        ident=None,
        asyncore_use_poll=True,
        max_request_body_size=LONGEST_BODY_BYTES,
        clear_untrusted_proxy_headers=not has_proxy,
    )
    server.channel_class = _Channel
    stopping = threading.Event()

    def stop(*_signal: object) -> None:
        stopping.set()
        server.pull_trigger()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if ready:
        print(ready, flush=True)
    beat_at = 0.0
    while not stopping.is_set():
        if heartbeat_file is not None and time.monotonic() >= beat_at:
            beat_at = time.monotonic() + HEARTBEAT_SECONDS
            with contextlib.suppress(OSError):
                _beat(heartbeat_file)
        wasyncore.loop(timeout=1, use_poll=True, map=channels, count=1)
    server.accepting = False
    finish_at = time.monotonic() + FINISH_SECONDS
    while time.monotonic() < finish_at and any(_is_busy(channel) for channel in channels.values()):
        wasyncore.loop(timeout=0.05, use_poll=True, map=channels, count=1)
    server.task_dispatcher.shutdown(timeout=0.1)


def _beat(heartbeat_file: Path) -> None:
    """In one step: the supervisor, who reads it every second, would take a half-written file for silence.

    One that this process has written is only touched: that needs no room on a full disk.
    """
    with contextlib.suppress(OSError):
        if heartbeat_file.read_text() == str(os.getpid()):
            os.utime(heartbeat_file)
            return
    fresh = heartbeat_file.with_name(f"{heartbeat_file.name}.new")
    fresh.write_text(str(os.getpid()))
    fresh.replace(heartbeat_file)


def _is_busy(channel: object) -> bool:
    return bool(getattr(channel, "requests", None) or getattr(channel, "total_outbufs_len", 0))


if __name__ == "__main__":
    main()
