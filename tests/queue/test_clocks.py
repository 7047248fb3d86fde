"""Clocks that differ: `flask doctor` and the system page say whose, by how much and what to do."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from pdsapp.database import transaction
from pdsapp.models import ProcessKind, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import checkup, clocks, heartbeats
from tests.conftest import KEYS, TEST_DATABASE_URL

pytestmark = [pytest.mark.database, pytest.mark.queue]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def overrides(redis_url):
    return {"REDIS_URL": redis_url}


@pytest.fixture
def doctor_at(other_clock, settings, database_url, redis_url):
    """`doctor_at(seconds)`: the lines about clocks of a doctor whose machine is so far ahead."""

    def run(seconds: int) -> list[dict]:
        other_clock.set_ahead(seconds)
        environment = {
            **os.environ,
            **other_clock.environment,
            "PDS_DATA_DIR": str(settings.data_dir),
            "REDIS_URL": redis_url,
            "SECRET_KEY": "test-secret-key",
            "PDS_FERNET_KEYS": KEYS,
            **({"DATABASE_URL": database_url} if database_url else {}),
        }
        found = subprocess.run(
            [sys.executable, "-m", "flask", "doctor", "--json"], cwd=ROOT, env=environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert found.stdout, found.stderr
        return [row for row in map(json.loads, found.stdout.splitlines()) if row["name"] == "clocks"]

    return run


@pytest.mark.parametrize(
    ("seconds", "state", "words"),
    [
        (0, "ok", "within 2 s"),
        (8, "warn", "behind this machine’s"),
        (-8, "warn", "ahead of this machine’s"),
        (90, "fail", "behind this machine’s"),
    ],
    ids=["right", "fast", "slow", "very fast"],
)
def test_a_clock_that_is_set_is_told_by_the_servers_answers(doctor_at, seconds, state, words):
    found = doctor_at(seconds)
    names = ["the queue’s"] + (["PostgreSQL’s"] if TEST_DATABASE_URL else [])
    assert len(found) == (len(names) if seconds else 1)
    assert {line["state"] for line in found} == {state}
    for name in names:
        (line,) = [line["detail"] for line in found if name in line["detail"]]
        assert words in line
        if seconds:
            assert f"{abs(seconds)}.0 s" in line or f"{abs(seconds) - 1}.9 s" in line
            assert "NTP" in line


def test_heartbeats_from_the_future_name_their_machine(app, settings):
    ahead = utc_now() + timedelta(seconds=10)
    with transaction() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", ahead)
        heartbeats.beat(session, ProcessKind.scheduler, "s1", utc_now() - timedelta(seconds=9))
    lines = [check for check in checkup.examine(settings, utc_now()) if check.name == "clocks"]
    assert [line.state for line in lines] == ["warn"]
    assert "by its heartbeats, that of" in lines[0].detail
    assert " s ahead of this machine’s" in lines[0].detail


def test_a_process_that_has_said_farewell_says_nothing_more(app, settings):
    ahead = utc_now() + timedelta(seconds=10)
    with transaction() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", ahead)
        heartbeats.farewell(session, "w1", ahead)
    assert clocks.of_processes() == []


def test_what_asking_takes_is_no_difference(settings, app):
    times = iter([100.0, 160.0])

    class Slow:
        def ping(self):
            return True

        def time(self):
            return 130, 0

    assert clocks.of_queue(Slow(), lambda: next(times)).seconds == 0.0


def test_a_queue_that_is_away_is_told_by_its_own_check_only(app, settings):
    away = settings.model_copy(update={"redis_url": None})
    lines = {check.name: check.state for check in checkup.examine(away, utc_now())}
    assert lines["clocks"] == "ok"
    assert lines["queue"] != "ok"
    assert queue.connection(settings).ping()
