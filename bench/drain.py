"""10,000 attempts drained by real workers over a real queue: by 1, 2 and 4 on PostgreSQL, by 1 on SQLite.

Time counts from the first wake-up until nothing is due or running, and the ledger must add up then. In the
table of all parts each run ends when its share of the time is over, and what it has done until then is what
counts; by itself (`make bench ARGS=drain`) it goes on. PostgreSQL only where BENCH_DATABASE_URL names a
server. The floor is the bare client in one process with as many calls at once.
"""

import os
import time
from collections.abc import Iterator

from pdsapp.scheduling import queue

from . import due, floor
from .figures import Figure
from .workers import workers

ATTEMPTS, AT_ONCE = 10_000, 256
BARE_CALLS = 500
WORKERS_ON_SQLITE, WORKERS_ON_POSTGRESQL = (1,), (1, 2, 4)
# A run takes so long before and after its drain: twins, floor, workers, ledger.
AROUND_SECONDS, LEAST_SECONDS, LONGEST_SECONDS = 25, 15, 600
LOOK_SECONDS, WAKE_SECONDS = 0.1, 1.0


def figures(seconds: float = 0) -> Iterator[Figure]:
    """A row for each number of workers on each database.

    Together they take about so many seconds at most, if that is not 0, but each drains for LEAST_SECONDS.
    """
    until = time.monotonic() + seconds
    runs = [(None, count) for count in WORKERS_ON_SQLITE]
    if url := os.environ.get("BENCH_DATABASE_URL"):
        runs += [(url, count) for count in WORKERS_ON_POSTGRESQL]
    for number, (where, count) in enumerate(runs):
        left = (until - time.monotonic()) / (len(runs) - number) - AROUND_SECONDS
        yield _run(where, count, max(LEAST_SECONDS, left) if seconds else LONGEST_SECONDS)


def _run(url: str | None, count: int, longest_seconds: float) -> Figure:
    with due.town(ATTEMPTS, url) as town:
        messages = due.prompts(town.settings, town.experiment)
        bare, _ = floor.bare(town.base_url(0), messages, BARE_CALLS, AT_ONCE)
        with workers(town.settings, count, "default", AT_ONCE):
            due.add(town.experiment, ATTEMPTS)
            waiting = town.size()
            done, seconds = _drained(town, longest_seconds)
        sums, grown = due.require_sums(), town.size() - waiting
    stopped = "" if done == ATTEMPTS else f", {done:,} of them in {seconds:.0f} s"
    return Figure(
        f"{ATTEMPTS:,} attempts by {count} worker{'s' * (count > 1)}, "
        f"{'PostgreSQL' if url else 'SQLite'}{stopped}",
        done / seconds, "/s", BARE_CALLS / bare, "bare client, one process",
        raw={
            "attempts": ATTEMPTS, "done": done, "seconds": seconds, "workers": count, "ledger": sums,
            "database": "PostgreSQL" if url else "SQLite", "bytes_grown": grown,
        },
    )  # fmt: skip


def _drained(town: due.Town, longest_seconds: float) -> tuple[int, float]:
    """How many attempts have ended, and after how many seconds. Wakes the lane as the scheduler does."""
    connection = queue.connection(town.settings)
    began = woken_at = time.perf_counter()
    queue.wake(connection, "default", ATTEMPTS)
    while left := due.left():
        if (now := time.perf_counter()) - began > longest_seconds:
            break
        if now - woken_at > WAKE_SECONDS:
            queue.wake_idle(connection, ["default"])
            woken_at = now
        time.sleep(LOOK_SECONDS)
    return ATTEMPTS - left, time.perf_counter() - began
