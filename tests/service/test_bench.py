"""The benches that measure data: they run, leave nothing behind, and can be run again."""

import pytest
import sqlalchemy as sa

from bench import data, memory
from tests.conftest import TEST_DATABASE_URL, _admin_engine
from tests.service.moving import needs_both


@pytest.fixture(autouse=True)
def small(monkeypatch, clean_environment):
    monkeypatch.setattr(data, "MANY", 500)
    monkeypatch.setattr(data, "AT_ONCE", 500)
    monkeypatch.setattr(data, "SECONDS", 0.5)
    monkeypatch.setattr(data, "AFTERWARDS_SECONDS", 0.2)


def _databases():
    with _admin_engine().connect() as connection:
        return set(
            connection.scalars(sa.text("SELECT datname FROM pg_database WHERE datname LIKE 'dt_bench%'"))
        )


@needs_both
def test_moving_is_measured_on_a_server_that_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("BENCH_DATABASE_URL", TEST_DATABASE_URL)
    before = _databases()
    names = [line.split("|")[1].strip() for line in data.moving()][2:]
    assert names == ["SQLite to PostgreSQL", "PostgreSQL to SQLite"]
    assert _databases() <= before


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
def test_writers_are_measured_alone_and_beside_both_kinds_of_backup():
    lines = [line.split("|") for line in data.backup()][4:]
    assert [line[1].strip() for line in lines] == [
        "alone",
        "beside `flask backup`",
        "beside the daily backup",
    ]
    assert [int(line[2]) > 0 for line in lines] == [False, True, True]
    assert all(int(line[4].replace(",", "")) > 0 for line in lines), "somebody wrote"


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
def test_a_process_does_not_grow_with_the_attempts_it_has_run():
    """The short version of `make bench ARGS=growing`: what is loaded with the first attempts is no growth."""
    (_, empty), (first, loaded), *_, (last, grown) = memory.grown(600, 3)
    assert (first, last) == (200, 600)
    assert loaded - empty < 60_000_000, "what one worker takes beside what it has imported"
    assert grown - loaded < 8_000_000
