"""What it costs to expand a slot that asks each active twin: its claim, pieces of 1,000 attempts, all of it.

On SQLite in processor time, and on PostgreSQL, where `BENCH_DATABASE_URL` names a server, by the clock, as in
bench/selection.py. At the end the sums of the ledger are compared.
"""

import os
import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta

from pdsapp.database import reading, snapshot, transaction
from pdsapp.dt_service import DTService
from pdsapp.models import Experiment, Slot, utc_now
from pdsapp.scheduling import expansion, slots
from pdsapp.services import schedules
from pdsapp.services.ledger import ledger

from . import servers
from .filled import fill, installation
from .selection import clock

SIZES = (10_000, 100_000)


def lines() -> Iterator[str]:
    """One table in Markdown, a row for each database and size."""
    yield "| database | twins asked | claim, ms | piece, median ms | longest ms | all of it, s | ledger |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    server = os.environ.get("BENCH_DATABASE_URL")
    for name, url in (("SQLite", None), *((("PostgreSQL", server),) if server else ())):
        for size in SIZES:
            yield f"| {name} | {_measured(url, size)} |"
    if not server:
        yield ""
        yield "Set BENCH_DATABASE_URL to a PostgreSQL server to measure there too."


def _measured(server: str | None, twins: int) -> str:
    own = servers.own_database(server) if server else nullcontext()
    with own as url, installation(url):
        fill(twins, 100, 1)
        due = _due_in_a_minute()
        began = clock()
        with transaction() as session:
            slots.claim_due(session, DTService(), [due], utc_now() + timedelta(minutes=1), "bench")
        claimed = clock() - began
        took = []
        while (key := expansion._next_open()) is not None:
            began = clock()
            with transaction() as session:
                expansion.do_piece(session, key, utc_now())
            took.append(clock() - began)
        with reading() as session:
            asked = session.query(Slot.expanded_count).order_by(Slot.id.desc()).limit(1).scalar()
        with snapshot() as session:
            turns = ledger(session, now=utc_now()).turn_sum
        adds_up = turns.wanted == turns.expanded == asked == turns.attempts_of_slots
    shown = [1000 * claimed, 1000 * statistics.median(took), 1000 * max(took)]
    figures = " | ".join(f"{figure:.0f}" for figure in shown)
    return f"{asked:,} | {figures} | {sum(took):.1f} | {'adds up' if adds_up else 'does not add up'}"


def _due_in_a_minute():
    """The UUID of a schedule that asks each twin, and whose slot is due at the next minute."""
    now = utc_now()
    with transaction() as session:
        wish = schedules.Wish(
            "Everybody", session.get_one(Experiment, 1), interval_seconds=3600,
            anchor_at=now + timedelta(seconds=30), asks_all=True, jitter_seconds=1800, is_enabled=True,
        )  # fmt: skip
        return schedules.add_schedule(session, wish, now).uuid
