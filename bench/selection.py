"""What it costs to draw twins and to decide for one, by how many twins the experiment has.

Medians: drawing one twin, drawing ten, the whole of a worker's first transaction for one attempt (claim it,
look at what is in the way, read the feed, decide with limits, take the context), switching a twin off and on.
The floor is the same with 100 twins, done in turns with it, as machines are not as fast at one minute as at
the next; at most twice that is allowed. SQLite works within the process: there it is the processor's time,
which a busy machine does not lengthen. PostgreSQL, where `BENCH_DATABASE_URL` names a server, on which
databases are made and dropped: the clock's. `BENCH_TWINS` is the largest number of twins, 1,000,000 unless it
is set.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from itertools import count

import sqlalchemy as sa
from flask import Flask

from pdsapp.attempts.claim import claim
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.attempts.feed import recent_context, twin_state
from pdsapp.attempts.limits import limit_on
from pdsapp.attempts.obstacles import obstacle_to_going_on
from pdsapp.attempts.ranks import set_active
from pdsapp.attempts.selection import draw_twins, request_key
from pdsapp.database import transaction
from pdsapp.domain.decision import decide, draw_for
from pdsapp.domain.limits import Limits
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.randomness import key_of
from pdsapp.domain.reasons import Trigger
from pdsapp.extensions import db
from pdsapp.models import Attempt, DigitalTwin, Experiment, utc_now

from . import servers
from .filled import fill, installation

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
ATTEMPTS, DAYS, ROUNDS = 2_000, 30, 60
MOST_RATIO = 2.0
LIMITS = Limits(posts_per_day=3, min_gap_seconds=60)
STEPS = ("draw one", "draw ten", "claim and decide", "switch one off and on")


def lines() -> Iterator[str]:
    """One table in Markdown for each database, with a verdict on each row."""
    server = os.environ.get("BENCH_DATABASE_URL")
    yield from _table("SQLite", None)
    if server:
        yield from _table("PostgreSQL", server)
    else:
        yield "Set BENCH_DATABASE_URL to a PostgreSQL server to measure there too."


def sizes() -> tuple[int, ...]:
    """The numbers of twins that are measured."""
    most = int(os.environ.get("BENCH_TWINS", SIZES[-1]))
    return tuple(size for size in SIZES if size <= most)


def _table(database: str, server: str | None) -> Iterator[str]:
    of = "by the clock" if server else "of the processor"
    yield f"{database}: medians of {ROUNDS}, in milliseconds {of}; in brackets how many times that of"
    yield "100 twins, done in turns with it; the last ratio is a row's worst."
    yield ""
    yield f"| twins | {' | '.join(STEPS)} | ratio |  |"
    yield f"| ---: | {'---: | ' * len(STEPS)}---: | --- |"
    with _filled(server, SIZES[0]) as few:
        for size in sizes():
            with _filled(server, size) if size > SIZES[0] else nullcontext(few) as many:
                floor, took = _in_turns(few, many, size)
            ratio = max(now / then for now, then in zip(took, floor, strict=True))
            shown = " | ".join(f"{now:.2f} ({now / then:.1f})" for now, then in zip(took, floor, strict=True))
            yield f"| {size:,} | {shown} | {ratio:.1f} | {'✓' if ratio <= MOST_RATIO else '✗'} |"
    yield ""


@contextmanager
def _filled(server: str | None, twins: int) -> Iterator[Flask]:
    """An application on a database with so many twins; not within its context."""
    own = servers.own_database(server) if server else nullcontext()
    with own as url, installation(url) as app:
        fill(twins, ATTEMPTS, DAYS)
        yield app


def _in_turns(few: Flask, many: Flask, size: int) -> tuple[list[float], list[float]]:
    """For each step its median in milliseconds with few twins and with many."""
    floor, took = [], []
    numbers = count()  # no two requests of an application may be the same
    for step in (_draw_one, _draw_ten, _decide, _switch):
        rounds: tuple[list[float], list[float]] = ([], [])
        for _ in range(-20, ROUNDS):
            for app, found in zip((few, many), rounds, strict=True):
                with app.app_context():
                    found.append(step(f"{size}-{next(numbers)}"))
        for kept, found in zip((floor, took), rounds, strict=True):
            kept.append(1000 * statistics.median(found[20:]))
    return floor, took


def clock() -> float:
    """Seconds; of the processor where the database is in this process."""
    return time.thread_time() if db.engine.dialect.name == "sqlite" else time.perf_counter()


def _draw_one(number: str) -> float:
    return _draw(number, 1)


def _draw_ten(number: str) -> float:
    return _draw(number, 10)


def _draw(number: str, count: int) -> float:
    with transaction() as session:
        experiment = session.get_one(Experiment, 1)
        began = clock()
        picks = draw_twins(session, experiment, count, request_key("bench", f"{count}-{number}"))
        took = clock() - began
        assert len(picks) == count
    return took


def _decide(number: str) -> float:
    """What a worker's first transaction does with an attempt, without writing the verdict down."""
    now = utc_now()
    with transaction() as session:
        pick = draw_twins(session, session.get_one(Experiment, 1), 1, request_key("bench", f"d{number}"))[0]
        twin = session.get_one(DigitalTwin, pick.twin_id)
        add_for_twin(session, twin, Request(Trigger.cli, f"bench-{number}"), now)
    with transaction() as session:
        began = clock()
        (lease,) = claim(session, "bench", now, 1)
        attempt = session.get_one(Attempt, lease.attempt_id)
        assert obstacle_to_going_on(session, attempt, now) is None
        twin, experiment = attempt.digital_twin, attempt.experiment
        policy = PostingPolicy.from_dict(experiment.policy.body | {"limits": LIMITS.to_dict()})
        verdict = decide(policy, twin_state(session, twin, policy, now), draw_for(key_of("bench", number)))
        limit_on(session, twin, policy, now)
        assert len(recent_context(session, twin, policy.context_size)) == policy.context_size
        session.flush()
        took = clock() - began
        assert 0 <= verdict.skip_probability <= 1
        session.execute(
            sa.update(Attempt)
            .where(Attempt.id == attempt.id)
            .values(state="skipped", reason="recency", lease_until=None, finished_at=now + timedelta(0))
        )
    return took


def _switch(number: str) -> float:
    with transaction() as session:
        pick = draw_twins(session, session.get_one(Experiment, 1), 1, request_key("bench", f"s{number}"))[0]
        twin = session.get_one(DigitalTwin, pick.twin_id)
        began = clock()
        set_active(session, twin, False)
        set_active(session, twin, True)
        return clock() - began
