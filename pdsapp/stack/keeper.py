"""The keeper: the one process of the local stack that makes the daily backups, at the lowest priority.

A process of its own: the scheduler must not be late for a slot, and the supervisor must not stop looking
after its children, because a large database is being copied.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from ..errors import CopyFailed
from ..services import backups

TURN_SECONDS = 15.0
# After a start and after a sleep, others have more urgent things to do with the disk.
SETTLE_SECONDS = 20.0
RETRY_SECONDS = 600.0
# A sixth of the time at most is spent copying.
PAUSE_SECONDS = 0.02
log = structlog.get_logger()


class Keeper:
    """Makes the backup of each day once the machine has been awake for a while; says a failure once.

    `clock` gives the wall time; `monotonic` seconds that stand still, or not, while the machine sleeps.
    """

    def __init__(
        self,
        data_dir: Path,
        min_free: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ):
        self._data_dir = data_dir
        self._min_free = min_free
        self._clock = clock
        self._monotonic = monotonic
        self._settled_at = monotonic() + SETTLE_SECONDS
        self._turned_at = clock()
        self._said = ""

    def turn(self) -> backups.Copy | None:
        """One look; the backup if one was made."""
        now, moment = self._clock(), self._monotonic()
        if (now - self._turned_at).total_seconds() > 4 * TURN_SECONDS:
            self._settled_at = max(self._settled_at, moment + SETTLE_SECONDS)
        self._turned_at = now
        if moment < self._settled_at:
            return None
        try:
            made = backups.make_daily(
                self._data_dir, now, self._min_free, pause=lambda: time.sleep(PAUSE_SECONDS)
            )
        except CopyFailed as error:
            self._settled_at = moment + RETRY_SECONDS
            if str(error) != self._said:
                self._said = str(error)
                log.warning("daily backup failed", why=str(error))
            return None
        if made is not None:
            self._said = ""
            log.info("daily backup made", file=made.path.name, what=made.words)
        return made


def keep(data_dir: Path, min_free: int) -> int:
    """Makes the daily backups until the process is told to end; what it was making is removed next time."""
    from ..logs import configure

    configure()
    os.umask(0o077)
    with suppress(OSError):
        os.nice(19)
    keeper = Keeper(data_dir, min_free)
    while True:
        keeper.turn()
        time.sleep(TURN_SECONDS)


def main() -> int:
    """The same from the command line, where processes cannot be forked."""
    parser = argparse.ArgumentParser(description="Makes the daily backups of the local stack.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--min-free", type=int, required=True)
    arguments = parser.parse_args()
    return keep(arguments.data_dir, arguments.min_free)


if __name__ == "__main__":
    sys.exit(main())
