"""A work-horse forked for each job beside jobs done in the worker's own process: what the fork costs.

Both take the same wake-ups from the same queue. An empty job finds nothing due. The floor of an empty job is
its function called directly, that of attempts the bare client.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pdsapp import tasks
from pdsapp.scheduling import queue

from . import due, floor, servers
from .figures import Figure
from .job_worker import KINDS, LANE

EMPTY, ATTEMPTS, AT_ONCE = queue.MAX_WAITING, 500, 256
DIRECT = 50


def figures() -> Iterator[Figure]:
    """Two rows for each way."""
    with due.town(ATTEMPTS, PDS_AT_ONCE=str(AT_ONCE)) as town:
        messages = due.prompts(town.settings, town.experiment)
        bare, _ = floor.bare(town.base_url(0), messages, ATTEMPTS, AT_ONCE)
        direct = _directly()
        for kind in KINDS:
            with _worker(town, kind) as work:
                yield from _rows(town, kind, work, direct, ATTEMPTS / bare)
        due.require_sums()


def _rows(
    town: due.Town, kind: str, work: Callable[[int], float], direct: float, bare: float
) -> Iterator[Figure]:
    seconds = work(EMPTY * queue.ATTEMPTS_PER_WAKE) / EMPTY
    yield Figure(
        f"an empty job, {kind}", 1000 * seconds, "ms", 1000 * direct, "its function", raw={"jobs": EMPTY}
    )
    due.add(town.experiment, ATTEMPTS)
    seconds = work(ATTEMPTS)
    if left := due.left():
        raise RuntimeError(f"{left:,} attempts are left after the last job.")
    yield Figure(
        f"{ATTEMPTS:,} attempts by jobs, {kind}", ATTEMPTS / seconds, "/s", bare, "bare client",
        raw={"seconds": seconds},
    )  # fmt: skip


def _directly() -> float:
    """Seconds of one call of the function that a wake-up names, while nothing is due."""
    tasks.generate_attempts(LANE)
    began = time.perf_counter()
    for _ in range(DIRECT):
        tasks.generate_attempts(LANE)
    return (time.perf_counter() - began) / DIRECT


@contextmanager
def _worker(town: due.Town, kind: str) -> Iterator[Callable[[int], float]]:
    """A worker in a process of its own: the seconds in which it does the wake-ups of so many attempts."""
    command = [sys.executable, "-m", "bench.job_worker", kind]
    with (town.settings.data_dir / f"{kind}.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=servers.ROOT,
            env=servers.environment(town.settings) | {"PDS_AT_ONCE": str(town.settings.at_once)},
        )  # fmt: skip

    def work(attempts: int) -> float:
        queue.wake(queue.connection(town.settings), LANE, attempts)
        process.stdin.write("go\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    with servers.ended(process):
        process.stdout.readline()
        try:
            yield work
        finally:  # its signals are those of a worker: what ends it is the end of its input
            process.stdin.close()
            process.wait(10)
