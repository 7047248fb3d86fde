"""Fixtures: a fresh, migrated database for each test, a real queue server, the application.

`TEST_DATABASE_URL` and `TEST_REDIS_URL` run the same tests on PostgreSQL and Redis. Tests that run in
parallel share nothing: each worker process has a template and a queue server of its own, or on Redis a
database of its own, counted upwards from the one that the URL names.
"""

import os
import shutil
import sqlite3
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from jinja2 import BytecodeCache
from sqlalchemy.orm import Session

from pdsapp import create_app
from pdsapp.config import Settings, read_settings
from pdsapp.database import transaction
from pdsapp.services import accounts
from pdsapp.services.database import prepare

from . import shifted_clock
from .kept_apps import KeptApps
from .model_server import ModelServer
from .side_by_side import SideBySide, spread

TEST_DATABASE_URL = os.environ.get("TEST_DATABASE_URL")
TEST_REDIS_URL = os.environ.get("TEST_REDIS_URL")
# Random histories and draws: few each time, all of them with `make faults`.
IS_IN_FULL = os.environ.get("TEST_IN_FULL") == "1"
EXAMPLES = 1_000 if IS_IN_FULL else 250
WORKER_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
ROOT = Path(__file__).resolve().parent.parent
WITHOUT_WEB = {"service", "cli"}
VARIABLES = 32_766
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEYS = Fernet.generate_key().decode()


def pytest_xdist_make_scheduler(config, log):
    """Who runs what of the tests that run side by side."""
    return SideBySide(config, log)


def pytest_collection_modifyitems(items):
    """Where tests run side by side, those that wait are put among those that compute."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        spread(items)


@pytest.fixture(scope="session", autouse=True)
def clean_environment():
    """No setting of the person running the tests reaches them."""
    names = [*(f.alias for f in Settings.model_fields.values()), "http_proxy", "https_proxy", "all_proxy"]
    saved = {name: os.environ.pop(name) for name in names if name in os.environ}
    Settings.model_config["env_file"] = None
    accounts.ARGON2.update(time_cost=1, memory_cost=64, parallelism=1)  # a hash in a test may be cheap
    yield
    os.environ.update(saved)


@sa.event.listens_for(sa.Engine, "connect")
def _take_as_many_values_as_anywhere(connection, _record):
    """SQLite takes 32,766 values in a statement where nobody has built it for more, as Debian has."""
    if isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, VARIABLES)


@pytest.fixture(scope="session")
def database_template(tmp_path_factory, clean_environment):
    """A migrated, empty database that each test gets a copy of: a file's path, or a database's name."""
    folder = tmp_path_factory.mktemp("template")
    if TEST_DATABASE_URL is None:
        app = create_app(read_settings(PDS_DATA_DIR=str(folder), PDS_DEMO="0"), with_web=False)
        prepare(app)
        with app.app_context():
            from pdsapp.extensions import db

            db.engine.dispose()
        yield folder / "discourse_twins.sqlite3"
        return
    name = f"dt_template_{uuid.uuid4().hex[:8]}"
    url = _create_database(name)
    app = create_app(_settings(folder, url), with_web=False)
    with app.app_context():
        from flask_migrate import upgrade

        from pdsapp.extensions import db

        upgrade()
        prepare(app)
        db.engine.dispose()
    yield name
    _drop_database(name)


@pytest.fixture
def database_url(database_template, tmp_path):
    """The URL of this test's own database."""
    if TEST_DATABASE_URL is None:
        path = tmp_path / "data" / "discourse_twins.sqlite3"
        path.parent.mkdir()
        shutil.copy(database_template, path)
        yield None
        return
    name = f"dt_test_{uuid.uuid4().hex[:12]}"
    yield _create_database(name, template=database_template)
    _drop_database(name)


@pytest.fixture
def overrides():
    """Settings of this test by environment name; a test module may override this fixture."""
    return {}


@pytest.fixture
def settings(database_url, tmp_path, overrides) -> Settings:
    """The settings of this test's application."""
    return _settings(tmp_path / "data", database_url, **overrides)


class CompiledTemplates(BytecodeCache):
    """Keeps compiled templates for the whole run: some tests make an application of their own."""

    def __init__(self):
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket):
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket):
        self._code[bucket.key] = bucket.bytecode_to_string()


TEMPLATES = CompiledTemplates()


@pytest.fixture
def with_web(request) -> bool:
    """Whether the test's application has its screens: those of services and commands need none,
    and a test is a tenth of a second faster without."""
    return request.path.relative_to(ROOT).parts[1] not in WITHOUT_WEB


@pytest.fixture(scope="session")
def kept_apps() -> KeptApps:
    """The applications of this run that tests have in turn."""
    return KeptApps()


@pytest.fixture
def is_own_app(overrides) -> bool:
    """Whether this test needs an application that nobody had before: for other settings, or to add to it."""
    return bool(overrides)


@pytest.fixture
def app(settings, with_web, is_own_app, kept_apps) -> Flask:
    """The application on this test's database, within an application context."""
    app = create_app(settings, with_web) if is_own_app else kept_apps.take(settings, with_web)
    app.jinja_env.bytecode_cache = TEMPLATES
    app.config.update(TESTING=True, WTF_CSRF_ENABLED=False, FLASK_ADMIN_RAISE_ON_VIEW_EXCEPTION=True)
    with app.app_context():
        yield app
        from pdsapp.extensions import db

        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def client(app):
    """A browser without an account."""
    return app.test_client()


@pytest.fixture
def runner(app):
    """Runs flask commands."""
    return app.test_cli_runner()


@pytest.fixture
def session(settings, app):
    """A session for looking at the database. It never locks; write with `write` or the services."""
    engine = sa.create_engine(settings.sqlalchemy_url, poolclass=sa.NullPool)
    with Session(engine, expire_on_commit=False) as session:
        yield session
    engine.dispose()


@pytest.fixture
def write(app):
    """`with write() as session:` commits at its end."""
    return transaction


@pytest.fixture
def model_server():
    """A programmable OpenAI-compatible server."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="session")
def queue_server(tmp_path_factory):
    """The URL of a real Redis or Valkey server, which no other worker process uses."""
    if TEST_REDIS_URL:
        yield _redis_database(TEST_REDIS_URL, WORKER_NUMBER)
        return
    from pdsapp.stack.valkey import binary_path

    folder = Path("/tmp") / f"dt-valkey-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    socket = folder / "s"
    process = subprocess.Popen(
        [str(binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    yield f"unix://{socket}"
    process.terminate()
    process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(queue_server):
    """The queue server's URL, emptied."""
    import time

    import redis

    connection = redis.Redis.from_url(queue_server)
    for _ in range(100):
        try:
            connection.flushdb()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    yield queue_server
    connection.flushdb()
    connection.close()


def _settings(data_dir: Path, database_url: str | None, **overrides) -> Settings:
    given = {
        "PDS_DATA_DIR": str(data_dir),
        "PDS_DEMO": "0",
        "SECRET_KEY": "test-secret-key",
        "PDS_FERNET_KEYS": KEYS,
        "PDS_LLM_ALLOWED_HOSTS": "127.0.0.0/8,localhost",
        **overrides,
    }
    if database_url:
        given["DATABASE_URL"] = database_url
    return read_settings(**given)


def _redis_database(url: str, number: int) -> str:
    """The URL of the database that many further on the same server: `redis://host/8` and 3 give `/11`."""
    parts = urlsplit(url)
    return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + number}").geturl()


def _admin_engine() -> sa.Engine:
    return sa.create_engine(TEST_DATABASE_URL, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


def _create_database(name: str, template: str | None = None) -> str:
    with _admin_engine().connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    return sa.make_url(TEST_DATABASE_URL).set(database=name).render_as_string(hide_password=False)


def _drop_database(name: str) -> None:
    with _admin_engine().connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory):
    """What makes a process see another wall clock; skips where it cannot be built."""
    return shifted_clock.build(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def other_clock(clock_library, tmp_path):
    """A wall clock for processes of their own, which the test sets."""
    return shifted_clock.ShiftedClock(clock_library, tmp_path / "seconds ahead")
