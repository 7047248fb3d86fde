"""`flask alive`: what a container asks about itself."""

import socket
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pdsapp.models import Heartbeat, ProcessKind, utc_now
from pdsapp.services import heartbeats

pytestmark = pytest.mark.database


@pytest.mark.parametrize(
    ("age", "host", "stopped", "code"),
    [(3, None, False, 0), (20, None, False, 1), (3, "another", False, 1), (3, None, True, 1)],
    ids=["fresh", "old", "of another machine", "farewell"],
)
def test_only_a_fresh_heartbeat_of_this_machine_counts(runner, write, age, host, stopped, code):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now() - timedelta(seconds=age))
        session.flush()
        session.execute(sa.update(Heartbeat).values(host=host or socket.gethostname()))
        if stopped:
            heartbeats.farewell(session, "w1", utc_now())
    result = runner.invoke(args=["alive", "worker"])
    assert result.exit_code == code
    assert ("worker: alive" in result.stdout) is (code == 0)
    assert runner.invoke(args=["alive", "scheduler"]).exit_code == 1, "no scheduler beats here"


def test_a_database_that_is_away_is_a_sentence(runner, app, tmp_path, monkeypatch):
    from pdsapp.cli import processes

    def away():
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(processes, "reading", away)
    result = runner.invoke(args=["alive", "worker"])
    assert result.exit_code == 1
    assert result.stderr == "The database does not answer.\n"


def test_another_word_is_a_mistake_of_usage(runner):
    assert runner.invoke(args=["alive", "twin"]).exit_code == 2
