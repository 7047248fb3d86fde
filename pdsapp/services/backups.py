"""Copies of the embedded database: consistent, checked, and never under their name unless whole.

Needs nothing but SQLite, so that the process that makes the daily ones stays small.
"""

import errno
import os
import re
import shlex
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from ..errors import BadInput, CopyFailed
from .copy_lock import only_copy
from .disk import bytes_words, free_bytes

DATABASE_NAME = "discourse_twins.sqlite3"
KEYS_NAME = "fernet_keys"
FOLDER = "backups"
KEPT_DAILY = 7
PROBLEM_NAME = "daily.problem"
BUSY_SECONDS = 15
# Between two of these steps whoever makes the copy may pause; 4 kB a page.
STEP_PAGES = 1024
ROOM_LEFT = 1_000_000
# Drafts that this process is filling: what else bears its number is of an earlier process of that number.
_at_work: set[Path] = set()


@dataclass(frozen=True)
class Copy:
    """A finished copy: where it is, its rows by table, its bytes, and how long it took to make and check."""

    path: Path
    counts: dict[str, int]
    size: int
    seconds: float

    @property
    def words(self) -> str:
        """ "12,345 rows in 25 tables, 12 MB, in 0.4 s"."""
        rows = sum(self.counts.values())
        return (
            f"{rows:,} rows in {len(self.counts)} tables, {bytes_words(self.size)}, in {self.seconds:.1f} s"
        )


def copy_database(
    source: Path,
    target: Path,
    pause: Callable[[], object] | None = None,
    is_at_rest: bool = False,
    tell: Callable[[int, int], object] | None = None,
) -> Copy:
    """A copy of a SQLite database as it was at one moment, whoever writes meanwhile: nobody waits for a lock.

    It is made beside the target with mode 0600, checked (integrity, foreign keys, as many rows in every
    table as at that moment), flushed to the disk and only then given its name. `pause` is called between
    steps of some megabytes, and before it `tell` with the pages copied and all there are; `is_at_rest` opens
    the source for reading only.

    Raises BadInput for a target that exists or cannot be, CopyFailed for the rest.
    """
    began = time.monotonic()
    require_database(source)
    needed = sum(os.stat(file).st_size for file in (source, f"{source}-wal") if os.path.exists(file))
    with new_database(target, needed) as draft:
        counts = _copy(source, draft, pause, is_at_rest, tell)
        check(draft, counts)
    return Copy(target, counts, target.stat().st_size, time.monotonic() - began)


def require_database(source: Path) -> None:
    """Returns for a file that is there. Raises BadInput."""
    if not os.path.isfile(source):
        raise BadInput(
            f"There is no database at {source}, so there is nothing to back up. Set PDS_DATA_DIR to the "
            "folder that holds it."
        )


@contextmanager
def new_database(target: Path, needed: int = 0) -> Iterator[Path]:
    """An empty file beside the target, which is flushed and given the target's name if the block ends well.

    Raises BadInput for a target that exists or cannot be, CopyFailed where there is no room for `needed`
    bytes or something goes wrong with the file.
    """
    draft = _draft(target, needed)
    _at_work.add(draft)
    try:
        yield draft
        flush(draft)
        _publish(draft, target)
    except FileExistsError:
        raise _exists(target) from None
    except (sqlite3.Error, OSError) as error:
        raise CopyFailed(_why(error, target)) from None
    finally:
        for left in (draft, Path(f"{draft}-journal"), Path(f"{draft}-wal"), Path(f"{draft}-shm")):
            left.unlink(missing_ok=True)
        _at_work.discard(draft)


def require_free(target: Path) -> None:
    """Returns for a path at which a new file can be made. Raises BadInput, which says what to choose."""
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        if target.parent.is_dir():
            return
        raise BadInput(f"The folder {target.parent} does not exist. Make it, or choose another.") from None
    except OSError as error:  # a name too long, or a folder that may not be looked into
        raise BadInput(f"No file can be made at {target} ({error.strerror}). Choose another name.") from None
    if target.is_dir():
        raise BadInput(f"{target} is a folder. Name a file in it.")
    raise _exists(target)


def check(path: Path, counts: dict[str, int] | None = None) -> dict[str, int]:
    """The rows by table of a database file in which nothing is broken. Raises CopyFailed, sqlite3.Error.

    `counts` is what there must be.
    """
    with closing(_open(path)) as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
        if problems != ["ok"]:
            raise CopyFailed(_damaged(problems[0]))
        if broken := connection.execute("PRAGMA foreign_key_check").fetchone():
            raise CopyFailed(
                f"A row of table {broken[0]} points at a row of {broken[2]} that is not there, so no copy "
                "was kept. Keep the backups there are."
            )
        found = row_counts(connection)
    if counts is not None and found != counts:
        tables = sorted(t for t in found.keys() | counts.keys() if found.get(t) != counts.get(t))
        raise CopyFailed(f"The copy has other row counts than the database in: {', '.join(tables)}.")
    return found


def row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has, as this connection's transaction sees it."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' "
        "ORDER BY name"
    ).fetchall()
    return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables}


def write_keys(keys: str, target: Path) -> None:
    """A key file with these keys, for its owner only. Raises BadInput if the target exists, CopyFailed."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(keys)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        with suppress(OSError):
            target.unlink(missing_ok=True)
        raise CopyFailed(f"The keys cannot be written to {target} ({error.strerror}).") from None


def dump_command(url, file: Path) -> str:
    """The pg_dump command that backs up the PostgreSQL database of a SQLAlchemy URL; never a password.

    It connects as the application does: socket, several hosts and TLS options included.
    """
    from psycopg import pq  # not for the keeper
    from psycopg.conninfo import make_conninfo

    _, given = url.get_dialect()().create_connect_args(url)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} - {"password", "sslpassword"}
    where = make_conninfo(**{name: value for name, value in given.items() if name in known})
    return shlex.join(["pg_dump", "--format=custom", "--no-owner", f"--file={file}", f"--dbname={where}"])


def daily_path(data_dir: Path, day: date) -> Path:
    """Where the backup of a day is, or would be."""
    return data_dir / FOLDER / f"daily-{day:%Y-%m-%d}.sqlite3"


def dailies(data_dir: Path) -> list[Path]:
    """The daily backups there are, oldest first."""
    return sorted((data_dir / FOLDER).glob("daily-????-??-??.sqlite3"))


def make_daily(
    data_dir: Path, now: datetime, min_free: int, pause: Callable[[], object] | None = None
) -> Copy | None:
    """The backup of the machine's present day, the eighth oldest removed; None if there is one already.

    Without a database yet there is nothing to do, and while another copy is made it is not the time. What
    went wrong is also left in a file for
    `daily_problem`. Raises CopyFailed, also rather than leave less than `min_free` bytes.
    """
    database, target = data_dir / DATABASE_NAME, daily_path(data_dir, now.astimezone().date())
    if target.exists() or not database.exists():
        return None
    try:
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with only_copy(data_dir) as is_only:
            if not is_only:
                return None
            clear_drafts(target.parent)
            _require_room(target.parent, database.stat().st_size, min_free)
            made = copy_database(database, target, pause)
    except (BadInput, CopyFailed, OSError) as error:
        words = str(error) if isinstance(error, BadInput | CopyFailed) else _why(error, target)
        with suppress(OSError):
            (target.parent / PROBLEM_NAME).write_text(f"{now:%Y-%m-%d %H:%M} UTC: {words}\n")
        raise CopyFailed(words) from None
    (target.parent / PROBLEM_NAME).unlink(missing_ok=True)
    keep_newest(dailies(data_dir), KEPT_DAILY, target)
    return made


def keep_newest(files: list[Path], count: int, made: Path) -> None:
    """Removes all but `count` of these files, the newest last, and never the one just made.

    A clock that was set back gives it a name that sorts before the others.
    """
    others = [file for file in files if file != made]
    for old in others[: max(0, len(others) + 1 - count)]:
        old.unlink(missing_ok=True)


def daily_problem(data_dir: Path) -> str:
    """When and why the last daily backup failed; "" if it did not."""
    try:
        return (data_dir / FOLDER / PROBLEM_NAME).read_text().strip()
    except OSError:
        return ""


def clear_drafts(folder: Path) -> None:
    """Removes what processes that were killed in the middle have left."""
    for left in folder.glob(".*.partial*"):
        found = re.fullmatch(r"(\..+\.(\d+)\.partial)(-\w+)?", left.name)
        if found and not _is_at_work(folder / found[1], int(found[2])):
            left.unlink(missing_ok=True)


def _is_at_work(draft: Path, pid: int) -> bool:
    """Whether the process whose number a draft bears may still be filling it."""
    if pid == os.getpid():
        return draft in _at_work
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _draft(target: Path, needed: int) -> Path:
    """An empty file beside the target, for its owner only."""
    require_free(target)
    _require_room(target.parent, needed, ROOM_LEFT)
    # File systems count bytes; SQLite's own files beside the draft have longer names.
    name = os.fsencode(target.name)[:200].decode(errors="ignore")
    draft = target.with_name(f".{name}.{os.getpid()}.partial")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise CopyFailed(_why(error, target)) from None
    return draft


def _require_room(folder: Path, needed: int, left: int) -> None:
    free = free_bytes(folder)
    if free is not None and free < needed + left:
        raise CopyFailed(
            f"There is no room for a copy in {folder}: it needs {bytes_words(needed)} and must leave "
            f"{bytes_words(left)}, but {bytes_words(free)} are free. Make room, or choose another disk."
        )


def _copy(
    source: Path,
    draft: Path,
    pause: Callable[[], object] | None,
    is_at_rest: bool,
    tell: Callable[[int, int], object] | None,
) -> dict[str, int]:
    """Copies within one reading transaction: no restart when others write, and the counts are of it."""

    def after_a_step(_status: int, remaining: int, total: int) -> None:
        if tell:
            tell(total - remaining, total)
        if pause:
            pause()

    with closing(_open(source, is_at_rest)) as database, closing(_open(draft)) as copy:
        database.execute("PRAGMA query_only=ON")
        database.execute("BEGIN")
        counts = row_counts(database)
        database.backup(copy, pages=STEP_PAGES, progress=after_a_step)
        database.execute("ROLLBACK")
        # One file that needs no second one beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
    return counts


def _open(path: Path, is_at_rest: bool = False) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={'ro' if is_at_rest else 'rw'}"
    return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def flush(path: Path) -> None:
    """Waits until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(draft: Path, target: Path) -> None:
    """Gives the draft its name. Raises FileExistsError rather than overwrite."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: FAT, some network drives
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        shutil.move(draft, target)
    with suppress(OSError):
        flush(target.parent)


def damage(error: BaseException) -> str:
    """What to say of an error by which SQLite tells that the database itself is damaged; "" of others."""
    if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(str(error))
    return ""


def _damaged(what: str) -> str:
    return (
        f"The database is damaged ({what}), so no copy of it was kept. Keep the backups there are, and "
        "restore one."
    )


def _exists(target: Path) -> BadInput:
    return BadInput(f"{target} exists already. Choose another name; nothing is overwritten.")


def _code(error: BaseException) -> int:
    """SQLite's primary result code, 0 of other errors."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _why(error: Exception, target: Path) -> str:
    if words := damage(error):
        return words
    if _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk of {target.parent} is full; the unfinished copy was removed. Make room, or choose "
            "another disk."
        )
    words = getattr(error, "strerror", None) or str(error)
    return f"{target} cannot be written ({words}). The unfinished copy was removed."
