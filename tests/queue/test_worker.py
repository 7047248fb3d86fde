"""Worker processes: they run what is due, beat, and lose nothing whatever signal hits whom."""

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select, update

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState
from pdsapp.errors import DatabaseNotReady
from pdsapp.models import Attempt, DigitalTwin, Heartbeat, ModelCall, utc_now
from pdsapp.scheduling import queue
from pdsapp.scheduling.worker import run_worker
from pdsapp.stack.valkey import binary_path
from tests import builders
from tests.model_server import hang, text

from . import world
from .world import wait_for

pytestmark = pytest.mark.queue


@pytest.fixture
def attempts(study, session):
    """Due attempts in lane `now`, one for each twin."""
    return [builders.add_attempt(twin) for twin in session.scalars(select(DigitalTwin))]


@pytest.fixture
def one_attempt(study, session):
    """A due attempt in lane `now`."""
    return add_one(session)


def add_one(session):
    return builders.add_attempt(session.scalars(select(DigitalTwin)).first())


def states(session):
    session.rollback()
    return [state.value for state in session.scalars(select(Attempt.state).order_by(Attempt.id))]


def beat_of(session, process):
    session.rollback()
    session.expire_all()
    return session.scalars(select(Heartbeat).where(Heartbeat.pid == process.pid)).one_or_none()


def test_it_runs_what_was_left_due_and_what_it_is_woken_for(study, attempts, settings, session, connection):
    with world.worker(settings, "now,default") as process:
        wait_for(lambda: states(session) == ["posted"] * 3)
        beat = beat_of(session, process)
        assert (beat.lanes, beat.stopped_at) == ("now,default", None)
        assert set(session.scalars(select(Attempt.claimed_by))) == {beat.name}
        add_one(session)
        queue.wake(connection, "now")
        wait_for(lambda: states(session) == ["posted"] * 4)
        code, seconds = process.stop()
    assert (code, seconds < 1.5) == (0, True), process.output
    assert beat_of(session, process).stopped_at is not None


def test_a_killed_work_horse_costs_a_strike_and_the_worker_goes_on(
    one_attempt, settings, session, connection, model_server
):
    model_server.enqueue(hang())
    with world.worker(settings, "now") as process:
        model_server.wait_for_calls(1, 20)
        os.kill(world.children_of(process.pid)[0], signal.SIGKILL)
        process.says("work-horse died")
        assert states(session) == ["running"]
        with transaction() as writing:
            writing.execute(update(Attempt).values(lease_until=utc_now() - timedelta(seconds=1)))
            assert claim.reap(writing, utc_now()) == 1
        queue.wake(connection, "now")
        wait_for(lambda: states(session) == ["posted"])
        assert process.process.poll() is None
    attempt = builders.load_attempt(session, one_attempt)
    assert attempt.strikes == 1
    calls = session.scalars(select(ModelCall.state).order_by(ModelCall.id)).all()
    assert calls[0] == CallState.lost and calls[1] == CallState.answered


@pytest.mark.parametrize("signals", [1, 3], ids=["asked once", "asked three times"])
def test_what_cannot_be_finished_in_time_is_given_back_without_a_strike(
    one_attempt, settings, session, model_server, signals
):
    model_server.enqueue(hang())
    with world.worker(settings, "now", PDS_STOP_SECONDS="1") as process:
        model_server.wait_for_calls(1, 20)
        horses = world.children_of(process.pid)
        for _ in range(signals - 1):
            process.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        code, seconds = process.stop()
    assert (code, seconds < 2) == (0, True), (seconds, process.output)
    attempt = builders.load_attempt(session, one_attempt)
    assert (attempt.state, attempt.strikes, attempt.lease_token) == (AttemptState.due, 0, None)
    assert len(horses) == 1 and not Path(f"/proc/{horses[0]}").exists()
    assert "work-horse is killed" not in process.output


def test_what_can_be_finished_in_time_is_finished(one_attempt, settings, session, model_server):
    model_server.enqueue(text("Rain over the river again, and nobody brought the right shoes for it, as "
                              "usual on a Monday.").later(0.8))  # fmt: skip
    with world.worker(settings, "now", PDS_STOP_SECONDS="8") as process:
        model_server.wait_for_calls(1, 20)
        code, seconds = process.stop()
    assert (code, seconds < 5) == (0, True), process.output
    assert states(session) == ["posted"]


@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_a_signal_around_the_fork_loses_nothing(one_attempt, settings, session, connection, delay):
    with transaction() as writing:
        writing.execute(update(Attempt).values(lane="default"))
    with world.worker(settings, "now", PDS_STOP_SECONDS="3") as process:
        wait_for(lambda: beat_of(session, process))
        time.sleep(0.3)
        with transaction() as writing:
            writing.execute(update(Attempt).values(lane="now"))
        queue.wake(connection, "now")
        time.sleep(delay)
        code, seconds = process.stop()
    assert (code, seconds < 4) == (0, True), process.output
    attempt = builders.load_attempt(session, one_attempt)
    assert attempt.state in (AttemptState.due, AttemptState.posted)
    assert attempt.strikes == 0


def test_the_work_horse_dies_with_its_worker(one_attempt, settings, session, model_server):
    model_server.enqueue(hang())
    with world.worker(settings, "now") as process:
        model_server.wait_for_calls(1, 20)
        (horse,) = world.children_of(process.pid)
        process.process.kill()
        wait_for(lambda: not Path(f"/proc/{horse}").exists(), seconds=3)
    assert states(session) == ["running"]


def test_poisoned_jobs_are_refused_once_and_the_worker_goes_on(
    attempts, settings, session, connection, tmp_path
):
    marker = tmp_path / "was here"
    jobs = {
        "shell": json.dumps(["os.system", None, [f"touch '{marker}'"], {}]),
        "callback": json.dumps(["pdsapp.tasks.generate_attempts", None, ["other"], {}]),
        "garbage": b"\x80\x04\x95",
    }
    with world.worker(settings, "now") as process:
        wait_for(lambda: states(session) == ["posted"] * 3)
        for job_id, data in jobs.items():
            fields = {"data": data, "origin": "pds:now", "success_callback_name": "os.abort"}
            connection.hset(f"rq:job:{job_id}", mapping=fields)
            connection.rpush("rq:queue:pds:now", job_id)
        connection.rpush("rq:queue:pds:now", b"\xff\xfe")
        add_one(session)
        queue.wake(connection, "now")
        wait_for(lambda: states(session) == ["posted"] * 4)
        assert process.process.poll() is None
        assert process.output.count("job refused") == 3
        assert "os.system" in process.output
    assert not marker.exists()


@pytest.fixture
def own_server():
    """Starts and kills a queue server of this test's own; `url` is where it is, running or not."""

    class Server:
        folder = Path("/tmp") / f"dt-own-{uuid.uuid4().hex[:8]}"
        url = f"unix://{folder}/s"
        process = None

        def start(self):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            command = [str(binary_path()), "--port", "0", "--unixsocket", str(self.folder / "s")]
            self.process = subprocess.Popen(
                [*command, "--save", "", "--dir", str(self.folder)], stdout=subprocess.DEVNULL
            )

        def kill(self):
            if self.process:
                self.process.kill()
                self.process.wait()

    server = Server()
    yield server
    server.kill()
    shutil.rmtree(server.folder, ignore_errors=True)


def test_it_waits_for_a_queue_that_is_not_there_and_survives_its_restart(
    attempts, settings, session, model_server, own_server
):
    with world.worker(settings, "now", REDIS_URL=own_server.url) as process:
        process.says("queue is away")
        assert wait_for(lambda: beat_of(session, process))
        own_server.start()
        wait_for(lambda: states(session) == ["posted"] * 3)
        model_server.enqueue(hang())
        add_one(session)
        own_server.kill()
        own_server.start()
        wait_for(lambda: states(session) == ["posted"] * 3 + ["running"])
        own_server.kill()
        first = beat_of(session, process).beat_at
        wait_for(lambda: beat_of(session, process).beat_at > first, seconds=6)
        assert world.children_of(process.pid), "it beats while busy and without a queue"
        assert process.process.poll() is None
        assert process.output.count("queue is away") <= 3


def test_it_stops_quickly_while_the_queue_is_away(study, settings, session):
    with world.worker(settings, "now", REDIS_URL="unix:///nowhere/socket") as process:
        process.says("queue is away")
        code, seconds = process.stop()
    assert (code, seconds < 1.5) == (0, True), process.output
    assert beat_of(session, process).stopped_at is not None


def test_it_refuses_to_work_on_another_schema_revision(app):
    with transaction() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = 'elsewhere'"))
    with pytest.raises(DatabaseNotReady, match="elsewhere"):
        run_worker(app, ["default"])
