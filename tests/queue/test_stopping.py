"""Stopping: at whatever moment a signal comes, attempts end or go back without a strike, and the exit is 0.

The same when somebody migrates the database under running processes, but with exit 1: their code is old.
"""

import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.models import Attempt, DigitalTwin, Heartbeat, LostLease, Post, Slot
from pdsapp.scheduling import queue
from tests import builders, stopwatch
from tests.model_server import text

from . import world
from .world import make_schedule, wait_for

pytestmark = pytest.mark.queue
NEW_SCHEMA = "this version needs"
SIGNALS = {
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT": (signal.SIGINT,),
    "SIGTERM three times": (signal.SIGTERM,) * 3,
    "SIGINT, then SIGTERM": (signal.SIGINT, signal.SIGTERM),
}
each_way_to_ask = pytest.mark.parametrize("signals", SIGNALS.values(), ids=SIGNALS.keys())


@pytest.fixture
def one_attempt(study, session):
    """A due attempt in lane `now`."""
    return builders.add_attempt(session.scalars(select(DigitalTwin)).first())


@pytest.fixture
def reached(settings):
    """The file a service of tests/queue/services.py makes when it has come to its slow place."""
    return Path(settings.data_dir) / "reached"


def ask_to_stop(process, signals):
    """Sends all of them, one shortly after the other; (exit code, seconds until it has ended)."""
    for number in signals[:-1]:
        process.process.send_signal(number)
        time.sleep(0.1)
    return process.stop(signals[-1])


def outcome(session, attempt_id):
    attempt = builders.load_attempt(session, attempt_id)
    posts = session.scalar(select(func.count(Post.id)).where(Post.attempt_id == attempt_id))
    lost = session.scalar(select(func.count(LostLease.id)))
    return attempt.state.value, attempt.strikes, posts, lost


def migrate_to_elsewhere():
    with transaction() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = 'elsewhere'"))


def has_beaten(session, process):
    session.rollback()
    return session.scalars(select(Heartbeat.id).where(Heartbeat.pid == process.pid)).first()


@each_way_to_ask
def test_an_idle_worker_stops_at_once(study, settings, session, signals):
    with world.worker(settings, "now") as process:
        wait_for(lambda: has_beaten(session, process), 60)
        code, seconds = ask_to_stop(process, signals)
    assert (code, seconds < 1.5) == (0, True), (seconds, process.output)
    assert "Traceback" not in process.output


@each_way_to_ask
def test_a_scheduler_stops_at_once(study, settings, signals):
    with world.scheduler(settings) as process:
        process.says("scheduler leads")
        code, seconds = ask_to_stop(process, signals)
    assert (code, seconds < 1.0) == (0, True), (seconds, process.output)
    assert "Traceback" not in process.output


@each_way_to_ask
def test_a_signal_in_the_final_transaction_lets_the_post_appear_once(
    one_attempt, settings, session, reached, signals
):
    service = "tests.queue.services:SlowToPublish"
    with world.worker(settings, "now", PDS_STOP_SECONDS="5", PDS_DT_SERVICE=service) as process:
        wait_for(reached.exists, 60)
        code, seconds = ask_to_stop(process, signals)
    assert (code, seconds < 5) == (0, True), (seconds, process.output)
    assert outcome(session, one_attempt) == ("posted", 0, 1, 0)


@each_way_to_ask
def test_a_signal_during_the_model_call_waits_for_the_answer(
    one_attempt, settings, session, model_server, signals
):
    model_server.enqueue(text().later(1.0))
    with world.worker(settings, "now", PDS_STOP_SECONDS="5") as process:
        model_server.wait_for_calls(1, 60)
        code, seconds = ask_to_stop(process, signals)
    assert (code, seconds < 5) == (0, True), (seconds, process.output)
    assert outcome(session, one_attempt) == ("posted", 0, 1, 0)


def test_what_a_work_horse_holds_that_hears_nothing_goes_back_without_a_strike(
    one_attempt, settings, session, reached
):
    service = "tests.queue.services:Stuck"
    with world.worker(settings, "now", PDS_STOP_SECONDS="1", PDS_DT_SERVICE=service) as process:
        wait_for(reached.exists, 60)
        assert outcome(session, one_attempt)[0] == "running"
        code, seconds = process.stop()
    assert (code, seconds < 3) == (0, True), (seconds, process.output)
    assert "work-horse is killed" in process.output
    assert outcome(session, one_attempt) == ("due", 0, 0, 0)
    with world.worker(settings, "now"):
        wait_for(lambda: outcome(session, one_attempt) == ("posted", 0, 1, 0))


def test_an_idle_worker_notices_another_schema_within_seconds(study, settings, session):
    with world.command(settings, "worker", "--lanes", "now") as process:
        wait_for(lambda: has_beaten(session, process), 60)
        migrate_to_elsewhere()
        assert stopwatch.seconds_until_end(process.process, 60) < 8
    assert process.process.returncode == 1
    assert process.output.count(NEW_SCHEMA) == 1
    assert "Traceback" not in process.output
    session.rollback()
    assert session.scalars(select(Heartbeat)).one().stopped_at is not None


def test_a_worker_takes_nothing_more_from_another_schema(study, settings, session, connection):
    with world.command(settings, "worker", "--lanes", "now") as process:
        wait_for(lambda: has_beaten(session, process), 60)
        time.sleep(0.3)
        migrate_to_elsewhere()
        attempt_id = builders.add_attempt(session.scalars(select(DigitalTwin)).first())
        queue.wake(connection, "now")
        assert process.process.wait(60) == 1
    assert outcome(session, attempt_id) == ("due", 0, 0, 0)
    assert session.scalars(select(Attempt.claimed_by)).one() == ""
    assert queue.queued_count(connection, "now") == 1, "the wake-up is there for a worker that may"


def test_what_a_worker_has_begun_when_the_schema_changes_ends_in_good_order(
    one_attempt, settings, session, model_server
):
    model_server.enqueue(text().later(6.0))
    with world.command(settings, "worker", "--lanes", "now", PDS_STOP_SECONDS="10") as process:
        model_server.wait_for_calls(1, 60)
        migrate_to_elsewhere()
        assert process.process.wait(60) == 1
    assert outcome(session, one_attempt) == ("posted", 0, 1, 0)
    assert process.output.count(NEW_SCHEMA) == 1


def test_a_scheduler_claims_nothing_more_on_another_schema(study, settings, session):
    with world.command(settings, "scheduler") as process:
        process.says("scheduler leads")
        migrate_to_elsewhere()
        make_schedule(study)
        assert process.process.wait(60) == 1
    assert process.output.count(NEW_SCHEMA) == 1
    assert "Traceback" not in process.output
    assert session.scalar(select(func.count(Slot.id))) == 0
    assert session.scalar(select(func.count(Attempt.id))) == 0


@pytest.mark.parametrize("kind", [("worker", "--lanes", "now"), ("scheduler",)], ids=["worker", "scheduler"])
def test_started_again_with_the_old_code_it_refuses_at_once(study, settings, kind):
    migrate_to_elsewhere()
    with world.command(settings, *kind) as process:
        assert process.process.wait(60) == 1
    assert process.output.count(NEW_SCHEMA) == 1
