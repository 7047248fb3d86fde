"""Room on the disk of the data dir: below PDS_MIN_FREE nothing is claimed and no call is paid for.

The embedded database and Valkey's append-only file live there. With a database elsewhere each process
watches its own data dir only; the database server's disk is its administrator's business.
"""

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog

from ..config import Settings
from ..errors import DiskLow

LOOK_SECONDS = 1.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Room:
    """Bytes free where the data dir is, None where the system does not say; and how many are wanted."""

    free: int | None
    wanted: int

    @property
    def is_low(self) -> bool:
        """Whether nothing may be claimed; never if the watch is switched off (0 wanted)."""
        return self.free is not None and self.free < self.wanted

    @property
    def is_tight(self) -> bool:
        """Whether it will soon be low: less than twice what is wanted."""
        return self.free is not None and self.free < 2 * self.wanted

    @property
    def words(self) -> str:
        """ "312 MB free, 500 MB are wanted"."""
        return f"{bytes_words(self.free or 0)} free, {bytes_words(self.wanted)} are wanted"

    @property
    def sentence(self) -> str:
        """What is, what follows, and what to do; without the path, for anybody to read."""
        return (
            f"Disk is low: {self.words}. No attempt is taken and no model is asked until there is room. "
            "Make room where the data folder is, or lower PDS_MIN_FREE."
        )


class DiskWatch:
    """Looks for room for a process; says once when it begins to lack and once when it is back."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._was_low = False

    def has_room(self) -> bool:
        """Whether anything may be claimed now."""
        room = look(self._settings)
        if room.is_low != self._was_low:
            self._was_low = room.is_low
            if room.is_low:
                log.warning("disk is low", why=room.sentence)
            else:
                log.info("disk has room again", free=bytes_words(room.free or 0))
        return not room.is_low


def look(settings: Settings) -> Room:
    """The room there is, at most a second old."""
    return Room(_free(str(settings.data_dir), int(time.monotonic() / LOOK_SECONDS)), settings.min_free)


def require_room(settings: Settings) -> None:
    """Returns if there is room. Raises DiskLow."""
    if (room := look(settings)).is_low:
        raise DiskLow(room.sentence)


def free_bytes(path: Path) -> int | None:
    """What this user may still write where `path` is or would be; None where the system does not say."""
    path = Path(path).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def bytes_words(count: int) -> str:
    """A number of bytes as people write it: "312 MB", "1.5 GB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            number = count / size
            return f"{number:.1f} {unit}" if number < 9.95 and unit != "kB" else f"{number:.0f} {unit}"
    return f"{count} bytes"


@lru_cache(maxsize=8)
def _free(path: str, _second: int) -> int | None:
    return free_bytes(Path(path))
