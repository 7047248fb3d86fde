"""The data directory of a local stack: prepared, and locked against a second stack."""

import errno
import fcntl
import json
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import StackError

LOCK_NAME = "stack.lock"
_OURS = frozenset({LOCK_NAME, "secret_key", "fernet_keys", "discourse_twins.sqlite3", ".gitignore"})
_HINT = "Set PDS_DATA_DIR to a directory you can write to."


@dataclass(frozen=True)
class RunningStack:
    """Who holds a data directory: the supervisor's process id and the address of its web server."""

    pid: int
    address: str


def prepare_data_dir(path: Path) -> Path:
    """The absolute data directory, existing, writable, closed to other users (0700).

    A directory that holds other people's files and is open to others is refused rather than closed.
    Raises StackError with what to do.
    """
    path = Path(path).expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {entry.name for entry in os.scandir(path)}
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            if names and not names & _OURS:
                raise StackError(
                    f"The data directory {path} holds other files and is open to other users. "
                    "Set PDS_DATA_DIR to a new or empty directory."
                )
            path.chmod(0o700)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"ok")
        probe.unlink()
    except FileExistsError:
        raise StackError(f"The data directory {path} is a file. {_HINT}") from None
    except OSError as error:
        raise StackError(
            f"The data directory {path} cannot be used ({error.strerror or error}). {_HINT}"
        ) from None
    return path


class StackLock:
    """An exclusive lock on a data directory, held while the context is open, gone with the process."""

    def __init__(self, data_dir: Path):
        self._path = data_dir / LOCK_NAME
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def __enter__(self) -> "StackLock":
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not take_lock(self._descriptor):
            holder = _read(self._descriptor)
            self._close()
            who = f" (process {holder.pid}, {holder.address})" if holder else ""
            raise StackError(
                f"Another stack already uses the data directory {self._data_dir}{who}. "
                "Stop it first, or set PDS_DATA_DIR and PDS_PORT for a second one."
            )
        return self

    def announce(self, address: str) -> None:
        """Write down who holds the lock, for the sentence a second stack is refused with."""
        content = json.dumps({"pid": os.getpid(), "address": address}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def __exit__(self, *_exception: object) -> None:
        os.ftruncate(self._descriptor, 0)
        self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = None


def running_stack(data_dir: Path) -> RunningStack | None:
    """The local stack that uses a data directory now, or None."""
    try:
        descriptor = os.open(Path(data_dir) / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if take_lock(descriptor) else _read(descriptor)
    finally:
        os.close(descriptor)


def take_lock(descriptor: int, seconds: float = 0) -> bool:
    """Whether an open file could be locked for this process and its heirs within `seconds`.

    Raises StackError where the file system has no locks.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StackError(
                    "The file system of the data directory cannot lock files. "
                    "Set PDS_DATA_DIR to a directory on a local disk."
                ) from None
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)


def _read(descriptor: int) -> RunningStack | None:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return RunningStack(pid=int(content["pid"]), address=str(content["address"]))
    except (ValueError, KeyError, TypeError):
        return None
