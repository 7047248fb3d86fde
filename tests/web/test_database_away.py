"""While the database is locked or gone, or goes in the middle of a page: a sentence, then all is well."""

import socket
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from pdsapp import database
from pdsapp.extensions import db
from pdsapp.models import Attempt, utc_now
from tests import stopwatch
from tests.attempt_rows import add_row
from tests.conftest import TEST_DATABASE_URL

from .looking import words_of
from .test_queue_away import silent_server

TOKEN = "metrics-token-0123456789abcdef"
SENTENCE = "The database does not answer"
LOST = "The database does not answer any more."
SOON_SECONDS = 5.0
on_postgresql = pytest.mark.skipif(TEST_DATABASE_URL is None, reason="TEST_DATABASE_URL names no PostgreSQL")
on_sqlite = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="is about SQLite's file")

PAGES = (
    "/admin/", "/admin/?experiment=EXPERIMENT", "/dashboard/over-time.csv", "/activity",
    "/activity/rows?since=0.0.0", "/activity/now", "/attempts/ATTEMPT", "/attempts/ATTEMPT/state",
    "/attempts/ATTEMPT/brief", "/attempts/ATTEMPT/progress", "/admin/attempt/", "/admin/post/",
    "/experiments/EXPERIMENT/feed", "/admin/digitaltwin/ask/?id=1", "/system", "/metrics", "/admin/notices/",
    "/admin/userprofile/withdraw/?id=2",
)  # fmt: skip
NOTED = ("/experiments/EXPERIMENT/feed.csv", "/admin/attempt/export/csv/")


@pytest.fixture
def overrides(monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    return {"PDS_METRICS_TOKEN": TOKEN, "REDIS_URL": "unix:///nowhere/socket?db=0"}


@pytest.fixture
def look(app, session, rows, administrator):
    """`look(path)` is the answer of a page, as a server gives it, and in how many seconds."""
    attempt = session.get_one(Attempt, add_row(rows.twin, "posted", "drawn", utc_now(), draw=0.9))
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    identifier, uuid = rows.experiment.identifier, str(attempt.uuid)
    session.rollback()

    def asked(path):
        app.extensions["queue_sign"].note(is_away=True)
        path = path.replace("EXPERIMENT", identifier).replace("ATTEMPT", uuid)
        began = stopwatch.seconds()
        answer = administrator.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        return answer, stopwatch.seconds() - began

    return asked


def is_told(answer):
    return answer.status_code == 503 and SENTENCE in answer.text


def says_it(path, answer):
    """Whether an answer says that the database is away, or has all it shows and says what is missing."""
    is_part = path.endswith(("brief", "progress", "now")) or "/rows" in path
    return is_told(answer) or (answer.status_code == 200 and (is_part or LOST in answer.text))


def assert_all_is_well(look):
    for path in PAGES:
        answer, _ = look(path)
        assert answer.status_code == 200, (path, answer.status_code, words_of(answer)[-300:])


@pytest.fixture
def locked(settings):
    """Another process writes, and does not end."""
    url = sa.make_url(settings.sqlalchemy_url)
    connection = sqlite3.connect(url.database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE experiment SET name = 'unfinished'")
    yield connection
    connection.rollback()
    connection.close()


@on_sqlite
def test_pages_are_readers_and_do_not_wait_for_who_writes(look, locked):
    for path in (*PAGES, "/healthz"):
        answer, seconds = look(path)
        assert (answer.status_code, seconds < SOON_SECONDS) == (200, True), (path, seconds)
        assert "unfinished" not in answer.text
    assert look("/readyz")[0].json["checks"]["database"]["ok"]


@on_sqlite
@pytest.mark.parametrize("path", NOTED)
def test_a_download_that_cannot_be_noted_is_not_given_and_says_so(look, locked, path):
    answer, seconds = look(path)
    assert is_told(answer) and seconds < SOON_SECONDS
    locked.rollback()
    assert look(path)[0].status_code == 200


@on_sqlite
def test_without_the_databases_file_every_page_says_so_and_works_again_by_itself(look, settings, tmp_path):
    file = Path(sa.make_url(settings.sqlalchemy_url).database)
    db.engine.dispose()
    away = file.rename(tmp_path / "away.sqlite3")
    for path in PAGES:
        assert is_told(look(path)[0]), path
    assert look("/healthz")[0].status_code == 200
    assert look("/readyz")[0].status_code == 503
    db.engine.dispose()
    away.replace(file)
    assert_all_is_well(look)


@contextmanager
def failing_from(number, fail):
    """From the statement with this number on `fail()` is called before each; a list of all statements."""
    seen = []

    def count(_connection, _cursor, statement, *_):
        if statement.startswith(("PRAGMA", "BEGIN", "SET")):
            return
        seen.append(statement)
        if len(seen) >= number:
            fail()

    sa.event.listen(db.engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", count)


def broken_disk():
    raise OperationalError("SELECT secret FROM account", {}, Exception("disk I/O error"))


@pytest.mark.database
@pytest.mark.parametrize("path", PAGES)
def test_wherever_in_a_page_the_database_goes_it_says_so_and_the_next_page_is_well(look, path):
    with failing_from(10_000, broken_disk) as seen:
        look(path)
    wrong = []
    for number in range(1, len(seen) + 1):
        with failing_from(number, broken_disk):
            answer, _ = look(path)
        if not says_it(path, answer):
            wrong.append((number, seen[number - 1][:200], answer.status_code, words_of(answer)[-100:]))
    assert wrong == []
    assert look(path)[0].status_code == 200


@pytest.mark.database
@on_postgresql
@pytest.mark.parametrize("path", PAGES)
def test_a_server_that_ends_its_sessions_in_the_middle_of_a_page(look, database_url, path):
    engine = sa.create_engine(TEST_DATABASE_URL, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = sa.make_url(database_url).database
    query = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")

    def end_all():
        with engine.connect() as connection:
            connection.execute(query, {"name": name})

    with failing_from(10_000, end_all) as seen:
        look(path)
    for number in sorted({1, 2, len(seen) // 2 or 1, len(seen)}):
        with failing_from(number, end_all):
            answer, _ = look(path)
        assert says_it(path, answer), (number, seen[number - 1][:200], answer.status_code)
        assert look(path)[0].status_code == 200
    end_all()  # between two pages: nobody sees anything of it
    assert look(path)[0].status_code == 200


@contextmanager
def connecting_to(port):
    """New connections go to this port of this machine."""

    def lead_astray(_dialect, _record, _arguments, keywords):
        keywords |= {"host": "127.0.0.1", "port": port}

    db.engine.dispose()
    sa.event.listen(db.engine, "do_connect", lead_astray)
    try:
        yield
    finally:
        sa.event.remove(db.engine, "do_connect", lead_astray)
        db.engine.dispose()


def refusing_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.database
@on_postgresql
def test_a_server_that_refuses_or_never_answers(look, app):
    with connecting_to(refusing_port()):
        for path in PAGES:
            assert is_told(look(path)[0]), path
        assert look("/healthz")[0].status_code == 200
    with silent_server() as url, connecting_to(int(url.rpartition(":")[2].partition("/")[0])):
        answer, seconds = look("/activity")
        assert is_told(answer) and seconds < 3 * SOON_SECONDS
        assert look("/healthz")[0].status_code == 200
    assert_all_is_well(look)
