"""How many attempts one process runs in a second, beside the bare client and beside the plain way.

The same messages go to the same server with the same number at once; the attempts do everything else
besides: claim, decide, store each call before it is sent, publish. Those that do not post are not counted.
Raises if the ledger does not add up at the end.
"""

import os
import statistics
from collections.abc import Iterator
from dataclasses import asdict

from . import due, floor
from .figures import Figure

AT_ONCE = 256
# (milliseconds of the model server, attempts, rounds, the ratio that is wanted)
CASES = ((2000, 1024, 2, 0.8), (0, 768, 2, 0.5))
PLAIN_CALLS = {2000: 3, 0: 50}


def figures(url: str | None = None) -> Iterator[Figure]:
    """Two rows for each latency, on SQLite or on the PostgreSQL server that `url` names."""
    where = "PostgreSQL" if url else "SQLite"
    with due.town(max(count for _, count, *_ in CASES), url) as town:
        settings, experiment = town.settings, town.experiment
        messages = due.prompts(settings, experiment)
        for milliseconds, count, rounds, wanted in CASES:
            due.ask_after(milliseconds)
            base_url = town.base_url(milliseconds)
            found, floors = [], []
            for _ in range(rounds):
                due.add(experiment, count)
                floors.append(floor.bare(base_url, messages, count, AT_ONCE))
                found.append(due.timed_drain(settings, AT_ONCE))
            yield _figure(where, milliseconds, count, found, floors, wanted)
            calls = PLAIN_CALLS[milliseconds]
            plain, cpu = floor.plain(base_url, messages, calls)
            least = statistics.median(count / seconds for seconds, _ in floors)
            yield Figure(
                f"the plain way at {milliseconds / 1000:g} s: one call at a time, a new client each",
                calls / plain, "calls/s", least, f"bare client, {AT_ONCE} at once",
                raw={"calls": calls, "seconds": plain, "cpu_seconds": cpu},
            )  # fmt: skip
        due.require_sums()


def _figure(where, milliseconds, count, found, floors, wanted) -> Figure:
    pairs = sorted(zip(found, floors, strict=True), key=lambda pair: pair[1][0] / pair[0].seconds)
    run, (floor_seconds, floor_cpu) = pairs[(len(pairs) - 1) // 2]
    return Figure(
        f"attempts by one process, {AT_ONCE} at once, model {milliseconds / 1000:g} s, {where}{run.words}",
        run.posted / run.seconds, "/s", count / floor_seconds, "bare client", at_least=wanted,
        raw={
            "attempts": count, "runs": [asdict(run) for run in found],
            "floor_seconds": [seconds for seconds, _ in floors],
            "cpu_ms_per_attempt": 1000 * run.cpu_seconds / count,
            "floor_cpu_ms_per_call": 1000 * floor_cpu / count,
        },
    )  # fmt: skip


def on_server() -> Iterator[Figure]:
    """The same rows on PostgreSQL; none where BENCH_DATABASE_URL names no server."""
    if url := os.environ.get("BENCH_DATABASE_URL"):
        yield from figures(url)
