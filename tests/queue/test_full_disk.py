"""A disk that fills up under database, append-only file, worker and scheduler, on a few megabytes."""

import sqlite3
import subprocess
import time
import uuid
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy import func, select, update

from pdsapp import create_app
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.extensions import db
from pdsapp.models import Attempt, DigitalTwin, Post, Slot, utc_now
from pdsapp.scheduling import queue
from pdsapp.services.database import prepare
from pdsapp.services.ledger import ledger
from pdsapp.stack.valkey import binary_path
from tests import builders
from tests.conftest import TEST_DATABASE_URL, _settings
from tests.model_server import text
from tests.small_disk import fill, small_disk

from . import world
from .world import wait_for

pytestmark = [
    pytest.mark.queue,
    pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite"),
]
MEGABYTES, WANTED, LITTLE = 48, 6_000_000, 2_000_000
REPLY = "Rain over the river again, and nobody brought the right shoes for it, as usual on a Monday."


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "data", MEGABYTES) as path:
        yield path


class AppendOnlyServer:
    """A queue server as the local stack starts it, its append-only file on the small disk."""

    def __init__(self, disk: Path):
        self.socket = Path("/tmp") / f"dt-full-{uuid.uuid4().hex[:8]}.sock"
        self.url = f"unix://{self.socket}"
        self._folder = disk / "valkey"
        self._folder.mkdir()
        self.process = None

    def start(self):
        settings = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
        self.process = subprocess.Popen(
            [str(binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder),
             *settings],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def refuses_writes(self):
        with redis.Redis.from_url(self.url) as client:
            try:
                client.set("probe", "x" * 1000)
            except redis.ResponseError as error:
                return "MISCONF" in str(error)
        return False

    def answers(self):
        with redis.Redis.from_url(self.url) as client:
            try:
                return client.ping()
            except redis.RedisError:
                return False


@pytest.fixture
def server(disk):
    server = AppendOnlyServer(disk)
    server.start()
    wait_for(server.answers)
    yield server
    server.stop()
    server.socket.unlink(missing_ok=True)


@pytest.fixture
def settings(disk, server):
    return _settings(disk, None, REDIS_URL=server.url, PDS_MIN_FREE=str(WANTED))


@pytest.fixture
def home(settings, model_server):
    """An installation on the small disk, with four twins and a schedule that is due in some seconds."""
    model_server.default = lambda _: text(REPLY)
    app = create_app(settings, with_web=False)
    with app.app_context():
        prepare(app)
        study = builders.make_experiment(zone="UTC")
        token = builders.make_token(settings, model_server.base_url)
        for _ in range(4):
            builders.make_twin(study, token=token)
        try:
            yield study
        finally:
            db.session.remove()
            db.engine.dispose()


def states():
    with transaction() as session:
        return [state.value for state in session.scalars(select(Attempt.state).order_by(Attempt.id))]


def ask(number, connection):
    with transaction() as session:
        twin = session.scalars(select(DigitalTwin).order_by(DigitalTwin.id).offset(number).limit(1)).one()
    found = builders.add_attempt(twin)
    queue.wake(connection, "now")
    return found


def test_nothing_is_claimed_paid_for_or_lost_while_the_disk_is_full(
    disk, server, home, settings, model_server
):
    with (
        redis.Redis.from_url(server.url) as connection,
        world.worker(settings, "now,default", PDS_MIN_FREE=str(WANTED)) as worker,
        world.scheduler(settings) as scheduler,
    ):
        ask(0, connection)
        wait_for(lambda: states() == ["posted"], 60)
        paid = len(model_server.calls)

        # Low: what is asked for waits, a slot that comes due is recorded and its attempt waits too.
        filler = fill(disk, leave=LITTLE)
        worker.says("disk is low")
        schedule = world.make_schedule(home, ago=timedelta(seconds=58), lane="default", is_forced=True)
        ask(1, connection)
        wait_for(lambda: states() == ["posted", "due", "due"], 30)
        time.sleep(2.5)
        assert states() == ["posted", "due", "due"]
        assert len(model_server.calls) == paid
        assert worker.output.count("disk is low") == 1

        # Room again: both are claimed. One of them is being written when the last byte is taken.
        model_server.enqueue(text(REPLY).later(4))
        filler.unlink()
        worker.says("disk has room again")
        model_server.wait_for_calls(paid + 1, 20)
        wait_for(lambda: states().count("running") >= 1)
        fill(disk)
        wait_for(server.refuses_writes, 20)
        with pytest.raises(sa.exc.OperationalError, match="full"):
            for _ in range(200):
                builders.make_post(_profile(), REPLY * 20)
        time.sleep(5)
        paid = len(model_server.calls)
        time.sleep(1)
        assert len(model_server.calls) == paid, "no call is paid for on a full disk"
        assert worker.process.poll() is None and scheduler.process.poll() is None
        with closing(sqlite3.connect(f"file:{disk}/discourse_twins.sqlite3?mode=ro", uri=True)) as reader:
            ended = dict(reader.execute("SELECT state, count(*) FROM attempt GROUP BY state"))
        assert set(ended) <= {"posted", "due", "running"}, "an error of the disk is no end of an attempt"

        # Free: everything goes on, what was in the air too.
        filler.unlink()
        wait_for(lambda: server.answers() and not server.refuses_writes(), 20)
        with transaction() as session:  # not to wait for the lease of 45 s
            past = utc_now() - timedelta(seconds=1)
            session.execute(
                update(Attempt).where(Attempt.state == AttemptState.running).values(lease_until=past)
            )
        wait_for(lambda: not {"due", "running"} & set(states()), 60)
        assert len(model_server.calls) >= 3
        for process in (worker, scheduler):
            assert process.stop()[0] == 0, process.output
        assert "Traceback" not in scheduler.output
    ended = states()
    assert ended[:2] == ["posted", "posted"]
    with transaction() as session:
        assert session.scalar(select(func.count(Post.attempt_id))) == ended.count("posted")
        # The schedule may have drawn the twin that was at work.
        assert set(session.scalars(select(Attempt.reason))) <= {"forced", "twin_busy"}
        assert session.scalar(select(func.max(Attempt.strikes))) <= 1
        assert {slot.kind.value for slot in session.scalars(select(Slot))} <= {"fired", "overlap", "missed"}
        assert session.scalar(select(func.count(Slot.id)).where(Slot.schedule_id == schedule.id)) >= 1
        assert ledger(session).adds_up
        assert session.scalar(sa.text("PRAGMA integrity_check")) == "ok"
        assert session.execute(sa.text("PRAGMA foreign_key_check")).all() == []
    server.stop()
    server.start()
    wait_for(server.answers)  # the append-only file it wrote on a full disk can be read again


def _profile():
    with transaction() as session:
        return session.scalars(select(DigitalTwin).limit(1)).one().user_profile
