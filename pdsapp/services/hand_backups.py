"""The backup somebody asks for in the browser: made in a thread of the web process, one at a time.

How far it is stands in a file beside the copies, so that every thread and process reads the same. Who makes
one holds a lock that goes with the process: a copy whose maker was killed is told as cut off, and what it
left is removed by the next web process and before the next copy.
"""

import json
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from ..config import Settings
from ..database import UNREADABLE, transaction
from ..errors import BadInput, CopyFailed
from ..models import Account, utc_now
from . import backups, copy_lock, system

BY_HAND = "hand-*.sqlite3"
PROGRESS_NAME = "hand.progress"
KEPT = 10
# Requests come first.
PAUSE_SECONDS = 0.005
TOLD_EVERY_SECONDS = 0.5
# A small database is copied before the answer is sent.
QUICK_SECONDS = 0.4
CUT_OFF = "It was cut off in the middle, so no copy was kept. Press Back up now again."
log = structlog.get_logger()


@dataclass(frozen=True)
class Progress:
    """How far a backup is in pages of the database, 0 of 0 until its rows are counted, or how it ended.

    `words` says what a finished one holds, `problem` why there is none.
    """

    name: str
    actor: str
    began_at: datetime
    copied: int = 0
    total: int = 0
    ended_at: datetime | None = None
    words: str = ""
    problem: str = ""

    @property
    def is_running(self) -> bool:
        return self.ended_at is None


def begin(app: Flask, account: Account, now: datetime) -> None:
    """Begins a checked copy of the embedded database beside the daily ones; the newest ten are kept.

    Waits a moment for it to end. An audit event is committed when it has. Raises BadInput where the database
    is a server's, or a copy is made already; CopyFailed where nothing can be written.
    """
    settings: Settings = app.extensions["settings"]
    if not settings.is_embedded:
        raise BadInput("The database is a server's. Back it up there; flask backup FILE prints the command.")
    folder = settings.data_dir / backups.FOLDER
    with ExitStack() as held:
        if not held.enter_context(copy_lock.only_copy(settings.data_dir)):
            raise BadInput(_busy_words(progress(settings)))
        found = Progress(f"hand-{now:%Y-%m-%dT%H%M%S}Z.sqlite3", account.email, now)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            backups.clear_drafts(folder)
            _write(folder, found)
        except OSError as error:
            raise CopyFailed(f"Nothing can be written in {folder} ({error.strerror}). Make room.") from None
        thread = threading.Thread(
            target=_make, args=(app, held.pop_all(), found, account.id), name="backup", daemon=True
        )
        thread.start()
    thread.join(QUICK_SECONDS)


def progress(settings: Settings) -> Progress | None:
    """How far the last backup made by hand is, or how it ended; None if there was none."""
    if not settings.is_embedded:
        return None
    folder = settings.data_dir / backups.FOLDER
    found = _read(folder)
    if found is None or not found.is_running or _is_copying(settings.data_dir):
        return found
    found = _read(folder)  # it may have ended between the two
    if found is None or not found.is_running:
        return found
    try:
        kept = datetime.fromtimestamp((folder / found.name).stat().st_mtime, UTC)
    except OSError:
        return replace(found, ended_at=found.began_at, problem=CUT_OFF)
    return replace(found, ended_at=kept, words="whole and checked")


def clear(settings: Settings) -> None:
    """Removes what a process that was killed has left of a copy."""
    if settings.is_embedded:
        backups.clear_drafts(settings.data_dir / backups.FOLDER)


def _make(app: Flask, held: ExitStack, found: Progress, account_id: int) -> None:
    settings: Settings = app.extensions["settings"]
    folder = settings.data_dir / backups.FOLDER
    told_at = 0.0

    def tell(copied: int, total: int) -> None:
        nonlocal told_at
        if copied < total and time.monotonic() < told_at + TOLD_EVERY_SECONDS:
            return
        told_at = time.monotonic()
        _try_to_write(folder, replace(found, copied=copied, total=total))

    with held, app.app_context():
        try:
            made = backups.copy_database(
                settings.data_dir / backups.DATABASE_NAME,
                folder / found.name,
                pause=_rest,
                tell=tell,
            )
        except (BadInput, CopyFailed) as error:
            log.warning("backup failed", why=str(error))
            _try_to_write(folder, replace(found, ended_at=utc_now(), problem=str(error)))
            return
        backups.keep_newest(sorted(folder.glob(BY_HAND)), KEPT, made.path)
        _note(found, account_id)
        _try_to_write(folder, replace(found, ended_at=utc_now(), words=made.words))


def _rest() -> None:
    time.sleep(PAUSE_SECONDS)


def _note(found: Progress, account_id: int) -> None:
    try:
        with transaction() as session:
            account = session.get(Account, account_id)
            system.note_backup(session, "back up", found.name, utc_now(), account, found.actor)
    except (SQLAlchemyError, *UNREADABLE) as error:
        log.warning("backup not noted in the audit log", why=type(error).__name__, file=found.name)


def _busy_words(running: Progress | None) -> str:
    if running is None or not running.is_running:
        return "The daily backup is being made. No second one was begun; press Back up now when it is done."
    return (
        f"A backup is being made already, begun by {running.actor} at {running.began_at:%H:%M:%S} UTC. "
        "No second one was begun."
    )


def _is_copying(data_dir: Path) -> bool:
    try:
        return copy_lock.is_copying(data_dir)
    except CopyFailed:
        return False


def _read(folder: Path) -> Progress | None:
    try:
        found = json.loads((folder / PROGRESS_NAME).read_text())
        found["began_at"] = datetime.fromisoformat(found["began_at"])
        found["ended_at"] = datetime.fromisoformat(found["ended_at"]) if found["ended_at"] else None
        return Progress(**found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(folder: Path, found: Progress) -> None:
    """In one step: nobody reads half of it."""
    fresh = folder / f".{PROGRESS_NAME}.{os.getpid()}.partial"
    fresh.write_text(json.dumps(asdict(found), default=datetime.isoformat))
    fresh.replace(folder / PROGRESS_NAME)


def _try_to_write(folder: Path, found: Progress) -> None:
    try:
        _write(folder, found)
    except OSError as error:
        log.warning("progress of the backup not written", why=error.strerror)
