"""Receivers that are slow, endless or elsewhere: each try has its deadline, the heartbeat does not wait."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from pdsapp.config import read_settings
from pdsapp.database import reading
from pdsapp.models import ProcessKind, utc_now
from pdsapp.scheduling import notifier
from pdsapp.services import heartbeats, notice_sending, notices
from tests import builders

from .test_notices import SECRET, Receiver, outbox, told

GIGABYTE = 1_000_000_000
MEGABYTE = b"x" * 1_000_000


class Bad:
    """A receiver that answers badly. `asked` is set when it was asked, `left` when who asked went away."""

    def __init__(self, mode, elsewhere=""):
        self.mode, self.elsewhere, self.sent = mode, elsewhere, 0
        self.asked, self.left = threading.Event(), threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/hook"

    def _serve(self):
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    self.asked.set()
                    getattr(self, f"_{self.mode}")(connection)
                self.left.set()

    def _hangs(self, connection):
        while connection.recv(65536):  # b"" once the other side has hung up
            pass

    def _drips(self, connection):
        for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 1000:
            connection.sendall(bytes([letter]))
            self.sent += 1
            time.sleep(0.1)

    def _redirects(self, connection):
        answer = f"HTTP/1.1 307 Elsewhere\r\nLocation: {self.elsewhere}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(answer.encode())

    def _floods(self, connection):
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
        while self.sent < GIGABYTE:
            connection.sendall(MEGABYTE)
            self.sent += len(MEGABYTE)

    def _headers(self, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while self.sent < GIGABYTE:
            connection.sendall(b"X-Long: " + MEGABYTE)
            self.sent += len(MEGABYTE)


@pytest.fixture
def heart():
    """Who takes the heartbeat, at once."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def bad(request, heart):
    server = Bad(request.param, heart.url)
    yield server
    server.socket.close()


def settings_of(bad, **more):
    return read_settings(
        PDS_NOTICE_URL=bad.url, PDS_NOTICE_SECRET=SECRET, PDS_LLM_ALLOWED_HOSTS="127.0.0.0/8", **more
    )


ALL = pytest.mark.parametrize("bad", ["hangs", "drips", "redirects", "floods", "headers"], indirect=True)
SLOW = pytest.mark.parametrize("bad", ["hangs", "drips"], indirect=True)


@ALL
def test_a_try_ends_within_its_deadline_and_reads_no_body(write, bad, heart, monkeypatch):
    monkeypatch.setattr(notice_sending, "SECONDS", 1.0)
    told(write)
    with write() as session:
        notice = notices.take(session, utc_now())
    began = time.monotonic()
    sent = notice_sending.send(settings_of(bad), notice, utc_now())
    assert time.monotonic() - began < 2.5
    assert bad.left.wait(5) and bad.sent < GIGABYTE / 10
    assert heart.got == [], "no redirect is followed"
    assert (sent.status, sent.problem) == {
        "hangs": (None, "No answer within 1 seconds."),
        "drips": (None, "No answer within 1 seconds."),
        "redirects": (
            307,
            "It answered with status 307. Redirects are not followed: give the address it leads to.",
        ),
        "floods": (200, ""),
        "headers": (None, "No usable answer (RemoteProtocolError)."),
    }[bad.mode]


@SLOW
def test_who_hangs_with_a_notice_does_not_keep_the_heartbeat_back(app, write, bad, heart):
    told(write)
    alive(write)
    app.extensions["settings"] = settings_of(bad, PDS_HEARTBEAT_URL=heart.url)
    with notifying(app):
        assert bad.asked.wait(10)
        wait_until(lambda: heart.got, seconds=notice_sending.SECONDS - 1)
        assert not bad.left.is_set(), "the heartbeat came while the notice was held"
    (notice,) = outbox()
    assert notice.is_waiting and notice.problem == "No answer within 5 seconds."


@pytest.mark.parametrize("bad", ["hangs"], indirect=True)
def test_a_heartbeat_address_that_hangs_does_not_keep_notices_back(app, write, bad, heart):
    told(write, 2)
    alive(write)
    app.extensions["settings"] = settings_of(heart, PDS_HEARTBEAT_URL=bad.url)
    with notifying(app):
        assert bad.asked.wait(10)
        wait_until(lambda: len(heart.got) == 2, seconds=notice_sending.SECONDS - 1)
        assert not bad.left.is_set()
        wait_until(lambda: all(notice.delivered_at for notice in outbox()))
    with reading() as session:
        assert notices.marked_at(session, notifier.HEARTBEAT_TAKEN) is None


@pytest.mark.parametrize("bad", ["redirects"], indirect=True)
def test_an_attention_list_that_cannot_be_read_does_not_keep_the_heartbeat_back(
    app, write, bad, heart, monkeypatch
):
    def unreadable(*_):
        raise ValueError("a row written by hand")

    builders.make_experiment()
    alive(write)
    monkeypatch.setattr(notices, "current_lines", unreadable)
    monkeypatch.setattr(notifier, "LOOK_SECONDS", 0)
    app.extensions["settings"] = settings_of(bad, PDS_HEARTBEAT_URL=heart.url)
    with notifying(app):
        wait_until(lambda: heart.got)


def alive(write):
    with write() as session:
        for kind in ProcessKind:
            heartbeats.beat(session, kind, f"{kind}-1", utc_now())


class notifying:
    """The threads of `notifier.start`, which have ended when the block has."""

    def __init__(self, app):
        self.app, self.stop = app, threading.Event()

    def __enter__(self):
        self.threads = notifier.start(self.app, self.stop)

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(15)
            assert not thread.is_alive()


def wait_until(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
