"""One copy of the embedded database at a time, whichever process makes it. Needs nothing but the system."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CopyFailed

LOCK_NAME = "copying.lock"
# Who only looks holds it for a moment.
TRIES, TRY_SECONDS = 10, 0.02


@contextmanager
def only_copy(data_dir: Path) -> Iterator[bool]:
    """Whether nobody else makes a copy in this data folder; within the block nobody else begins one.

    The lock goes with the process that holds it. Raises CopyFailed where files cannot be locked.
    """
    descriptor = _open(data_dir)
    try:
        yield _is_taken(descriptor, fcntl.LOCK_EX, TRIES)
    finally:
        os.close(descriptor)


def is_copying(data_dir: Path) -> bool:
    """Whether somebody makes a copy within `only_copy`. Raises CopyFailed where files cannot be locked."""
    descriptor = _open(data_dir)
    try:
        return not _is_taken(descriptor, fcntl.LOCK_SH, 1)
    finally:
        os.close(descriptor)


def _open(data_dir: Path) -> int:
    try:
        return os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CopyFailed(f"Nothing can be written in {data_dir} ({error.strerror}). Make room.") from None


def _is_taken(descriptor: int, kind: int, tries: int) -> bool:
    for number in range(tries):
        if number:
            time.sleep(TRY_SECONDS)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError as error:
            raise CopyFailed(
                f"The file system of the data folder cannot lock files ({error.strerror}). Set PDS_DATA_DIR "
                "to a folder on a local disk."
            ) from None
        return True
    return False
