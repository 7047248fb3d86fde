"""10,000 attempts drained by real workers over a real queue: by 1, 2 and 4 on PostgreSQL, by 1 on SQLite.

They count from the first wake-up until nothing is due or running, and the ledger must add up then. PostgreSQL
only where BENCH_DATABASE_URL names a server. A run that takes longer than it may is stopped, and what it has
done until then is what counts. The floor is the bare client in one process with as many calls at once.
"""

import os
import time
from collections.abc import Iterator

from pdsapp.scheduling import queue

from . import due, floor
from .figures import Figure
from .workers import workers

ATTEMPTS, AT_ONCE = 10_000, 256
BARE_CALLS = 1000
WORKERS_ON_SQLITE, WORKERS_ON_POSTGRESQL = (1,), (1, 2, 4)
LONGEST_SECONDS = 75
LOOK_SECONDS, WAKE_SECONDS = 0.1, 1.0


def figures() -> Iterator[Figure]:
    """A row for each number of workers on each database."""
    url = os.environ.get("BENCH_DATABASE_URL")
    yield from _rows(None, WORKERS_ON_SQLITE)
    if url:
        yield from _rows(url, WORKERS_ON_POSTGRESQL)


def _rows(url: str | None, counts: tuple[int, ...]) -> Iterator[Figure]:
    for count in counts:
        with due.town(ATTEMPTS, url, has_queue=True) as town:
            messages = due.prompts(town.settings, town.experiment)
            bare, _ = floor.bare(town.base_url(0), messages, BARE_CALLS, AT_ONCE)
            with workers(town.settings, count, "default", AT_ONCE):
                done, seconds = _drained(town)
            sums = due.require_sums()
        stopped = "" if done == ATTEMPTS else f", {done:,} of them in {seconds:.0f} s"
        yield Figure(
            f"{ATTEMPTS:,} attempts by {count} worker{'s' * (count > 1)}, "
            f"{'PostgreSQL' if url else 'SQLite'}{stopped}",
            done / seconds, "/s", BARE_CALLS / bare, "bare client, one process",
            raw={"attempts": ATTEMPTS, "done": done, "seconds": seconds, "ledger": sums},
        )  # fmt: skip


def _drained(town: due.Town) -> tuple[int, float]:
    """How many attempts have ended, and after how many seconds. Wakes the lane as the scheduler does."""
    connection = queue.connection(town.settings)
    due.add(town.experiment, ATTEMPTS)
    began = time.perf_counter()
    queue.wake(connection, "default", ATTEMPTS)
    woken_at, seconds = began, 0.0
    while (left := due.left()) and seconds < LONGEST_SECONDS:
        time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        if time.perf_counter() - woken_at > WAKE_SECONDS:
            queue.wake_idle(connection, ["default"])
            woken_at = time.perf_counter()
    return ATTEMPTS - left, time.perf_counter() - began
