"""Moving an installation: every row from SQLite to an empty PostgreSQL database, or back.

The source is paused before the first row is read and stays so, whatever happens to this process: there
are never two live copies. See docs/adr/0009.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..attempts.gate import close_gate
from ..database import reading, transaction
from ..errors import BadInput, CopyFailed, PdsError
from ..extensions import db
from ..models import IS_RUNNING, Attempt, Installation
from . import backups, database, heartbeats
from .command_pauses import Pause, put_pause
from .ledger import ledger
from .move_rows import TableSum, copy_table, set_sequences, sum_table, tables
from .pause_scopes import MOVER, MOVING
from .restore import count_secrets

ACTOR = MOVER
# What an empty database at head may hold: made by whoever looked at it first, and made anew here.
MADE_BY_ITSELF = ("role", "installation")


@dataclass(frozen=True)
class Moved:
    """What came of it: the sums by table, and how many stored API keys cannot be read."""

    target: str
    sums: dict[str, TableSum]
    adds_up: bool
    secrets: int
    unreadable: int
    is_paused: bool

    @property
    def rows(self) -> int:
        return sum(found.count for found in self.sums.values())


def parse(url: str) -> sa.URL:
    """The target's address. Raises BadInput; no text of it is repeated, for it may hold a password."""
    try:
        found = sa.make_url(url)
        name = found.get_backend_name()
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError):
        raise BadInput(_HOW, "to") from None
    if found.drivername not in ("postgresql", "postgresql+psycopg", "sqlite") or not found.database:
        raise BadInput(_HOW, "to")
    source = sa.make_url(db.engine.url).get_backend_name()
    if source == name:
        other = "flask backup and flask restore" if name == "sqlite" else "pg_dump and pg_restore"
        raise BadInput(f"Both databases are of the same kind. Use {other}.", "to")
    if name == "sqlite" and Path(found.database).name != backups.DATABASE_NAME:
        raise BadInput(
            f"The file must be called {backups.DATABASE_NAME}: no other name is looked for in a data folder. "
            f"Write sqlite:////folder/{backups.DATABASE_NAME}.",
            "to",
        )
    return found.set(drivername="postgresql+psycopg") if name == "postgresql" else found


_HOW = (
    "This is no address of a database to move to. Write postgresql+psycopg://user@host/name, the password "
    "in PGPASSWORD, or sqlite:////folder/discourse_twins.sqlite3."
)


def words_of(url: sa.URL) -> str:
    """What may be shown of an address: never user, password or options."""
    if url.get_backend_name() == "sqlite":
        return url.database
    return f"postgresql://{url.host or 'localhost'}{f':{url.port}' if url.port else ''}/{url.database}"


def require_quiet(now: datetime, is_running: bool) -> None:
    """Returns if nobody may write to the source. Raises BadInput saying what to stop.

    A paused source may be running, but no attempt of it: what its pages change meanwhile stays there.
    """
    with reading() as session:
        alive = [kind for kind, sign in heartbeats.life_signs(session, now).items() if sign.is_alive]
        if not (alive or is_running):
            return
        if not session.get_one(Installation, 1).is_paused:
            what = " and ".join(f"a {kind}" for kind in alive) or "the local stack"
            raise BadInput(
                f"The source is at work ({what} is alive). Stop it, or pause everything, and move then."
            )
        _require_nobody_at_work(session)


def _require_nobody_at_work(session: Session, *where: sa.ColumnElement[bool]) -> None:
    at_work = session.scalar(sa.select(sa.func.count(Attempt.id)).where(IS_RUNNING, *where))
    if at_work:
        raise BadInput(f"{at_work} attempts of the source are still running. Wait until they have ended.")


def move(
    app: Flask,
    url: sa.URL,
    keys: str,
    now: datetime,
    say: Callable[[str], object] = lambda _: None,
) -> Moved:
    """Moves every row into the empty database at `url`, within the application of the source.

    The source ends paused, the target as the source was before. If anything fails, the target stays empty
    and the source gets back the pause it had, unless somebody has paused, stopped or resumed everything
    meanwhile: then the move fails and that stands. Raises BadInput, CopyFailed.
    """
    database.require_head()
    target = words_of(url)
    own, before = _pause(target, now)
    is_reached = is_unsure = is_done = False
    try:
        with ExitStack() as gate:
            with _target(url) as place:
                is_reached = True
                _prepare(app, place.connection)
                sums, adds_up = _carry(place.connection, say)
                say("checks")
                secrets, unreadable = _verify(place.connection, sums, adds_up, keys)
                set_sequences(place.connection)
                _hand_on(before, place.connection, now)
                place.finish()
                gate.enter_context(_held(own, target, now))
                is_unsure = url.get_backend_name() == "postgresql"
                place.keep()
                is_done, is_unsure = is_unsure, False
            is_done = True
    except BaseException as error:
        if is_unsure:
            raise CopyFailed(
                f"{target} was lost while the move was being completed: it may hold everything or nothing. "
                "Look there. The source stays paused; resume it only if the target is empty."
            ) from None
        if is_done:
            if not isinstance(error, Exception):
                raise
            raise CopyFailed(
                f"{target} has everything, but that could not be written down in the source "
                f"({type(error).__name__}). The source stays paused; resume it only if you go back."
            ) from None
        is_given_back = _give_back(own, before, now, error)
        if isinstance(error, PdsError) or not isinstance(error, Exception):
            raise
        empty = "The target is empty, the source" if is_reached else "The source is"
        tail = "as it was" if is_given_back else "as somebody has paused, stopped or resumed it meanwhile"
        raise CopyFailed(f"{_why(error, target)} {empty} {tail}.") from None
    return Moved(target, sums, adds_up, secrets, unreadable, is_paused=before.is_paused)


def _pause(target: str, now: datetime) -> tuple[Pause, Pause]:
    """Pauses the source; gives that pause and the one before. Raises BadInput while an attempt is at work.

    The gate is closed before anybody is counted: what is claimed afterwards finds the pause.
    """
    with transaction() as session:
        installation = close_gate(session)
        _require_nobody_at_work(session, Attempt.lease_until > now)
        reason = f"{MOVING}{target} since {now:%Y-%m-%d %H:%M} UTC. If that failed, resume."
        own = Pause.over(installation, now, ACTOR, reason)
        return own, put_pause(session, own, now, ACTOR)


@contextmanager
def _held(own: Pause, target: str, now: datetime) -> Iterator[None]:
    """Lets nobody resume the source while the target gets everything for good; then its pause says so.

    Raises CopyFailed if the pause is no longer the one this move made: the source may have lived meanwhile.
    """
    with transaction() as session:
        found = Pause.of(close_gate(session))
        if not found.is_paused:
            raise CopyFailed(
                "The source was resumed while it was being moved, so the copy is out of date. Nothing was "
                "moved, the source goes on. Pause or stop it, and move again."
            )
        if found != own:
            raise CopyFailed(
                "Somebody paused or stopped everything while it was being moved. Nothing was moved, the "
                "source stays as it is. Move again."
            )
        yield
        reason = f"Moved to {target} on {now:%Y-%m-%d %H:%M} UTC, resume only if you go back."
        put_pause(session, replace(own, paused_reason=reason[:255]), now, ACTOR)


def _hand_on(pause: Pause, target: sa.Connection, now: datetime) -> None:
    """Gives the target the pause the source had, within the target's transaction."""
    with Session(target) as session:
        put_pause(session, pause, now, ACTOR)
        session.commit()


def _give_back(own: Pause, before: Pause, now: datetime, error: BaseException) -> bool:
    """Gives the source back the pause it had; False if somebody has changed it meanwhile, which stands.

    Raises CopyFailed if the source does not let itself be written.
    """
    try:
        with transaction() as session:
            if Pause.of(close_gate(session)) != own:
                return False
            put_pause(session, before, now, ACTOR)
            return True
    except SQLAlchemyError:
        raise CopyFailed(
            f"The move failed ({type(error).__name__}) and the source could not be resumed; it is paused. "
            "Resume it when its database can be written again."
        ) from None


@contextmanager
def _snapshot() -> Iterator[sa.Connection]:
    """The source as it is at one moment, for reading; writers do not wait."""
    engine = _reading_engine()
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield connection
    if engine is not db.engine:
        engine.dispose()


def _reading_engine() -> sa.Engine:
    """An engine whose transactions on SQLite take no lock: the application's own would for the whole move."""
    if db.engine.dialect.name == "postgresql":
        return db.engine
    path = Path(db.engine.url.database).absolute()
    url = sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "rw", "uri": "true"})
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": backups.BUSY_SECONDS})
    sa.event.listen(engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN DEFERRED"))
    return engine


@dataclass(frozen=True)
class _Place:
    """The target within one transaction. `finish` does all that may take long, `keep` makes it last.

    A new SQLite file is finished as a whole and gets its name when the block has ended well.
    """

    connection: sa.Connection
    finish: Callable[[], object]
    keep: Callable[[], object]


@contextmanager
def _target(url: sa.URL) -> Iterator[_Place]:
    if url.get_backend_name() == "postgresql":
        options = "-c timezone=UTC -c lock_timeout=15000"
        arguments = {"connect_timeout": 10, "options": options}
        engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True, connect_args=arguments)
        with engine.connect() as connection, connection.begin() as work:
            yield _Place(connection, lambda: None, work.commit)
        return
    path = Path(url.database).absolute()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with backups.new_database(path) as draft:
        engine = sa.create_engine(f"sqlite:///{draft}", poolclass=sa.NullPool, hide_parameters=True)
        sa.event.listen(engine, "connect", _for_one_writer)
        sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.connect() as connection, connection.begin() as work:

            def finish():
                work.commit()
                connection.close()
                engine.dispose()
                backups.check(draft)
                backups.flush(draft)

            yield _Place(connection, finish, lambda: None)


def _for_one_writer(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for setting in ("foreign_keys=ON", "synchronous=OFF", "journal_mode=MEMORY"):
        connection.execute(f"PRAGMA {setting}")


def _prepare(app: Flask, target: sa.Connection) -> None:
    """Brings an empty target to head. Raises BadInput for one that holds anything."""
    names = set(sa.inspect(target).get_table_names())
    ours = {table.name for table in tables()}
    if strange := sorted(names - ours - {"alembic_version"}):
        raise BadInput(f"The target holds tables of something else ({strange[0]}). Give an empty database.")
    if names:
        found = target.scalar(sa.text("SELECT max(version_num) FROM alembic_version"))
        database.require_known(found)
    database.upgrade_over(app, target)
    for table in reversed(tables()):
        count = target.scalar(sa.select(sa.func.count()).select_from(table))
        if count and table.name not in MADE_BY_ITSELF:
            raise BadInput(
                f"The target is not empty: table {table.name} holds {count:,} rows. Give an empty database."
            )
        if count:
            target.execute(table.delete())


def _carry(target: sa.Connection, say: Callable[[str], object]) -> tuple[dict[str, TableSum], bool]:
    """Copies every table from one moment of the source; what was read, and whether its ledger adds up."""
    sums = {}
    with _snapshot() as source, Session(source) as session:
        adds_up = ledger(session).adds_up
        for table in tables():
            say(table.name)
            sums[table.name] = copy_table(table, source, target)
    return sums, adds_up


def _verify(target: sa.Connection, sums: dict[str, TableSum], adds_up: bool, keys: str) -> tuple[int, int]:
    """Compares everything with what was read; how many API keys are stored, how many cannot be read."""
    if target.dialect.name == "postgresql":
        target.execute(sa.text("ANALYZE"))
    wrong = [table.name for table in tables() if sum_table(table, target) != sums[table.name]]
    if wrong:
        raise CopyFailed(f"The target differs from the source in: {', '.join(wrong)}.")
    with Session(target) as session:
        if ledger(session).adds_up != adds_up:
            raise CopyFailed("The ledger adds up on one side only.")
        return count_secrets(session, keys)


def _why(error: Exception, target: str) -> str:
    """A sentence without rows, texts or passwords of what went wrong."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, psycopg.OperationalError) and not cause.sqlstate:
        with suppress(AttributeError):
            if "password" in str(cause):
                return f"{target} wants another user or password. Put the password into PGPASSWORD."
        return f"{target} does not answer, or not any more."
    if isinstance(cause, psycopg.Error):
        place = re.search(r"COPY (\w+), line \d+, column (\w+)", cause.diag.context or "")
        where = f" (table {place[1]}, column {place[2]})" if place else ""
        words = cause.diag.message_primary or type(cause).__name__
        if "NUL" in str(cause):
            words = "a text holds a NUL character, which PostgreSQL cannot store"
        return f"The rows cannot be stored in {target}{where}: {words.split(':')[0]}."
    if words := backups.damage(cause):
        return words
    if isinstance(cause, sqlite3.Error | OSError):
        return f"{target} cannot be written: {cause}."
    return f"The move to {target} failed ({type(error).__name__})."
