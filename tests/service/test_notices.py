"""Notices are debounced, signed, sent in order, tried again for a day, and never lost."""

import hashlib
import hmac
import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select

from pdsapp.config import read_settings
from pdsapp.database import reading
from pdsapp.errors import NotConfigured
from pdsapp.models import Notice, NoticeLine, NoticeMark, ProcessKind, utc_now
from pdsapp.scheduling import notifier
from pdsapp.services import heartbeats, notices
from pdsapp.services.attention import Line

SECRET = "a secret of some length"
DOWN = Line("no_worker", "bad", "No worker is alive.", "Start one.")
START = utc_now()


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers with `status`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Taking)
        self.status, self.location, self.got = 204, "", []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?key=zqkey"

    @property
    def bodies(self):
        return [json.loads(body) for _, _, _, body in self.got]


class Taking(BaseHTTPRequestHandler):
    def _take(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.got.append((self.command, self.path, dict(self.headers.items()), body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _take

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def configured(app, receiver):
    return settings_of(receiver.url)


def settings_of(url, hosts="127.0.0.0/8", **more):
    return read_settings(
        PDS_NOTICE_URL=url, PDS_NOTICE_SECRET=SECRET, PDS_LLM_ALLOWED_HOSTS=hosts, PDS_DEMO="0", **more
    )


def look(write, seconds, *lines):
    with write() as session:
        notices.note(session, lines, START + timedelta(seconds=seconds))


def send(settings, seconds):
    notifier._send(settings, lambda: START + timedelta(seconds=seconds))


def outbox():
    with reading() as session:
        return session.scalars(select(Notice).order_by(Notice.id)).all()


def told(write, count=1):
    for number in range(count):
        with write() as session:
            row = NoticeLine(
                key=f"line:{number}", level="bad", title=f"Line {number}.", words="", seen_since=START
            )
            notices._write(session, "appeared", row, START)


def test_a_line_is_told_once_it_has_held_for_a_minute_and_its_recovery_likewise(app, write):
    for seconds in (0, 30, 59):
        look(write, seconds, DOWN)
    assert outbox() == []
    for seconds in (60, 90):
        look(write, seconds, DOWN)
    assert [each.event for each in outbox()] == ["appeared"]
    look(write, 120)
    look(write, 150, DOWN)  # back before the minute was over
    look(write, 180)
    look(write, 210)
    assert [each.event for each in outbox()] == ["appeared"]
    look(write, 240)
    assert [each.event for each in outbox()] == ["appeared", "recovered"]


def test_a_line_that_flaps_is_never_told(app, write):
    for seconds in range(0, 600, 60):
        look(write, seconds, DOWN)
        look(write, seconds + 30)
    assert outbox() == []


def test_the_signature_is_of_timestamp_and_body_and_the_id_stays_the_same(write, configured, receiver):
    told(write)
    receiver.status = 500
    send(configured, 0)
    receiver.status = 204
    send(configured, 60)
    (_, path, first, _), (method, _, headers, body) = receiver.got
    assert (method, path, headers["content-type"]) == ("POST", "/hook?key=zqkey", "application/json")
    signed = headers["x-pds-timestamp"].encode() + b"." + body
    assert (
        headers["x-pds-signature"]
        == "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    )
    assert first["x-pds-delivery"] == headers["x-pds-delivery"] == json.loads(body)["id"]
    assert outbox()[0].delivered_at is not None


def test_what_stands_behind_a_notice_that_waits_waits_with_it(write, configured, receiver):
    told(write, 2)
    receiver.status = 503
    send(configured, 0)
    send(configured, 1)
    assert len(receiver.got) == 1
    receiver.status = 200
    send(configured, 10)
    send(configured, 11)
    assert [body["line"]["key"] for body in receiver.bodies] == ["line:0", "line:0", "line:1"]


def test_what_a_process_took_and_died_with_is_sent_by_another(write, configured, receiver):
    told(write)
    with write() as session:
        assert notices.take(session, START) is not None
    send(configured, 29)
    assert receiver.got == []
    send(configured, 30)
    assert len(receiver.got) == 1 and outbox()[0].delivered_at is not None


def test_after_a_day_it_is_given_up_and_the_attention_list_says_so_until_one_arrives(
    write, configured, receiver
):
    told(write)
    receiver.status = 500
    send(configured, 24 * 3600)
    assert outbox()[0].given_up_at is not None
    assert undelivered(configured) == ["Notices cannot be delivered."]
    receiver.status = 200
    told(write)
    send(configured, 24 * 3600)
    assert undelivered(configured) == []


def undelivered(settings):
    from pdsapp.services.attention import _undelivered

    with reading() as session:
        return [line.title for line in _undelivered(session, settings)]


def test_a_redirect_is_not_followed(write, configured, receiver):
    receiver.status, receiver.location = 302, "/elsewhere"
    told(write)
    send(configured, 0)
    assert len(receiver.got) == 1
    assert "Redirects are not followed" in outbox()[0].problem


def test_an_address_inside_that_is_not_allowed_is_not_asked(write, app, receiver):
    told(write)
    send(settings_of(receiver.url, hosts="llm.example.org"), 0)
    assert receiver.got == []
    assert "PDS_LLM_ALLOWED_HOSTS" in outbox()[0].problem and "zqkey" not in outbox()[0].problem


def test_nobody_listening_is_a_problem_to_try_again(write, app):
    told(write)
    send(settings_of("http://127.0.0.1:9/"), 0)
    assert outbox()[0].is_waiting and outbox()[0].problem == "The host cannot be found or reached."


def test_a_whole_turn_tells_that_no_worker_lives(write, configured, receiver):
    for seconds in (0, 31, 62):
        notifier.tell(configured, lambda seconds=seconds: START + timedelta(seconds=seconds))
    for _ in range(5):
        notifier.tell(configured, lambda: START + timedelta(seconds=63))
    assert "no_worker" in {body["line"]["key"] for body in receiver.bodies}


def test_of_two_that_look_one_does(write, app):
    with write() as session:
        assert notices.is_turn(session, "look", 30, START)
    with write() as session:
        assert not notices.is_turn(session, "look", 30, START + timedelta(seconds=29))
        assert notices.is_turn(session, "look", 30, START + timedelta(seconds=30))
        assert session.scalars(select(NoticeMark.name)).all() == ["look"]


def test_who_asked_is_not_in_a_notice(write, app):
    line = Line("asked_if_human:1", "warn", "@ada asked a twin whether it is a human being.", "2 min ago.")
    look(write, 0, line)
    look(write, 60, line)
    assert "ada" not in outbox()[0].body and "Somebody asked" in outbox()[0].body


def test_the_heartbeat_is_sent_each_minute_while_worker_and_scheduler_live(write, app, receiver):
    settings = read_settings(PDS_HEARTBEAT_URL=receiver.url, PDS_LLM_ALLOWED_HOSTS="127.0.0.0/8")
    notifier.beat(settings, lambda: START)
    assert receiver.got == []
    with write() as session:
        for kind in ProcessKind:
            heartbeats.beat(session, kind, f"{kind}-1", START)
    for seconds in (0, 10):
        notifier.beat(settings, lambda seconds=seconds: START + timedelta(seconds=seconds))
    assert [method for method, *_ in receiver.got] == ["GET"]
    with reading() as session:
        assert notices.marked_at(session, notifier.HEARTBEAT_TAKEN) == START


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("ftp://example.org/", SECRET),
        ("https://user:zqpass@example.org/", SECRET),
        ("https://", SECRET),
        ("https://example.org/", "short"),
    ],
)
def test_an_address_or_secret_that_cannot_work_is_refused_without_repeating_it(url, secret):
    with pytest.raises(NotConfigured) as refused:
        read_settings(PDS_NOTICE_URL=url, PDS_NOTICE_SECRET=secret)
    assert "zqpass" not in str(refused.value)
