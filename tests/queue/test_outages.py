"""Redis is expendable: killed, emptied, frozen or without its socket, it is all back soon, once, complete.

A scheduler and two workers run on a queue server of the test's own while slots fall due and people ask.
`TEST_OUTAGE_SECONDS=60` makes the outages as long as that; by default they are short.
"""

import os
import shutil
import signal
import subprocess
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select

from pdsapp.errors import QueueDown
from pdsapp.models import Attempt, Heartbeat, LostLease, Post, Schedule, Slot, utc_now
from pdsapp.scheduling import projection, queue
from pdsapp.scheduling.projection import ENTRIES, score
from pdsapp.scheduling.worker import TwinWorker
from pdsapp.services.ledger import ledger
from pdsapp.stack.valkey import binary_path, has_loaded
from tests import builders
from tests.model_server import text

from . import world
from .world import make_schedule, wait_for

pytestmark = pytest.mark.queue
OUTAGE_SECONDS = float(os.environ.get("TEST_OUTAGE_SECONDS", "3"))
BACK_SECONDS = 60.0
BEFORE, AFTER = 1, 4
ASKED = 10
STOPPED_SECONDS = 6
ON_TIME = timedelta(seconds=5)


class Server:
    """A queue server of the test's own, without a file: what it knew is gone when it is killed."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}?db=0"
        self.process = None

    def start(self):
        self.socket.unlink(missing_ok=True)
        command = [str(binary_path()), "--port", "0", "--unixsocket", str(self.socket)]
        self.process = subprocess.Popen(
            [*command, "--save", "", "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        wait_for(lambda: has_loaded(self.socket))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)


@pytest.fixture
def server():
    """A running server; gone, and its folder with it, when the test is over."""
    found = Server(Path("/tmp") / f"dt-out-{uuid.uuid4().hex[:8]}")
    found.folder.mkdir(mode=0o700)
    found.start()
    yield found
    found.kill()
    shutil.rmtree(found.folder, ignore_errors=True)


@pytest.fixture
def overrides(server):
    """The application's queue is this server."""
    return {"REDIS_URL": server.url}


@pytest.fixture
def asked_twins(study, settings, model_server):
    """Twins for what people ask, beside the three of the study."""
    token = builders.make_token(settings, model_server.base_url)
    return [builders.make_twin(study, token=token) for _ in range(ASKED)]


def down(server):
    server.kill()
    time.sleep(OUTAGE_SECONDS)
    server.start()


def killed(server):
    server.kill()
    server.start()


def emptied(server):
    with redis.Redis.from_url(server.url) as client:
        for _ in range(5):
            client.flushall()
            time.sleep(0.3)


def frozen(server):
    server.signal(signal.SIGSTOP)
    time.sleep(OUTAGE_SECONDS)
    server.signal(signal.SIGCONT)


def without_its_socket(server):
    """Connections that are open go on, no new one can be made; then a supervisor replaces the server."""
    server.socket.unlink()
    time.sleep(OUTAGE_SECONDS)
    server.kill()
    server.start()


OUTAGES = [down, killed, emptied, frozen, without_its_socket]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_everything_is_back_within_a_minute_once_and_complete(
    study, settings, session, server, model_server, asked_twins, outage
):
    model_server.default = lambda _: text().later(0.3)
    seconds = int(BEFORE + OUTAGE_SECONDS + AFTER)
    with (
        world.scheduler(settings) as scheduler,
        world.worker(settings, "now,default") as first,
        world.worker(settings, "default,now") as second,
    ):
        scheduler.says("scheduler leads")
        first.says("worker started")
        first_at = _schedule_every_second(study, server, seconds)
        _ask(asked_twins[: ASKED // 2])
        time.sleep(max(0, (first_at - utc_now()).total_seconds()) + BEFORE)
        outage(server)
        back_at = time.monotonic()
        _ask(asked_twins[ASKED // 2 :])
        wait_for(lambda: _entries(server) == _wanted_entries(session), BACK_SECONDS)
        wait_for(lambda: _count(session, Slot.id) == seconds, BACK_SECONDS)
        wait_for(lambda: _open_attempts(session) == 0, BACK_SECONDS, every=0.2)
        took = time.monotonic() - back_at
        for process in (scheduler, first, second):
            assert process.process.poll() is None, process.output
            code, _ = process.stop()
            assert (code, "\nTraceback" in process.output) == (0, False), process.output
    print(f"{outage.__name__}: everything done {took:.1f} s after it was back")
    assert took < BACK_SECONDS
    _check_the_books(session, seconds)


@pytest.mark.parametrize("kind", ["scheduler", "worker"])
def test_a_frozen_queue_keeps_nobody_from_beating_or_from_stopping(study, settings, session, server, kind):
    with {"scheduler": world.scheduler, "worker": world.worker}[kind](settings) as process:
        wait_for(lambda: _beat(session), 30)
        server.signal(signal.SIGSTOP)
        process.says("queue is away")
        noticed_at = utc_now()
        wait_for(lambda: _beat(session) > noticed_at, 20)
        code, seconds = process.stop()
    assert (code, "\nTraceback" in process.output) == (0, False), process.output
    assert seconds < STOPPED_SECONDS


def test_a_queue_that_is_lost_while_a_worker_tells_it_of_itself_ends_no_worker(
    study, settings, connection, monkeypatch, caplog
):
    """In that moment it is the queue's own module that notices."""
    wake_idle, failed = queue.wake_idle, []

    def fails_once(*given):
        if not failed:
            failed.append(given)
            raise QueueDown("The queue does not answer (TimeoutError).")
        wake_idle(*given)

    monkeypatch.setattr(queue, "wake_idle", fails_once)
    monkeypatch.setattr(TwinWorker, "_install_signal_handlers", lambda worker: worker._bell.open())
    builders.add_attempt(builders.make_twin(study))
    TwinWorker(["now"], connection, settings).work(burst=True)
    assert len(failed) == 1
    assert "queue is away" in caplog.text and "queue is back" in caplog.text


def _beat(session):
    session.rollback()
    return session.scalar(select(func.max(Heartbeat.beat_at)))


def _schedule_every_second(study, server, seconds):
    """One schedule for each second from the instant it gives, each with one slot within this test; known to
    the queue. That instant is far enough ahead for a busy machine to have made all of them before it."""
    first = utc_now().replace(microsecond=0) + timedelta(seconds=2 + seconds // 2)
    with redis.Redis.from_url(server.url) as client:
        for number in range(seconds):
            schedule = make_schedule(
                study, ago=timedelta(0), name=f"No. {number}", is_forced=True,
                interval_seconds=3600, anchor_at=first + timedelta(seconds=number),
            )  # fmt: skip
            projection.put(client, schedule)
    assert utc_now() < first
    return first


def _ask(twins):
    """What people ask for: rows only, as while the queue is away."""
    for twin in twins:
        builders.add_attempt(twin)


def _entries(server):
    with redis.Redis.from_url(server.url) as client:
        return {member.decode(): at for member, at in client.zrange(ENTRIES, 0, -1, withscores=True)}


def _wanted_entries(session):
    session.rollback()
    return {
        f"schedule-{uuid}": score(at)
        for uuid, at in session.execute(select(Schedule.uuid, Schedule.next_slot_at))
    }


def _count(session, column):
    session.rollback()
    return session.scalar(select(func.count(column)))


def _open_attempts(session):
    session.rollback()
    return session.scalar(select(func.count(Attempt.id)).where(Attempt.finished_at.is_(None)))


def _check_the_books(session, slots):
    session.rollback()
    books = ledger(session)
    assert books.adds_up, books.problems
    assert [kind.value for kind in session.scalars(select(Slot.kind))] == ["fired"] * slots
    assert _count(session, Attempt.id) == slots + ASKED
    asked = select(Attempt.state).where(Attempt.slot_id.is_(None))
    assert {state.value for state in session.scalars(asked)} == {"posted"}
    late = [claimed - slot for claimed, slot in session.execute(select(Slot.claimed_at, Slot.slot_at))]
    assert max(late) < ON_TIME, "slots are claimed without the queue"
    states = [state.value for state in session.scalars(select(Attempt.state))]
    assert set(states) <= {"posted", "skipped"}, "of a twin at work a scheduled attempt is skipped"
    assert _count(session, Post.id) == states.count("posted")
    assert _count(session, Post.attempt_id.distinct()) == states.count("posted")
    assert set(session.scalars(select(Attempt.strikes))) == {0}
    assert _count(session, LostLease.id) == 0
