"""Making the file of an embedded database hold nothing but its rows: freed parts keep old bytes otherwise."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import structlog
from sqlalchemy import select

from ..database import BUSY_SECONDS, reading, transaction
from ..errors import CopyFailed
from ..extensions import db
from ..models import Withdrawal, utc_now

# About five seconds, for which nobody else can write.
MOST_BYTES = 500_000_000
# Who does it beside other work waits so long for others, and so long before trying again: each try may write
# the whole file, and nobody else can meanwhile.
WAITS_SECONDS, AGAIN_SECONDS = 2, 60
log = structlog.get_logger()
_again_at: dict[Path, float] = {}


def is_embedded() -> bool:
    """Whether the database is a file of ours."""
    return db.engine.dialect.name == "sqlite"


def is_wanted() -> bool:
    """Whether somebody was erased since the file was compacted last; never for PostgreSQL."""
    if not is_embedded():
        return False
    query = select(Withdrawal.id).where(
        Withdrawal.finished_at.is_not(None), Withdrawal.compacted_at.is_(None)
    )
    with reading() as session:
        return session.scalars(query.limit(1)).first() is not None


def compact_what_is_small() -> bool:
    """Compacts a file of at most 500 MB that needs it; False, as nothing more can be done at once.

    A larger one is left to `flask participants compact`, since nobody could write for too long.
    """
    if time.monotonic() < _again_at.get(_path(), 0.0) or not is_wanted() or size() > MOST_BYTES:
        return False
    try:
        compact(WAITS_SECONDS)
    except CopyFailed as error:  # somebody reads or writes, or there is no room
        _again_at[_path()] = time.monotonic() + AGAIN_SECONDS
        log.warning("database not compacted yet", why=str(error))
    return False


def size() -> int:
    """The bytes of the embedded database's file."""
    return _path().stat().st_size


def compact(waits_seconds: float = BUSY_SECONDS) -> None:
    """Writes the file anew, empties its log, and marks every finished withdrawal.

    Waits so long for others. Raises CopyFailed if somebody else keeps it busy, or there is no room: as much
    again is needed.
    """
    db.session.remove()
    try:
        with closing(sqlite3.connect(_path(), timeout=waits_seconds, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise CopyFailed(f"The database could not be compacted ({error}).") from None
    if is_busy:
        raise CopyFailed("The database could not be compacted: somebody is reading it.")
    with transaction() as session:
        done = select(Withdrawal).where(
            Withdrawal.finished_at.is_not(None), Withdrawal.compacted_at.is_(None)
        )
        for withdrawal in session.scalars(done):
            withdrawal.compacted_at = utc_now()


def _path() -> Path:
    return Path(db.engine.url.database or "").absolute()
