"""The sender of notices is killed in the middle of delivering: nothing is lost, and order holds."""

import hashlib
import hmac
import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select

from pdsapp.models import Notice, utc_now
from pdsapp.services import notices
from pdsapp.services.attention import Line

from . import world
from .world import wait_for

pytestmark = pytest.mark.queue
SECRET = "a secret of some length"
# A try that is not settled is tried again after half a minute: here sooner.
SOON = (
    "from datetime import timedelta; from pdsapp.services import notices; "
    "notices.LEASE = timedelta(seconds=2); "
)


class Holding(ThreadingHTTPServer):
    """Writes down what it is sent, and holds its answer to the deliveries whose number stands in `holds`."""

    daemon_threads = True

    def __init__(self, holds):
        super().__init__(("127.0.0.1", 0), _Taking)
        self.holds, self.got, self.go_on, self.lock = set(holds), [], threading.Event(), threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def firsts(self):
        """The notices without the doubles, as a receiver keeps them: (event, key) in the order they came."""
        found = {}
        for headers, body in self.got:
            found.setdefault(headers["x-pds-delivery"], json.loads(body))
        return [(body["event"], body["line"]["key"]) for body in found.values()]


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.got.append((dict(self.headers.items()), body))
            is_held = len(self.server.got) in self.server.holds
        if is_held:
            self.server.go_on.wait(30)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Holding(holds={1, 4})
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def outbox(study, write):
    """Eight notices: three lines that appeared and recovered, one of them twice."""
    start = utc_now() - timedelta(minutes=20)
    a, b, c = (Line(f"test:{name}", "bad", f"Line {name}.", "Mend it.") for name in "abc")
    for minutes, lines in enumerate([(a, b), (a, b), (b, c), (b, c), (a, b, c), (a, b, c), (b, c), (b, c)]):
        with write() as session:
            notices.note(session, lines, start + minutes * timedelta(minutes=1))
    with write() as session:
        notices.note(session, (), start + timedelta(minutes=9))
        notices.note(session, (), start + timedelta(minutes=10))
        rows = session.scalars(select(Notice).order_by(Notice.id)).all()
        return [(str(row.uuid), row.body.encode()) for row in rows]


def scheduler(settings, receiver):
    return world.running(
        SOON + world.SCHEDULER, settings, PDS_NOTICE_URL=receiver.url, PDS_NOTICE_SECRET=SECRET
    )


def test_a_sender_killed_in_the_middle_of_delivering_loses_nothing_and_keeps_the_order(
    settings, outbox, receiver, session
):
    wanted = [(body["event"], body["line"]["key"]) for body in (json.loads(text) for _, text in outbox)]
    assert wanted[:2] == [("appeared", "test:a"), ("appeared", "test:b")] and len(wanted) == 8
    for arrived in (1, 4):
        with scheduler(settings, receiver) as process:
            wait_for(lambda arrived=arrived: len(receiver.got) >= arrived, seconds=30)
            process.process.kill()
            process.process.wait()
        assert len(receiver.got) == arrived, "what stands behind it waits"
    with scheduler(settings, receiver):
        wait_for(lambda: waiting(session) == 0, seconds=40)
    ids = [headers["x-pds-delivery"] for headers, _ in receiver.got]
    assert [ids.count(uuid) for uuid, _ in outbox] == [2, 1, 2, 1, 1, 1, 1, 1]
    assert receiver.firsts == wanted
    texts = dict(outbox)
    for headers, body in receiver.got:
        assert body == texts[headers["x-pds-delivery"]], "a double is the same to the letter"
        signed = headers["x-pds-timestamp"].encode() + b"." + body
        good = "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["x-pds-signature"] == good
    appeared = set()
    for event, key in receiver.firsts:
        if event == "recovered":
            assert key in appeared, "no recovery comes before its appearance"
            appeared.remove(key)
        else:
            appeared.add(key)


def waiting(session):
    session.rollback()
    return len(session.scalars(select(Notice.id).where(Notice.is_waiting)).all())
