"""A rolling restart under load: workers, scheduler and web in turn, twice, and nothing is lost or doubled."""

import re
import signal
import threading
import time
from datetime import timedelta
from http.cookiejar import CookieJar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.models import Attempt, DigitalTwin, Heartbeat, LostLease, ModelCall, Post, Schedule, Slot, utc_now
from pdsapp.services.accounts import add_account
from pdsapp.services.ledger import ledger
from pdsapp.stack.preflight import free_port
from tests import builders
from tests.model_server import text

from . import world
from .world import make_schedule, wait_for

pytestmark = pytest.mark.queue
PASSWORD = "correct horse battery"
TWINS, ASKED, PRESSED, SCHEDULED, ROUNDS = 40, 80, 30, 12, 2
TOO_LONG_FOR_A_STOP, PATIENCE = 6.0, 120


class Visitor:
    """Somebody who is signed in and keeps pressing “post now”, also while the web server is away.

    `on_silence` is called whenever a request has been without an answer for ten seconds.
    """

    def __init__(self, port, on_silence):
        self.address = f"http://127.0.0.1:{port}"
        self._on_silence = on_silence
        self._open = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar())).open
        self.pressed = 0

    def ask(self, path, **fields):
        began, refusals = time.monotonic(), []
        while True:
            try:
                data = urlencode(fields).encode() if fields else None
                with self._open(self.address + path, data, timeout=10) as answer:
                    return answer.read().decode()
            except (URLError, ConnectionError, TimeoutError) as error:
                seconds = round(time.monotonic() - began, 1)
                refusals.append((seconds, repr(error)))
                assert seconds < PATIENCE, f"the web server stayed away: {refusals}"
                if isinstance(error, TimeoutError):
                    self._on_silence()
                time.sleep(0.1)

    def sign_in(self):
        form = self.ask("/login")
        self.ask("/login", email="ada@example.org", password=PASSWORD, csrf_token=_csrf(form))

    def press_for_all(self, twin_ids):
        token = _csrf(self.ask("/admin/digitaltwin/"))
        for number, twin_id in enumerate(twin_ids):
            fields = {"id": twin_id, "request_id": f"web-rolling-restart-{number:04}", "csrf_token": token}
            self.ask("/admin/digitaltwin/post-now/", **fields)
            self.pressed += 1
            time.sleep(0.2)


def _csrf(page):
    return re.search(r'name="csrf_token" (?:type="hidden" )?value="([^"]+)"', page)[1]


@pytest.fixture
def twin_ids(study, settings, model_server):
    """Twins of an experiment whose model takes its time, now and then longer than a stop may take."""
    token = builders.make_token(settings, model_server.base_url)
    for _ in range(TWINS - 3):
        builders.make_twin(study, token=token)
    model_server.default = lambda _: text().later(
        TOO_LONG_FOR_A_STOP if len(model_server.history) % 12 == 7 else 0.4
    )
    with transaction() as session:
        add_account(session, "ada@example.org", "researcher", utc_now(), PASSWORD, sees_all=True)
        return session.scalars(select(DigitalTwin.id)).all()


def add_load(study, session, twin_ids):
    twins = session.scalars(select(DigitalTwin)).all()
    for number in range(ASKED):
        builders.add_attempt(twins[number % len(twins)])
    first = utc_now().replace(microsecond=0) + timedelta(seconds=2)
    for number in range(SCHEDULED):
        make_schedule(
            study, ago=timedelta(0), name=f"No. {number}", is_forced=True, twins_per_slot=2,
            interval_seconds=3600, anchor_at=first + timedelta(seconds=2 * number),
        )  # fmt: skip


def test_nothing_is_lost_doubled_or_struck(study, settings, session, twin_ids):
    add_load(study, session, twin_ids)
    port = free_port()
    starts = {
        "worker 1": lambda: world.worker(settings, "now,default"),
        "worker 2": lambda: world.worker(settings, "default,now"),
        "scheduler": lambda: world.scheduler(settings),
        "web": lambda: world.web(settings, port),
    }
    running = {name: start() for name, start in starts.items()}
    processes = {name: context.__enter__() for name, context in running.items()}

    def say_where_it_is():
        if "answering at" in processes["web"].output:
            processes["web"].process.send_signal(signal.SIGUSR1)

    visitor = Visitor(port, say_where_it_is)
    visitor.sign_in()
    pressing = threading.Thread(target=visitor.press_for_all, args=(twin_ids[:PRESSED],))
    pressing.start()
    try:
        for _ in range(ROUNDS):
            for name in starts:
                _wait_until_it_works(name, processes[name], session)
                code, _seconds = processes[name].stop()
                assert code == 0, (name, code, processes[name].output)
                running[name].__exit__(None, None, None)
                running[name] = starts[name]()
                processes[name] = running[name].__enter__()
        pressing.join(2 * PATIENCE)
        assert visitor.pressed == PRESSED, processes["web"].output
        wait_for(lambda: _slots(session) == SCHEDULED, 60)
        wait_for(lambda: _open_attempts(session) == 0, 90, every=0.3)
    finally:
        for context in running.values():
            context.__exit__(None, None, None)
        pressing.join(60)
    _check_the_books(session)


def _wait_until_it_works(name, process, session):
    if name == "web":
        process.says("answering at")
    else:
        wait_for(lambda: session.rollback() or _has_beaten(session, process.pid), 30)


def _has_beaten(session, pid):
    alive = (Heartbeat.pid == pid, Heartbeat.stopped_at.is_(None))
    return session.scalar(select(func.count(Heartbeat.id)).where(*alive)) == 1


def _slots(session):
    session.rollback()
    return session.scalar(select(func.count(Slot.id)))


def _open_attempts(session):
    session.rollback()
    return session.scalar(select(func.count(Attempt.id)).where(Attempt.finished_at.is_(None)))


def _check_the_books(session):
    session.rollback()
    books = ledger(session)
    assert books.adds_up, books.problems
    states = dict(session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all())
    asked = session.scalar(select(func.count(Attempt.id)).where(Attempt.slot_id.is_(None)))
    assert asked == ASKED + PRESSED
    assert session.scalar(select(func.count(Attempt.id))) == ASKED + PRESSED + 2 * SCHEDULED
    # Of a twin that was busy a scheduled attempt is skipped; whatever somebody asked for was posted.
    assert {state.value for state in states} <= {"posted", "skipped"}, states
    unposted = select(func.count(Attempt.id)).where(Attempt.slot_id.is_(None), Attempt.state != "posted")
    assert session.scalar(unposted) == 0
    posts = session.scalar(select(func.count(Post.id)))
    assert posts == sum(count for state, count in states.items() if state.value == "posted")
    assert session.scalar(select(func.count(func.distinct(Post.attempt_id)))) == posts
    assert set(session.scalars(select(Attempt.strikes))) == {0}
    assert session.scalar(select(func.count(LostLease.id))) == 0
    assert session.execute(select(Slot.kind, func.count()).group_by(Slot.kind)).all() == [
        ("fired", SCHEDULED)
    ]
    assert session.scalar(select(func.count(Schedule.id))) == SCHEDULED
    given_back = session.scalar(select(func.count(ModelCall.id)).where(ModelCall.state == "lost"))
    assert given_back >= 1, "some worker was stopped in the middle of a call that took too long"
