"""Connections: how transactions begin, on SQLite and on PostgreSQL.

SQLite: WAL, foreign keys on. A transaction that may write takes the write lock with its first
statement (`BEGIN IMMEDIATE`), so that it can never fail on upgrade; a reading one is deferred and
refuses to write. PostgreSQL: a reading transaction is READ ONLY.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from .extensions import db

BUSY_SECONDS = 15
POOL_SECONDS = 10
# What reading a row raises whose column holds what its type cannot be.
UNREADABLE = (LookupError, ValueError, TypeError, OverflowError)
_reading: ContextVar[bool] = ContextVar("reading", default=False)


@contextmanager
def read_only() -> Iterator[None]:
    """Within it, transactions begin as readers: they take no lock and cannot write."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def set_read_only(value: bool) -> None:
    """Says for the rest of this context (a web request) whether transactions only read."""
    _reading.set(value)


@contextmanager
def transaction() -> Iterator[Session]:
    """A session of its own in one writing transaction: commits at the end, rolls back on any error.

    Short by rule: never held across a model call.
    """
    token = _reading.set(False)
    try:
        with Session(db.engine, expire_on_commit=False) as session, session.begin():
            yield session
    finally:
        _reading.reset(token)


@contextmanager
def reading() -> Iterator[Session]:
    """A session of its own in one reading transaction."""
    with read_only(), Session(db.engine, expire_on_commit=False) as session:
        yield session


def is_outage(error: BaseException) -> bool:
    """Whether the database failed, not the code that asked it: it may be asked again later.

    PostgreSQL calls the end of a session that slept in its transaction an internal error; what tells it
    apart is that it cost the connection. SQLite calls a statement it does not understand operational, too.
    """
    if not isinstance(error, DBAPIError):
        return False
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return False
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def read_each(
    session: Session, query: sa.Select, key: sa.ColumnElement[int]
) -> tuple[list, dict[int, Exception]]:
    """The rows of a query, and what was raised for those that cannot be read, by `key`.

    One query, unless a row holds what its column's type cannot be: somebody has written it by hand.
    """
    try:
        return list(session.scalars(query)), {}
    except UNREADABLE:
        found, broken = [], {}
    for number in session.scalars(query.with_only_columns(key)).all():
        try:
            found += session.scalars(query.where(key == number))
        except UNREADABLE as error:
            broken[number] = error
    return found, broken


@contextmanager
def snapshot() -> Iterator[Session]:
    """A session as `reading` gives it that sees one moment, however many statements it takes."""
    engine = db.engine
    if engine.dialect.name != "sqlite":  # there a reading transaction is a snapshot anyway
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with read_only(), Session(engine, expire_on_commit=False) as session:
        yield session


def engine_options(url: str, pool: int = 5, overflow: int = 15) -> dict:
    """Engine options for a database URL: pool and time-outs.

    `pool` connections are kept open by a process of PostgreSQL's clients once they were needed, `overflow`
    more may be opened at once and are closed again; who needs yet another one waits up to 10 seconds.
    """
    if url.startswith("sqlite"):
        return {
            "hide_parameters": True,
            "connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False},
        }
    return {
        "hide_parameters": True,
        "pool_pre_ping": True,
        "pool_size": pool,
        "max_overflow": overflow,
        "pool_timeout": POOL_SECONDS,
        "connect_args": {
            "connect_timeout": 5,
            "options": "-c timezone=UTC -c idle_in_transaction_session_timeout=20000 -c lock_timeout=15000",
        },
    }


def install(engine: sa.Engine) -> None:
    """Makes this engine's transactions begin as described above."""
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_connect)
        sa.event.listen(engine, "begin", _sqlite_begin)
    else:
        sa.event.listen(engine, "begin", _postgresql_begin)


def _sqlite_connect(connection, _record) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    cursor.close()


def _sqlite_begin(connection: sa.Connection) -> None:
    if _reading.get():
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN DEFERRED")
    else:
        connection.exec_driver_sql("PRAGMA query_only=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql_begin(connection: sa.Connection) -> None:
    if _reading.get():
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
