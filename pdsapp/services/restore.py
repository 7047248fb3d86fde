"""Making a backup an installation of its own, in a new data dir, paused until somebody says it may post."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flask import Flask
from pydantic import SecretStr
from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..config import Settings
from ..database import reading, transaction
from ..errors import BadInput, CopyFailed, DatabaseNotReady, NotConfigured, SecretUnreadable
from ..extensions import db
from ..llm.secrets import SECRET_FILES, SecretBox
from ..models import ApiToken, Base, Installation
from . import backups, database, tombstones, withdrawals_again
from .command_pauses import Pause, put_pause
from .ledger import ledger

# What may lie in an "empty" data dir: keys put there first, the lock this command holds.
HARMLESS = frozenset(
    {*SECRET_FILES.values(), "stack.lock", "migrating.lock", "copying.lock", ".gitignore", "lost+found"}
)
STAGING = ".restoring-"
OURS = {"alembic_version", "installation", "experiment", "attempt", "post"}
ACTOR = "flask restore"
# The tables a migration, the pause or a withdrawal may add rows to; all others hold what the backup held.
MAY_GROW = {"alembic_version", "audit_event", "role", "withdrawal"}


@dataclass(frozen=True)
class Restored:
    """What came of it. `unreadable` of `secrets` stored API keys cannot be read with the keys in force here.

    `hidden` of those could be, if PDS_FERNET_KEYS did not win over the key file. `counts`: the backup's rows.
    `withdrawn` people of the backup have withdrawn since, and were erased again.
    """

    path: Path
    counts: dict[str, int]
    adds_up: bool
    was_migrated: bool
    secrets: int
    unreadable: int
    hidden: int
    withdrawn: int


def examine(file: Path) -> str:
    """The schema revision of a backup that can be restored. Raises BadInput, CopyFailed."""
    if os.path.isdir(file):
        raise BadInput(f"{file} is a folder. Name the backup's file in it.")
    if not os.path.isfile(file):
        raise BadInput(f"There is no file {file}.")
    try:
        address = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=backups.BUSY_SECONDS)) as connection:
            tables = backups.row_counts(connection).keys()
            found = None
            if tables >= OURS:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise BadInput(f"{file} is not a backup of Discourse Twins: it is no SQLite database.") from None
        raise CopyFailed(f"{file} cannot be read: {error}. Take another backup.") from None
    if not found:
        raise BadInput(f"{file} is a SQLite database, but not one of Discourse Twins.")
    try:
        database.require_known(found[0])
    except DatabaseNotReady:
        raise BadInput(
            f"{file} is at schema revision {found[0]}, which this version does not know. It was made by a "
            "newer version: install that one and restore there."
        ) from None
    return found[0]


def require_empty(data_dir: Path) -> None:
    """Returns for a data dir that holds nothing but keys. Raises BadInput."""
    if os.path.isfile(data_dir):
        raise BadInput(f"{data_dir} is a file. Name a new or empty folder.", "data-dir")
    try:
        names = {entry.name for entry in os.scandir(data_dir)} if os.path.isdir(data_dir) else set()
    except OSError as error:
        raise BadInput(f"{data_dir} cannot be looked into ({error.strerror}).", "data-dir") from None
    left = sorted(name for name in names - HARMLESS if not name.startswith(STAGING))
    if left:
        raise BadInput(
            f"{data_dir} is not empty (it holds {', '.join(left[:3])}). A backup is restored into a new or "
            "empty folder only; nothing is overwritten.",
            "data-dir",
        )


def restore(
    file: Path,
    data_dir: Path,
    keys: Path | None,
    given_keys: str | None,
    settings: Settings,
    make_app: Callable[[Settings], Flask],
    now: datetime,
) -> Restored:
    """Restores into an empty data dir that the caller has locked; nothing has its name until all is right.

    `keys` is a key file; `given_keys` are those of the environment, which win at every start. The
    installation is left paused. Raises BadInput, CopyFailed.
    """
    revision = examine(file)
    require_empty(data_dir)
    for left in data_dir.glob(f"{STAGING}*"):
        shutil.rmtree(left)
    staging = data_dir / f"{STAGING}{os.getpid()}"
    wanted_keys = _keys(keys, data_dir)
    try:
        staging.mkdir(mode=0o700)
        copied = backups.copy_database(file, staging / backups.DATABASE_NAME, is_at_rest=True)
        staged = settings.model_copy(
            update={
                "data_dir": staging,
                "database_url": None,
                "demo": False,
                "fernet_keys": SecretStr(given_keys or wanted_keys or settings.require("fernet_keys")),
            }
        )
        made = _make_ours(make_app(staged), file, now, given_keys, wanted_keys, copied.counts, data_dir)
        _compare(copied.counts, backups.check(staging / backups.DATABASE_NAME))
        if wanted_keys is not None:
            _write_keys(data_dir / SECRET_FILES["fernet_keys"], wanted_keys)
        tombstones.carry(file.parent / tombstones.NAME, data_dir / backups.FOLDER / tombstones.NAME)
        os.rename(staging / backups.DATABASE_NAME, made.path)
        return made
    except SQLAlchemyError as error:
        raise _unfit(file, revision, error) from None
    except OSError as error:
        raise CopyFailed(f"{data_dir} cannot be written ({error.strerror}). Nothing was restored.") from None
    except sqlite3.Error as error:
        raise CopyFailed(f"The copy in {data_dir} cannot be used ({error}). Nothing was restored.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _make_ours(
    app: Flask,
    file: Path,
    now: datetime,
    given_keys: str | None,
    file_keys: str | None,
    counts: dict[str, int],
    data_dir: Path,
) -> Restored:
    """Migrates the staged copy, pauses it, looks at it, and closes it."""
    with app.app_context():
        try:
            prepared = _migrate(app)
            with transaction() as session:
                installation = session.get_one(Installation, 1)
                before = installation.paused_reason if installation.is_paused else ""
                reason = _reason(file.name, before)
                put_pause(session, Pause.over(installation, now, ACTOR, reason), now, ACTOR)
            withdrawn = withdrawals_again.repeat(file.parent / tombstones.NAME, now)
            with reading() as session:
                adds_up = ledger(session).adds_up
                secrets, unreadable = count_secrets(session, given_keys or file_keys)
                hidden = 0
                if given_keys and file_keys:
                    hidden = unreadable - count_secrets(session, f"{given_keys},{file_keys}")[1]
        finally:
            db.session.remove()
            db.engine.dispose()
    with closing(sqlite3.connect(app.extensions["settings"].data_dir / backups.DATABASE_NAME)) as staged:
        staged.execute("PRAGMA journal_mode=DELETE")  # all in one file again
    return Restored(
        path=data_dir / backups.DATABASE_NAME,
        counts=counts,
        adds_up=adds_up,
        was_migrated=prepared.was_migrated,
        secrets=secrets,
        unreadable=unreadable,
        hidden=hidden,
        withdrawn=withdrawn,
    )


def _migrate(app: Flask) -> database.Prepared:
    """Brings the staged copy to head. Raises SQLAlchemyError where its tables are not what they should be."""
    try:
        prepared = database.prepare(app)
    except (KeyError, ValueError) as error:  # migrations that look for what is not there
        raise SQLAlchemyError(str(error)) from None
    found = inspect(db.engine)
    for table in Base.metadata.sorted_tables:
        there = {column["name"] for column in found.get_columns(table.name)}
        if missing := sorted({column.name for column in table.columns} - there):
            raise SQLAlchemyError(f"no such column: {table.name}.{missing[0]}")
    return prepared


def _unfit(file: Path, revision: str, error: SQLAlchemyError) -> BadInput | CopyFailed:
    cause = getattr(error, "orig", None) or error
    if isinstance(error, DBAPIError) and getattr(cause, "sqlite_errorcode", 1) != sqlite3.SQLITE_ERROR:
        return CopyFailed(f"The copy of {file} cannot be used ({cause}). Nothing was restored.")
    return BadInput(
        f"{file} says that it is at schema revision {revision}, but its tables are not those of that "
        f"revision ({cause}). It cannot be restored. Take another backup."
    )


def count_secrets(session, keys: str | None) -> tuple[int, int]:
    """How many API keys are stored, and how many of them these Fernet keys cannot read."""
    stored = session.execute(
        select(ApiToken.secret_encrypted, ApiToken.base_url).where(ApiToken.secret_encrypted.is_not(None))
    ).all()
    if keys is None:
        return len(stored), len(stored)
    box = SecretBox(keys)
    unreadable = 0
    for encrypted, base_url in stored:
        try:
            box.open(encrypted, base_url)
        except SecretUnreadable:
            unreadable += 1
    return len(stored), unreadable


def _reason(name: str, before: str) -> str:
    words = f"Restored from {name[:80]}, resume when the other copy is off."
    return f"{words} It was paused before: {before}"[:255] if before else words


def _keys(keys: Path | None, data_dir: Path) -> str | None:
    """The keys to use: those of the file first, then those already in the data dir. None: neither."""
    found = []
    for path in (keys, data_dir / SECRET_FILES["fernet_keys"]):
        if path is None or (path != keys and not path.exists()):
            continue
        try:
            text = path.read_text().strip()
            SecretBox(text)
        except (OSError, ValueError, NotConfigured):
            raise BadInput(f"{path} holds no usable keys. Give the file {backups.KEYS_NAME}.") from None
        found += [key.strip() for key in text.split(",") if key.strip() and key.strip() not in found]
    return ",".join(found) or None


def _write_keys(path: Path, keys: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(keys)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _compare(before: dict[str, int], after: dict[str, int]) -> None:
    wrong = [
        table
        for table, count in before.items()
        if after.get(table, 0) < count or (table not in MAY_GROW and after[table] != count)
    ]
    if wrong:
        raise CopyFailed(f"After restoring, row counts differ in: {', '.join(wrong)}. Nothing was restored.")
