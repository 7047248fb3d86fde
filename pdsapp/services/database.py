"""The schema: is it there and at head, bring it there, back it up first."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import Flask
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..config import Settings
from ..database import transaction
from ..errors import DatabaseNotReady
from ..extensions import db
from ..models import utc_now
from . import backups, demo
from .experiments import ensure_installation

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
KEPT_BACKUPS = 10
log = structlog.get_logger()


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did. `backup` is the file written before an existing database was changed."""

    was_created: bool = False
    was_migrated: bool = False
    backup: Path | None = None
    demo: str = ""

    @property
    def lines(self) -> list[str]:
        """What was done, in words; nothing when there was nothing to do."""
        lines = ["Made the database."] if self.was_created else []
        if self.was_migrated:
            lines.append("Migrated the database to this version.")
        if self.backup:
            lines.append(f"Saved the database as it was: {self.backup}")
        return [*lines, self.demo] if self.demo else lines


@lru_cache
def head_revision() -> str:
    """The schema revision this code works with."""
    return _scripts().get_current_head()


def current_revision() -> str | None:
    """The revision the database is at, None for an empty one. Raises DatabaseNotReady if unreachable."""
    try:
        with db.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    except sa.exc.DBAPIError as error:
        raise DatabaseNotReady(f"The database does not answer: {error.orig}".strip()) from None


def require_head() -> None:
    """Returns if the database fits the code. Raises DatabaseNotReady naming what to run."""
    _require(current_revision())


def require_head_still(session: Session) -> None:
    """Returns if nobody has migrated the database since this process started: one short query.

    Raises DatabaseNotReady.
    """
    _require(session.scalar(sa.text("SELECT version_num FROM alembic_version")))


def prepare(app: Flask) -> Prepared:
    """Brings the embedded database to head, after a backup if it holds anything.

    With DATABASE_URL nothing is changed: raises DatabaseNotReady unless it is at head already.
    Several processes may call it at once; one of them does the work.
    """
    settings: Settings = app.extensions["settings"]
    with app.app_context():
        if not settings.is_embedded:
            require_head()
            _ensure_rows(settings)
            return Prepared()
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _for_the_owner_only(), _one_at_a_time(settings.data_dir):
            found = current_revision()
            is_at_head = found == head_revision()
            saved = None
            if not is_at_head:
                require_known(found)
                saved = backup(settings.data_dir, utc_now()) if found else None
                _upgrade(app)
            return Prepared(
                was_created=found is None,
                was_migrated=found is not None and not is_at_head,
                backup=saved,
                demo=_ensure_rows(settings),
            )


def _require(found: str | None) -> None:
    if found == head_revision():
        return
    if found is not None and found not in _known_revisions():
        raise DatabaseNotReady(
            f"The database is at revision {found}, which a newer version has made; this version needs "
            f"{head_revision()}. Start the newer one instead."
        )
    raise DatabaseNotReady(
        f"The database is at revision {found or 'none'}, this version needs {head_revision()}. "
        "Back it up, then run: flask db upgrade"
    )


def _known_revisions() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config)


def require_known(found: str | None) -> None:
    """Returns for a revision of this version's migrations, or none. Raises DatabaseNotReady."""
    if found is not None and found not in _known_revisions():
        raise DatabaseNotReady(
            f"The database is at revision {found}, which this version does not know. It was made by a newer "
            "one: install that, or set PDS_DATA_DIR to another folder."
        )


def upgrade_over(app: Flask, connection: sa.Connection) -> None:
    """Brings this connection's database to head within its transaction. Raises DatabaseNotReady."""
    _upgrade(app, connection)


def _upgrade(app: Flask, connection: sa.Connection | None = None) -> None:
    config = app.extensions["migrate"].migrate.get_config(str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseNotReady(f"The database cannot be brought to this version: {error}.") from None


def backup(data_dir: Path, now: datetime) -> Path:
    """A checked copy of the embedded database under `backups/`, its path. Keeps the newest ten.

    Apart from the daily ones, which have another name. Raises CopyFailed.
    """
    folder = data_dir / backups.FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"discourse_twins-{now:%Y%m%dT%H%M%S}-{os.getpid()}.sqlite3"
    backups.copy_database(Path(db.engine.url.database), target)
    backups.keep_newest(sorted(folder.glob("discourse_twins-*.sqlite3")), KEPT_BACKUPS, target)
    return target


def _ensure_rows(settings: Settings) -> str:
    """The installation's rows, and on an empty embedded database the demo, if wanted; in words."""
    try:
        with transaction() as session:
            ensure_installation(session, utc_now())
    except IntegrityError:  # another process made them in this moment
        log.info("installation exists already")
    with transaction() as session:
        if settings.is_embedded and settings.demo:
            return demo.ensure_demo(session, settings, utc_now())
    return ""


@contextmanager
def _for_the_owner_only():
    """Within it, files are made with mode 0600; SQLite gives its side files the database's mode."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _one_at_a_time(data_dir: Path):
    import fcntl

    with open(data_dir / "migrating.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
