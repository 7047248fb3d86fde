"""How late slots are claimed: a real scheduler, a real worker, 1,000 enabled schedules of a minute each.

Half of them are due on the same second of every minute, half are spread over it. “Claimed” is what the slot
rows say; “seen” is when a reader outside found the rows committed, looking fifty times a second.

It runs on SQLite and a private Valkey, or on the servers that BENCH_DATABASE_URL and BENCH_REDIS_URL name:
there it makes a database of its own, which it drops, and wants an empty queue database.
"""

import logging
import os
import platform
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe

import redis
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from pdsapp import create_app
from pdsapp.config import Settings, read_settings
from pdsapp.database import reading, transaction
from pdsapp.extensions import db
from pdsapp.models import Attempt, Slot, utc_now
from pdsapp.services import bulk, database, experiments, schedules
from pdsapp.services.ledger import ledger

from . import servers

SCHEDULES, TWINS = 1_000, 1_000
SLOTS, SLOTS_IN_SHORT = 5_000, 1_000
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 120
SMALL_LOAD = 0.5


def lines() -> Iterator[str]:
    """The table over at least 5,000 slots, in Markdown: about five minutes and a half."""
    yield from _lines(SLOTS)


def short_lines() -> Iterator[str]:
    """The same over one minute's slots."""
    yield from _lines(SLOTS_IN_SHORT)


def _lines(wanted: int) -> Iterator[str]:
    with ExitStack() as stack:
        settings = stack.enter_context(_settings())
        app = create_app(settings, with_web=False)
        with app.app_context():
            stack.callback(db.engine.dispose)
            logging.getLogger().setLevel(logging.WARNING)
            _prepare(app, settings)
            _set_up()
            stack.enter_context(servers.command(settings, "scheduler"))
            stack.enter_context(servers.command(settings, "worker", "--lanes", "default"))
            load = os.getloadavg()[0]
            found = _watch(wanted)
            yield from _table(settings, found, load)


def _watch(wanted: int) -> list[tuple[datetime, datetime, datetime]]:
    """(slot, claimed, seen) of slots due from now on, once there are enough of them."""
    since = utc_now() + timedelta(seconds=5)
    until = time.monotonic() + wanted / SCHEDULES * 60 + PATIENCE_SECONDS
    marks: list[tuple[int, datetime]] = []
    newest, count = 0, 0
    while count < wanted:
        if time.monotonic() > until:
            raise RuntimeError(f"Only {count:,} of {wanted:,} slots were claimed in time.")
        with reading() as session:
            found = session.scalar(select(func.max(Slot.id))) or 0
            if found > newest:
                newest = found
                marks.append((found, utc_now()))
                count = session.scalar(select(func.count(Slot.id)).where(Slot.slot_at >= since))
        time.sleep(LOOK_SECONDS)
    ids = [mark for mark, _ in marks]
    with reading() as session:
        rows = session.execute(
            select(Slot.id, Slot.slot_at, Slot.claimed_at).where(Slot.slot_at >= since, Slot.id <= newest)
        ).all()
    return [(row.slot_at, row.claimed_at, marks[bisect_left(ids, row.id)][1]) for row in rows]


def _table(
    settings: Settings, found: list[tuple[datetime, datetime, datetime]], load: float
) -> Iterator[str]:
    where = "SQLite, embedded Valkey" if settings.is_embedded else "PostgreSQL, Redis"
    now = datetime.now(UTC)
    yield f"{where}; {platform.system()} on {os.cpu_count()} processors, Python {platform.python_version()}."
    yield f"{now:%Y-%m-%d %H:%M} UTC, load before {load:.2f}, afterwards {os.getloadavg()[0]:.2f}."
    if load > SMALL_LOAD:
        yield "Something else was running on this machine."
    yield ""
    yield f"| {SCHEDULES:,} schedules, {len(found):,} slots | p50 | p99 | longest |"
    yield "| --- | ---: | ---: | ---: |"
    for words, spans in (
        ("claimed − slot", [claimed - slot for slot, claimed, _ in found]),
        ("seen committed − slot", [seen - slot for slot, _, seen in found]),
    ):
        seconds = sorted(span.total_seconds() for span in spans)
        at = [seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.99, 1)]
        yield f"| {words} | {' | '.join(f'{value:.3f} s' for value in at)} |"
    with reading() as session:
        kinds = Counter(dict(session.execute(select(Slot.kind, func.count()).group_by(Slot.kind)).all()))
        states = Counter(
            dict(session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all())
        )
        books = ledger(session)
    yield ""
    yield f"Slots: {_sum_words(kinds)}. Attempts: {_sum_words(states)}."
    yield f"{books.sentence}" if books.adds_up else f"THE LEDGER DOES NOT ADD UP: {' '.join(books.problems)}"


def _sum_words(counts: Counter) -> str:
    return ", ".join(f"{count:,} {name.value}" for name, count in counts.most_common())


def _set_up() -> None:
    """Schedules that are due first in some seconds, twins enough that few of them are busy."""
    now = utc_now().replace(microsecond=0)
    anchor = now + timedelta(seconds=20)
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Lateness", "UTC", now, is_demo=True)
        session.flush()
        bulk.set_up_twins(session, experiment, bulk.built_in_rows(), TWINS, now)
        for number in range(SCHEDULES):
            spread = number % 2
            at = anchor + timedelta(seconds=(number * 60 // SCHEDULES) if spread else 0)
            wish = schedules.Wish(
                f"Every minute {number}", experiment, interval_seconds=60, anchor_at=at, is_enabled=True
            )
            schedules.add_schedule(session, wish, now)


def _prepare(app, settings: Settings) -> None:
    if not settings.is_embedded:
        from flask_migrate import upgrade

        upgrade()
    database.prepare(app)


@contextmanager
def _settings() -> Iterator[Settings]:
    """Everything a bench of its own needs, gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dt-bench-")))
        url = os.environ.get("BENCH_DATABASE_URL")
        yield read_settings(
            PDS_DATA_DIR=str(folder),
            PDS_DEMO="0",
            PDS_OFFLINE_WRITER_URL=stack.enter_context(servers.offline_writer()),
            DATABASE_URL=stack.enter_context(servers.own_database(url)) if url else None,
            REDIS_URL=stack.enter_context(_queue(os.environ.get("BENCH_REDIS_URL"), folder)),
            SECRET_KEY=token_urlsafe(),
            PDS_FERNET_KEYS=Fernet.generate_key().decode(),
            PDS_LLM_ALLOWED_HOSTS="127.0.0.0/8",
        )


@contextmanager
def _queue(url: str | None, folder: Path) -> Iterator[str]:
    if url:
        with redis.Redis.from_url(url) as client:
            if client.dbsize():
                raise RuntimeError("BENCH_REDIS_URL names a database that is not empty.")
            try:
                yield url
            finally:
                client.flushdb()
        return
    with servers.valkey(folder) as own:
        yield own
